// @lockstep class5_destination=110
export async function main(data, ctx) {
  ctx.answer();
  ctx.play('ivr/1.wav');
  ctx.sleep(100);
  ctx.play('ivr/2.wav');
  await ctx.play('ivr/3.wav');
}
