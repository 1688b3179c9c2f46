// @lockstep class5_destination=125
export async function main(data, ctx) {
  await ctx.answer();
  ctx.log('ready');
  await ctx.sleep(60_000);
  ctx.log('not reached');
}
