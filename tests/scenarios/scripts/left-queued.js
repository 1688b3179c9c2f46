// @lockstep class5_destination=111
export async function main(data, ctx) {
  await ctx.answer();
  ctx.play('ivr/1.wav');
  ctx.play('ivr/2.wav');
}
