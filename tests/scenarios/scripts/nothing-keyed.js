// @lockstep class5_destination=102
export async function main(data, ctx) {
  await ctx.answer();
  const ivr = await ctx.ivr('ivr/beep.wav', 0.2, 1, 4);
  const gather = await ctx.gather({ prompt: 'ivr/beep.wav', min: 3, timeout_ms: 200, tries: 2 });
  ctx.log('results ' + JSON.stringify([ivr, gather.status, gather.value, gather.digits]));
}
