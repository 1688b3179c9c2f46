// @lockstep class5_destination=1000
// Callers of 1000 hear a menu: 1 reaches the first softphone, 2 the second.

const MENU = { 1: '1001', 2: '1002' };

export async function main(data, ctx) {
  await ctx.answer();

  const { status, value } = await ctx.ivr('user/menu.wav', 5, 1, 1, '', {
    tries: 3,
    regexp: '[12]',
    invalid_file: 'ivr/invalid.wav',
  });
  if (status !== 'success') {
    await ctx.play('user/goodbye.wav');
    return;
  }

  const { status: outcome } = await ctx.bridge(MENU[value], { timeout_ms: 20_000, continue_on: 'fail' });
  ctx.log(`bridge to ${MENU[value]}: ${outcome}`);
  await ctx.play(['ivr/unavailable.wav', 'user/goodbye.wav']);
}
