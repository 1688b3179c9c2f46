// @lockstep class5_destination=2006
// Rings everybody at once, then one after another, and hangs up kindly when nobody has time.

const EVERYBODY = ['1001', '1002'];

export async function main(data, ctx) {
  await ctx.ring();

  const together = await ctx.bridge(EVERYBODY, { strategy: 'parallel', timeout_ms: 15_000, continue_on: 'fail', from_name: 'Ring group' });
  ctx.log(`together: ${together.status}`);

  const inTurn = await ctx.bridge(EVERYBODY, { strategy: 'sequential', timeout_ms: 10_000, continue_on: 'fail', from_name: 'Ring group' });
  ctx.log(`in turn: ${inTurn.status}`);

  await ctx.answer();
  await ctx.play(['ivr/no-answer.wav', 'ivr/goodbye.wav']);
}
