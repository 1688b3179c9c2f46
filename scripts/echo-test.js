// @lockstep class5_destination=2005
// Plays back what the caller says, half a second later, until a minute is over or the star key is pressed.

export async function main(data, ctx) {
  await ctx.answer();
  await ctx.play('ivr/echo-test.wav');
  await ctx.play('ivr/beep.wav');

  const enough = new AbortController();
  ctx.on('dtmf', ({ digit }) => digit === '*' && enough.abort());
  const signal = AbortSignal.any([enough.signal, AbortSignal.timeout(60_000)]);
  try {
    await ctx.echo(500, { signal });
  } catch (error) {
    if (!signal.aborted) throw error;
  }
  await ctx.play('ivr/goodbye.wav');
}
