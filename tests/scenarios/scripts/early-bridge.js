// @lockstep class5_destination=143
export async function main(data, ctx) {
  const { status } = await ctx.bridge('1001', { continue_on: 'fail' });
  ctx.log('status ' + JSON.stringify(status));
  await ctx.reject(486);
}
