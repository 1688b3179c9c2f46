// @lockstep class5_destination=2012
// Tells callers their balance, digit by digit: the key `balance:NUMBER`, in cents. Who has none hears that the number is invalid.

import { kv } from 'cxKV';

const digits = (text) => [...text].map((digit) => `ivr/${digit}.wav`);

export async function main(data, ctx) {
  await ctx.answer();
  const balance = await kv.get(`balance:${data.from}`);
  if (balance === null) {
    await ctx.play('ivr/invalid.wav');
    await ctx.hangup({ code: 403, reason: 'No Account' });
    return;
  }
  await ctx.play(digits(balance));
  ctx.log(`balance of ${data.from}: ${balance}`);
}
