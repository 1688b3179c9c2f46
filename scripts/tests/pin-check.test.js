import { test, expect, phone } from 'lockstep:test';

async function asked() {
  const call = await phone.dial('2001');
  await call.answered();
  await call.hears('ivr/enter-pin.wav');
  return call;
}

test('the right PIN lets the caller in', async () => {
  const agent = phone.register('1001');
  const call = await asked();
  await call.press('4711');
  const asked_at = Date.now();
  await call.press('#');
  await call.hears('ivr/accepted.wav');
  expect(Date.now() - asked_at).toBeLessThan(4_000);
  const ringing = await agent.incoming();
  await ringing.answer();
  await call.bridgedTo(ringing);
  await call.hangup();
});

test('three wrong PINs end the call with a reason', async () => {
  const call = await asked();
  for (const attempt of [1, 2, 3]) {
    if (attempt > 1) await call.hears('ivr/enter-pin.wav');
    await call.press('1234#');
    await call.hears('ivr/invalid-pin.wav');
  }
  await call.hears('ivr/goodbye.wav');
  expect(await call.ended()).toEqual({ code: 403, reason: 'Wrong PIN', by: 'remote' });
  expect(await call.logs()).toEqual(['wrong PIN, attempt 1', 'wrong PIN, attempt 2', 'wrong PIN, attempt 3']);
});

test('the right PIN after a wrong one', async () => {
  const agent = phone.register('1001');
  const call = await asked();
  await call.press('47#');
  await call.hears('ivr/invalid-pin.wav');
  await call.hears('ivr/enter-pin.wav');
  await call.press('4711#');
  await call.hears('ivr/accepted.wav');
  await agent.incoming();
  await call.hangup();
});

test('keys are taken up to eight without the hash', async () => {
  const call = await asked();
  await call.press('47114711');
  const keyed = Date.now();
  await call.hears('ivr/invalid-pin.wav');
  expect(Date.now() - keyed).toBeLessThan(4_000);
  await call.hangup();
});

test('keying pauses of less than eight seconds are fine, longer ones end the PIN', async () => {
  const call = await asked();
  await call.press('47');
  await call.silence(7_500);
  await call.press('11');
  await call.hears('ivr/accepted.wav', { timeout_ms: 12_000 });
  await call.hangup();
});
