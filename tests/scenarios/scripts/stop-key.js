// @lockstep class5_destination=104
export async function main(data, ctx) {
  await ctx.answer();
  const played = await ctx.play('ivr/main-menu.wav', { loop: true, stop_on: '*' });
  ctx.log('played ' + JSON.stringify([played.reason, played.digit, played.played_ms > 0]));
}
