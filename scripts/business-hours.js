// @lockstep class5_destination=2003 vars={"open"="9", "close"="17", "utc_offset"="0"}
// Rings the office in business hours, Monday to Friday; otherwise says that it is closed.

export function isOpen(now, { open, close, utc_offset: offset }) {
  const local = new Date(now.getTime() + Number(offset) * 3_600_000);
  const weekday = local.getUTCDay();
  const hour = local.getUTCHours();
  return weekday >= 1 && weekday <= 5 && hour >= Number(open) && hour < Number(close);
}

export async function main(data, ctx) {
  if (!isOpen(new Date(), data.vars)) {
    await ctx.answer();
    await ctx.play(['ivr/closed.wav', 'ivr/goodbye.wav']);
    return;
  }

  const { status } = await ctx.bridge(['1001', '1002'], { timeout_ms: 25_000, continue_on: 'fail' });
  await ctx.answer();
  await ctx.play([status === 'busy' ? 'ivr/busy.wav' : 'ivr/no-answer.wav', 'ivr/goodbye.wav']);
}
