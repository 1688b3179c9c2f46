// @lockstep class5_destination=2013
// Lets callers in who know the PIN of their number, the key `pin:NUMBER`. Three wrong ones, in however many calls, lock the number for a
// quarter of an hour. PINs are set with POST /v1/scripts/pin-lockout/run {"fn": "setPin", "data": {"number": "441234567890", "pin": "4711"}}.

import { kv, incr } from 'cxKV';

const MAX_FAILURES = 3;
const LOCK_S = 15 * 60;

const failuresOf = (number) => `pin-failures:${number}`;

export async function main(data, ctx) {
  await ctx.answer();
  const pin = await kv.get(`pin:${data.from}`);
  let failures = Number(await kv.get(failuresOf(data.from)));

  while (failures < MAX_FAILURES) {
    const { value } = await ctx.ivr('ivr/enter-pin.wav', 8, 4, 8, '#');
    if (value === '') {
      await ctx.play('ivr/goodbye.wav');
      return;
    }
    // Counted before it is compared, and at once for all calls: who dials ten times together still has three attempts.
    failures = await incr(failuresOf(data.from), 1, LOCK_S);
    if (value === pin && failures <= MAX_FAILURES) {
      await kv.del(failuresOf(data.from));
      await ctx.play('ivr/accepted.wav');
      await ctx.bridge('1001');
      return;
    }
    ctx.log(`wrong PIN for ${data.from}, failure ${failures}`);
    await ctx.play('ivr/invalid-pin.wav');
  }

  ctx.log(`${data.from} is locked`);
  await ctx.play('ivr/goodbye.wav');
  await ctx.hangup({ code: 403, reason: 'Locked' });
}

export async function setPin({ number, pin }) {
  if (!/^\d{3,15}$/.test(number) || !/^\d{4,8}$/.test(pin)) throw new Error('400 Expected a number, and a PIN of four to eight digits');
  await kv.set(`pin:${number}`, pin);
  await kv.del(failuresOf(number));
  return { number };
}
