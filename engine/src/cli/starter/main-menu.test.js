import { test, expect, phone } from 'lockstep:test';

test('1 rings the first softphone', async () => {
  const agent = phone.register('1001');
  const call = await phone.dial('1000', { from: '441234567890' });
  await call.answered();
  await call.hears('user/menu.wav');
  await call.press('1');
  const leg = await agent.incoming();
  await leg.answer();
  await call.bridgedTo(leg);
  expect(call.duration).toBeLessThan(60_000);
  await call.hangup();
});

test('a caller who keys nothing is let go kindly', async () => {
  const call = await phone.dial('1000');
  await call.answered();
  await call.hears('user/goodbye.wav');
});
