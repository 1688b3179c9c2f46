// @lockstep class5_destination=2002 vars={"card"="1234567890", "minutes"="3"}
// A calling card: card number, then the number to call, for as many minutes as the card has left. It was sold with `minutes`; those that
// were used, in however many calls, stand under the key `card-used:CARD`.

import { kv, incr } from 'cxKV';
import { spoken } from 'spoken-number';

const MINUTE_MS = 60_000;

export async function main(data, ctx) {
  await ctx.answer();
  await ctx.play('ivr/welcome.wav');

  const card = await ctx.gather({ prompt: 'ivr/enter-pin.wav', max: 10, terminators: '#', timeout_ms: 8_000, tries: 3, regexp: data.vars.card, invalid_prompt: 'ivr/invalid-pin.wav' });
  if (card.status !== 'success') {
    await ctx.play('ivr/goodbye.wav');
    return;
  }

  const minutes = Number(data.vars.minutes);
  const used = `card-used:${card.value}`;
  const left = Math.max(0, minutes - Number(await kv.get(used)));
  await ctx.play(['ivr/you-have.wav', ...spoken(left), 'ivr/minutes.wav']);
  if (left === 0) {
    await ctx.play('ivr/goodbye.wav');
    return;
  }

  const { status, value: number } = await ctx.ivr('ivr/enter-number.wav', 8, 3, 15, '#', { tries: 3 });
  if (status !== 'success') {
    await ctx.play('ivr/goodbye.wav');
    return;
  }

  await ctx.play('ivr/connecting.wav');
  // Taken at once, and what the call has not used given back: who dials twice with one card has its minutes once.
  let unused = left;
  const isFree = (await incr(used, left)) <= minutes;
  const usedUp = new AbortController();
  let answered = 0;
  let timer;
  ctx.on('bridge', () => {
    // The clock of the day may be set during a call.
    answered = performance.now();
    timer = setTimeout(() => usedUp.abort(), left * MINUTE_MS);
  });
  try {
    if (isFree) {
      const result = await ctx.bridge(number, { timeout_ms: 40_000, continue_on: true, signal: usedUp.signal });
      ctx.log(`card ${card.value.slice(-4)}: ${result.status}, ${Math.ceil(result.duration_ms / 1000)} s`);
      if (result.status !== 'completed') await ctx.play('ivr/call-failed.wav');
    } else {
      ctx.log(`card ${card.value.slice(-4)}: in use`);
      await ctx.play('ivr/call-failed.wav');
    }
  } catch (error) {
    if (error.name !== 'AbortError') throw error;
    ctx.log(`card ${card.value.slice(-4)}: used up`);
  } finally {
    clearTimeout(timer);
    if (answered > 0) unused -= Math.ceil((performance.now() - answered) / MINUTE_MS);
    if (unused > 0) await incr(used, -unused);
  }
  await ctx.play('ivr/goodbye.wav');
}
