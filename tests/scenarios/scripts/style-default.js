// @lockstep class5_destination=303
export default async function (data, ctx) {
  await ctx.answer();
  await ctx.play('ivr/1.wav');
}
