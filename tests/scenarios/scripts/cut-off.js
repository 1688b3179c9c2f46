// @lockstep class5_destination=112
export async function main(data, ctx) {
  await ctx.answer();
  ctx.once('dtmf', () => ctx.hangup());
  await ctx.play('tone:440,60000/0', { loop: true });
}
