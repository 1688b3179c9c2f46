import { test, expect, phone } from 'lockstep:test';

test('the address names whom to ring', async () => {
  const [first, second] = [phone.register('1001'), phone.register('1002')];
  const call = await phone.dial('hotline_1002');
  const ringing = await second.incoming();
  await ringing.answer();
  await call.answered();
  await call.bridgedTo(ringing);
  await ringing.hangup();
  expect((await call.ended()).code).toBe(200);
  await expect(first.incoming({ timeout_ms: 100 })).rejects.toThrow('a call to come in');
});

test('a busy line is busy', async () => {
  const agent = phone.register('1001');
  const call = await phone.dial('hotline_1001');
  await (await agent.incoming()).reject(486);
  expect((await call.ended()).code).toBe(486);
});

test('one that is not there is unavailable', async () => {
  const call = await phone.dial('hotline_1001');
  expect((await call.ended()).code).toBe(480);
});

test('it rings for half a minute', async () => {
  const agent = phone.register('1001');
  const call = await phone.dial('hotline_1001');
  const ringing = await agent.incoming();
  const began = Date.now();
  await ringing.ended({ timeout_ms: 40_000 });
  expect(Date.now() - began).toBeGreaterThan(29_000);
  expect(Date.now() - began).toBeLessThan(31_000);
  expect((await call.ended()).code).toBe(480);
});
