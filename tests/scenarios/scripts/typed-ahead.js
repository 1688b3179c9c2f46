// @lockstep class5_destination=100
export async function main(data, ctx) {
  await ctx.answer();
  await ctx.waitFor(/1234/);
  const first = await ctx.gather({ min: 2, max: 2, timeout_ms: 50_000 });
  const second = await ctx.gather({ min: 1, max: 1, flush: true, timeout_ms: 300 });
  ctx.log('values ' + JSON.stringify([first.value, second.status, second.value]));
}
