// @lockstep class5_destination=170
export async function main(data, ctx) {
  await ctx.answer();
  await ctx.play('ivr/unavailable.wav');
}
