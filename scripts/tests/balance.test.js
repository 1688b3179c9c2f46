import { test, expect, phone, kv } from 'lockstep:test';

test('a caller hears the balance, digit by digit', async () => {
  await kv.set('balance:441234567890', '1205');
  const call = await phone.dial('2012', { from: '441234567890' });
  await call.answered();
  for (const digit of '1205') await call.hears(`ivr/${digit}.wav`);
  expect((await call.ended()).by).toBe('remote');
  expect(await call.logs()).toEqual(['balance of 441234567890: 1205']);
});

test('who has no account hears so', async () => {
  const call = await phone.dial('2012', { from: '440000000000' });
  await call.answered();
  await call.hears('ivr/invalid.wav');
  expect(await call.ended()).toMatchObject({ code: 403, reason: 'No Account' });
  expect(await call.logs()).toEqual([]);
});
