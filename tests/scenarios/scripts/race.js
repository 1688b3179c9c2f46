// @lockstep class5_destination=128
export async function main(data, ctx) {
  await ctx.answer();
  const timer = new Promise((done) => setTimeout(done, 50, 'timer'));
  const winner = await Promise.race([ctx.play('ivr/welcome.wav').then(() => 'play'), timer]);
  ctx.log('winner ' + JSON.stringify(winner));
  await ctx.play('ivr/1.wav');
}
