// @lockstep class5_destination=300
async function main(data, ctx) {
  await ctx.answer();
  await ctx.play('ivr/1.wav');
}
