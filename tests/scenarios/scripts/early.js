// @lockstep class5_destination=120
export async function main(data, ctx) {
  await ctx.play('ivr/1.wav');
  ctx.log(`state ${JSON.stringify(ctx.call.state)}`);
  await ctx.answer();
  await ctx.play('ivr/2.wav');
}
