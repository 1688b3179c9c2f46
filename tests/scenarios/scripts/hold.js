// @lockstep class5_destination=141
export async function main(data, ctx) {
  await ctx.answer();
  const seen = [];
  for (const name of ['hold', 'unhold']) ctx.on(name, () => { seen.push(name); });
  await ctx.bridge('1001', true);
  ctx.log('seen ' + JSON.stringify(seen));
}
