// @lockstep class5_destination=2001 vars={"pin"="4711"}
// Lets a caller in who knows the PIN; three wrong ones end the call.

export async function main(data, ctx) {
  await ctx.answer();

  for (let attempt = 1; attempt <= 3; attempt += 1) {
    const { value } = await ctx.ivr('ivr/enter-pin.wav', 8, 4, 8, '#');
    if (value === data.vars.pin) {
      await ctx.play('ivr/accepted.wav');
      await ctx.bridge('1001');
      return;
    }
    ctx.log(`wrong PIN, attempt ${attempt}`);
    await ctx.play('ivr/invalid-pin.wav');
  }

  await ctx.play('ivr/goodbye.wav');
  await ctx.hangup({ code: 403, reason: 'Wrong PIN' });
}
