// Class 4: in the busy hours the gateways that are good come first, at other times those that are cheap. Hours are UTC.
//   [[route]] script = "peak-hours"
//   vars = { peak = { from = 8, to = 18, gateways = [8] } }
export function main(data) {
  const { from = 8, to = 18, gateways = [] } = data.peak ?? {};
  const hour = new Date().getUTCHours();
  if (hour < from || hour >= to) return data;
  const isGood = (row) => Object.keys(row.gw).some((id) => gateways.includes(Number(id)));
  const rows = data.egress_routing;
  data.egress_routing = [...rows.filter(isGood), ...rows.filter((row) => !isGood(row))];
  return data;
}
