// @lockstep class5_destination=2009
// Looks for one person on several phones in turn. Whoever picks up must press 1, so that a mailbox does not swallow the call.

const PHONES = [
  { uri: '1001', timeout_ms: 12_000 },
  { uri: '1002', timeout_ms: 12_000 },
];

export async function main(data, ctx) {
  await ctx.answer();
  await ctx.play('ivr/please-hold.wav');

  const { status } = await ctx.bridge(PHONES, {
    strategy: 'sequential',
    caller_id: data.from,
    screen: 'ivr/press-1-to-accept.wav',
    continue_on: 'fail',
  });
  ctx.log(`find me: ${status}`);
  await ctx.play(['ivr/unavailable.wav', 'ivr/goodbye.wav']);
}
