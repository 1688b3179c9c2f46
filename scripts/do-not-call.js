// Class 4: numbers that do not want to be called are not. `add` and `remove` keep the list:
//   lockstep run scripts/do-not-call.js --fn add --config . --data '{"number": "442079460999"}'
const { kv } = require('cxKV');

const key = (number) => `dnc:${String(number).replace(/^\+/, '')}`;

async function main(data) {
  if (await kv.get(key(data.routing.dest_number))) throw [604, 'Number on DNC List'];
  return data;
}

async function add({ number }) {
  await kv.set(key(number), new Date().toISOString());
  return { number, listed: true };
}

async function remove({ number }) {
  await kv.del(key(number));
  return { number, listed: false };
}

module.exports = { main, add, remove };
