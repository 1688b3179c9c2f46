// @lockstep class5_destination=130
export async function main(data, ctx) {
  await ctx.answer();
  const stop = new AbortController();
  ctx.once('dtmf', () => stop.abort());
  await ctx.echo(100, { signal: stop.signal }).catch((error) => ctx.log('stopped ' + JSON.stringify(error.name)));
  await ctx.play('ivr/1.wav');
}
