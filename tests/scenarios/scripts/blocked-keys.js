// @lockstep class5_destination=140
export async function main(data, ctx) {
  await ctx.answer();
  await ctx.blockDtmf('05');
  let heard = '';
  ctx.on('dtmf', ({ digit }) => { heard += digit; });
  await ctx.bridge('1001', true);
  ctx.log('heard ' + JSON.stringify(heard));
}
