// Run with `lockstep test`: a simulated call, in virtual time.
import { test, expect, phone } from 'lockstep:test';

test('1 reaches the first softphone', async () => {
  const first = phone.register('1001');
  const call = await phone.dial('1000', { from: '441234567890' });
  await call.answered();
  await call.hears('user/menu.wav');
  await call.press('1');
  const ringing = await first.incoming();
  expect(ringing.from).toBe('441234567890');
  await ringing.answer();
  await call.bridgedTo(ringing);
  await call.hangup();
});

test('a caller who presses nothing hears the menu three times, then goodbye', async () => {
  const call = await phone.dial('1000');
  for (let round = 1; round <= 3; round += 1) await call.hears('user/menu.wav');
  await call.hears('user/goodbye.wav');
  expect((await call.ended()).code).toBe(200);
});
