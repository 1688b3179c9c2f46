// @lockstep class5_destination=1000
// A menu: 1 sales, 2 support, 0 the operator. Three tries, then goodbye.

const MENU = {
  1: ['1001'],
  2: ['1002'],
  0: ['1001', '1002'],
};

export async function main(data, ctx) {
  await ctx.answer();
  await ctx.play('ivr/welcome.wav');

  const { status, value } = await ctx.ivr('ivr/main-menu.wav', 5, 1, 1, '', {
    tries: 3,
    regexp: '[120]',
    invalid_file: 'ivr/invalid.wav',
  });
  if (status !== 'success') {
    await ctx.play('ivr/goodbye.wav');
    return;
  }

  await ctx.play('ivr/please-hold.wav');
  const { status: outcome } = await ctx.bridge(MENU[value], { timeout_ms: 20_000, continue_on: 'fail' });
  const told = { busy: 'ivr/busy.wav', 'no-answer': 'ivr/no-answer.wav' };
  await ctx.play([told[outcome] ?? 'ivr/unavailable.wav', 'ivr/goodbye.wav']);
}
