// @lockstep class5_destination=2002
const axios = require('axios');
const digests = require('crypto');
const { EventEmitter, once } = require('events');
const fs = require('fs/promises');
const cxC5Server = require('cxC5Server');
const jobs = require('cxJob');
const rest = require('cxRest');
const userspace = require('cxUserspace');
const { greeting } = require('sibling');

class Queue extends EventEmitter {}

/** @param {CallData} data @param {Ctx} ctx */
module.exports.main = async (data, ctx) => {
  if (data.did === null) err(404, 'Gone');
  const same = new cxC5Server(process.env.CORRELATION_ID);
  await same.play(greeting('en').toUpperCase());
  ctx.on('hangup', async ({ code }) => console.log(code, await api.lookup.ping(data.from)));
  await ctx.bridge('1001', false, true);
};

/** @param {RoutingData} data */
exports.route = (data) => {
  data.routing.cli = crypto.randomInt(441_000, 442_000).toString();
  return data;
};

exports.form = async ({ file }) => {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(), 500);
  const signal = AbortSignal.any([controller.signal, AbortSignal.timeout(5_000)]);
  signal.addEventListener('abort', () => console.error(signal.reason), { once: true });
  const body = new URLSearchParams({ name: file.filename });
  const response = await fetch(new URL('/upload', 'https://example.net'), { method: 'POST', body, headers: { accept: '*/*' }, signal });
  clearTimeout(timer);
  if (!response.ok) throw new Error(`500 ${response.statusText}`);
  for (const [name, value] of response.headers) console.warn(name, value);
  const bytes = Buffer.concat([Buffer.from('abc').slice(0, 2), new TextEncoder().encode(await response.text())]);
  await jobs.add('report', 'main', { length: bytes.readUInt16BE(0) }, { delay: 5_000, removeOnComplete: true, backoff: { type: 'exponential', delay: 100 } });
  await rest('ops').post('/calls', { id: crypto.randomUUID() });
  await userspace.delete('files', file.filename);
  await axios.post('https://example.net', await fs.readFile(file.path));
  setInterval(() => process.nextTick(queueMicrotask, () => {}), 1_000).unref();
  const [digit] = await once(new Queue(), 'digit', { signal });
  const sum = digests.createHash('sha256').update(btoa(digit)).digest('hex');
  return { sum, at: performance.now(), copy: structuredClone({ digit }).digit, __filename, __dirname };
};
