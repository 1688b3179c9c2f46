// @lockstep class5_destination=2011
// The classic dialect: waits for a code keyed at any time during the music.
const cxC5Server = require('cxC5Server');

async function main(data) {
  const ctx = new cxC5Server(process.env.CORRELATION_ID);
  await ctx.answer();

  const stop = new AbortController();
  const music = ctx.play('tone:440,400/400', { loop: true, signal: stop.signal }).catch(() => undefined);
  const found = await ctx.waitFor(/42$/, /99$/, 30).catch((error) => {
    if (error.name === 'CallEnded') throw error;
    return '';
  });
  stop.abort();
  await music;

  await ctx.play(found ? 'ivr/accepted.wav' : 'ivr/goodbye.wav');
}

module.exports = { main };
