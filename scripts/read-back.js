// @lockstep class5_destination=2008
// Asks for a number and reads it back, digit by digit.

const NAMES = { '*': 'star', '#': 'pound' };

export function prompts(digits) {
  return [...digits].map((digit) => `ivr/${NAMES[digit] ?? digit}.wav`);
}

export async function main(data, ctx) {
  await ctx.answer();
  for (;;) {
    const { status, value } = await ctx.ivr('ivr/enter-number.wav', 6, 1, 12, '#');
    if (status !== 'success') break;
    await ctx.play(['ivr/you-entered.wav', ...prompts(value)]);
  }
  await ctx.play('ivr/goodbye.wav');
}
