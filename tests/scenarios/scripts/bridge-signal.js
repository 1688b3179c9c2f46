// @lockstep class5_destination=142
export async function main(data, ctx) {
  await ctx.answer();
  const stop = new AbortController();
  ctx.once('dtmf', () => stop.abort());
  const name = await ctx.bridge('1001', { signal: stop.signal, continue_on: true }).catch((error) => error.name);
  ctx.log('name ' + JSON.stringify(name));
  await ctx.play('ivr/1.wav');
}
