// @lockstep class5_destination=124
export async function main(data, ctx) {
  await ctx.answer();
  const seen = [];
  const note = (name) => (error) => seen.push([name, error.name, error.cause?.by, error.cause?.code]);
  const pending = [
    ctx.play('ivr/main-menu.wav', { loop: true }).catch(note('play')),
    ctx.sleep(60_000).catch(note('sleep')),
    ctx.waitFor(/x/).catch(note('waitFor')),
  ];
  try {
    const cause = await ctx.waitForHangup();
    seen.push(['waitForHangup', cause.by]);
    await Promise.all(pending);
    seen.push(['later', await ctx.play('ivr/1.wav').catch((error) => error.name)]);
  } finally {
    await new Promise((done) => setTimeout(done, 50));
    ctx.log('seen ' + JSON.stringify(seen.sort()));
  }
}
