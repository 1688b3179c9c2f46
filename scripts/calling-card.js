// @lockstep class5_destination=2002 vars={"card"="1234567890", "minutes"="3"}
// A calling card: card number, then the number to call, for as many minutes as the card has.

export async function main(data, ctx) {
  await ctx.answer();
  await ctx.play('ivr/welcome.wav');

  const card = await ctx.gather({ prompt: 'ivr/enter-pin.wav', max: 10, terminators: '#', timeout_ms: 8_000, tries: 3, regexp: data.vars.card, invalid_prompt: 'ivr/invalid-pin.wav' });
  if (card.status !== 'success') {
    await ctx.play('ivr/goodbye.wav');
    return;
  }

  const minutes = Number(data.vars.minutes);
  await ctx.play(['ivr/you-have.wav', `ivr/${minutes}.wav`, 'ivr/minutes.wav']);

  const { status, value: number } = await ctx.ivr('ivr/enter-number.wav', 8, 3, 15, '#', { tries: 3 });
  if (status !== 'success') {
    await ctx.play('ivr/goodbye.wav');
    return;
  }

  await ctx.play('ivr/connecting.wav');
  try {
    const result = await ctx.bridge(number, { timeout_ms: 40_000, continue_on: true, signal: AbortSignal.timeout(minutes * 60_000) });
    ctx.log(`card ${card.value.slice(-4)}: ${result.status}, ${Math.ceil(result.duration_ms / 1000)} s`);
    if (result.status !== 'completed') await ctx.play('ivr/call-failed.wav');
  } catch (error) {
    if (error.name !== 'AbortError') throw error;
    ctx.log(`card ${card.value.slice(-4)}: used up`);
  }
  await ctx.play('ivr/goodbye.wav');
}
