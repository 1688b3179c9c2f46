// @lockstep class5_destination=106
export async function main(data, ctx) {
  await ctx.answer();
  ctx.log('codec ' + JSON.stringify(ctx.call.codec));
  await ctx.play('ivr/1.wav');
}
