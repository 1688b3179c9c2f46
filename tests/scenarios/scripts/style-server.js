// @lockstep class5_destination=304
const cxC5Server = require('cxC5Server');

async function main() {
  const ctx = new cxC5Server(process.env.CORRELATION_ID);
  await ctx.answer();
  await ctx.play('ivr/1.wav');
}
module.exports = { main };
