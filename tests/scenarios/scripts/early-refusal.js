// @lockstep class5_destination=121
export async function main(data, ctx) {
  await ctx.play('ivr/closed.wav');
  await ctx.reject(480);
}
