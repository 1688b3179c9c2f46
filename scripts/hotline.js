// @lockstep class5_destination=/hotline_[a-z0-9]+/
// Dials whoever the address names: hotline_1001 rings 1001.

export async function main(data, ctx) {
  const user = data.to.replace(/^hotline_/, '');
  const { status } = await ctx.bridge(user, { timeout_ms: 30_000, continue_on: 'fail' });
  await ctx.reject(status === 'busy' ? 486 : 480);
}
