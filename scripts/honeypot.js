// Class 4: some numbers belong to nobody. Who calls them dials at random, and after a few is not let out any more for a day.
//   [[route]] script = "honeypot"
//   vars = { honeypots = ["442079460999"], honeypot_calls = 3 }
const { incr, kv } = require('cxKV');

const DAY_S = 86_400;

async function main(data) {
  const { cli, dest_number } = data.routing;
  const most = data.honeypot_calls || 3;
  const key = `honeypot:${cli}`;
  if ((data.honeypots || []).includes(dest_number.replace(/^\+/, ''))) {
    const calls = await incr(key, 1, DAY_S);
    console.log(`call ${calls} to a honeypot from ${cli}`);
    err([404, 'Not Found']);
  }
  if (Number(await kv.get(key)) >= most) throw new Error('603 Declined');
  return data;
}
