// Class 4: another caller id of the route's pool at each gateway, so that no carrier sees one number call all day.
//   [[route]] script = "random-caller-id"
//   vars = { caller_ids = ["442079460001", "442079460002"] }
function main(data) {
  const pool = data.caller_ids || [];
  if (!pool.length) return data;
  for (const row of data.routing.egress_routing) {
    for (const id of Object.keys(row.gw)) {
      row.gw[id].cli = pool[Math.floor(Math.random() * pool.length)];
    }
  }
  return data;
}
