// @lockstep class5_destination=105
export async function main(data, ctx) {
  await ctx.answer();
  await ctx.sendDtmf('19*#wA', { duration_ms: 60, gap_ms: 40 });
}
