// @lockstep class5_destination=127
export async function main(data, ctx) {
  await ctx.answer();
  const stop = new AbortController();
  ctx.once('dtmf', () => stop.abort());
  const first = await ctx.play('ivr/main-menu.wav', { loop: true, signal: stop.signal }).catch((error) => error.name);
  const second = await ctx.sleep(60_000, { signal: AbortSignal.timeout(100) }).catch((error) => error.name);
  const third = await ctx.play('ivr/1.wav', { signal: AbortSignal.abort() }).catch((error) => error.name);
  ctx.log('names ' + JSON.stringify([first, second, third]));
  await ctx.play('ivr/2.wav');
}
