// @lockstep class5_destination=122
export async function main(data, ctx) {
  await ctx.ring();
  await ctx.redirect('sip:elsewhere@example.net');
}
