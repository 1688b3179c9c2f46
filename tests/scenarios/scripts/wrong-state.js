// @lockstep class5_destination=123
export async function main(data, ctx) {
  const tell = (error) => `${error.name}: ${error.message}`;
  await ctx.answer();
  ctx.log('again ' + JSON.stringify(await ctx.answer().catch(tell)));
  ctx.log('reject ' + JSON.stringify(await ctx.reject(486).catch(tell)));
  await ctx.hangup();
  ctx.log('play ' + JSON.stringify(await ctx.play('ivr/1.wav').catch(tell)));
}
