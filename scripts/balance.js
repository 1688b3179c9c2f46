// @lockstep class5_destination=2012
// Tells callers their balance: the key `balance:NUMBER`, in minutes. Who has none hears that the number is invalid.

import { kv } from 'cxKV';
import { spoken } from 'spoken-number';

export async function main(data, ctx) {
  await ctx.answer();
  const balance = await kv.get(`balance:${data.from}`);
  if (balance === null) {
    await ctx.play('ivr/invalid.wav');
    await ctx.hangup({ code: 403, reason: 'No Account' });
    return;
  }
  await ctx.play(['ivr/you-have.wav', ...spoken(Number(balance)), 'ivr/minutes.wav']);
  ctx.log(`balance of ${data.from}: ${balance}`);
}
