import { test, expect, phone } from 'lockstep:test';

async function welcomed() {
  const call = await phone.dial('2002');
  await call.answered();
  await call.hears('ivr/welcome.wav');
  await call.hears('ivr/enter-pin.wav');
  return call;
}

async function carded() {
  const call = await welcomed();
  await call.press('1234567890');
  await call.hears('ivr/you-have.wav', { timeout_ms: 3_000 });
  await call.hears('ivr/3.wav');
  await call.hears('ivr/minutes.wav');
  await call.hears('ivr/enter-number.wav');
  return call;
}

test('a card with minutes reaches the number that is keyed', async () => {
  const agent = phone.register('1001');
  const call = await carded();
  await call.press('1001#');
  await call.hears('ivr/connecting.wav');
  const ringing = await agent.incoming();
  await ringing.answer();
  await call.bridgedTo(ringing);
  await call.silence(61_000);
  await ringing.hangup();
  await call.hears('ivr/goodbye.wav', { timeout_ms: 3_000 });
  await call.ended();
  expect(await call.logs()).toEqual(['card 7890: completed, 62 s']);
  const { entries } = await call.timeline();
  expect(entries.filter((entry) => entry.detail?.includes('call-failed'))).toEqual([]);
});

test('after three minutes the card is used up', async () => {
  const agent = phone.register('1001');
  const call = await carded();
  await call.press('1001#');
  await call.hears('ivr/connecting.wav');
  const asked = Date.now();
  const ringing = await agent.incoming();
  await ringing.answer();
  await call.bridgedTo(ringing);
  await ringing.ended({ timeout_ms: 200_000 });
  expect(Date.now() - asked).toBeGreaterThan(179_000);
  expect(Date.now() - asked).toBeLessThan(181_000);
  await call.hears('ivr/goodbye.wav');
  await call.ended();
  expect(await call.logs()).toEqual(['card 7890: used up']);
});

test('a wrong card is asked for three times', async () => {
  const call = await welcomed();
  for (const attempt of [1, 2, 3]) {
    if (attempt > 1) await call.hears('ivr/enter-pin.wav');
    await call.press('1234#');
    // The hash ends it; nobody waits for more keys.
    if (attempt < 3) await call.hears('ivr/invalid-pin.wav', { timeout_ms: 3_000 });
  }
  await call.hears('ivr/goodbye.wav', { timeout_ms: 6_000 });
  expect((await call.ended()).code).toBe(200);
  expect(await call.logs()).toEqual([]);
});

test('who keys nothing has eight seconds', async () => {
  const call = await welcomed();
  await call.silence(7_500);
  await call.hears('ivr/enter-pin.wav', { timeout_ms: 6_000 });
  await call.hangup();
});

test('no number, three times', async () => {
  const call = await carded();
  for (const attempt of [1, 2, 3]) {
    if (attempt > 1) await call.hears('ivr/enter-number.wav');
    await call.silence(7_500);
  }
  await call.hears('ivr/goodbye.wav', { timeout_ms: 6_000 });
  expect((await call.ended()).code).toBe(200);
  const { entries } = await call.timeline();
  expect(entries.filter((entry) => entry.name === 'bridge' || entry.detail?.includes('connecting'))).toEqual([]);
});

test('the longest number has fifteen digits, the shortest three', async () => {
  const call = await carded();
  await call.press('441234567890123');
  await call.hears('ivr/connecting.wav', { timeout_ms: 3_000 });
  await call.hangup();
  const other = await carded();
  await other.press('12#');
  await other.hears('ivr/enter-number.wav');
  await other.press('100#');
  await other.hears('ivr/connecting.wav', { timeout_ms: 3_000 });
  await other.hangup();
});

test('a call that fails is explained', async () => {
  const agent = phone.register('1001');
  const call = await carded();
  await call.press('1001#');
  const ringing = await agent.incoming();
  await ringing.reject(486);
  await call.hears('ivr/call-failed.wav');
  await call.hears('ivr/goodbye.wav');
  await call.ended();
  expect(await call.logs()).toEqual(['card 7890: busy, 0 s']);
});

test('it rings for forty seconds', async () => {
  const agent = phone.register('1001');
  const call = await carded();
  await call.press('1001#');
  const ringing = await agent.incoming();
  const began = Date.now();
  await ringing.ended({ timeout_ms: 60_000 });
  expect(Date.now() - began).toBeGreaterThan(39_000);
  expect(Date.now() - began).toBeLessThan(41_000);
  await call.hears('ivr/call-failed.wav');
  await call.hangup();
});

test('a caller who hangs up has not used the card up', async () => {
  const agent = phone.register('1001');
  const call = await carded();
  await call.press('1001#');
  const ringing = await agent.incoming();
  await ringing.answer();
  await call.bridgedTo(ringing);
  await call.hangup();
  await ringing.ended();
  expect(await call.logs()).toEqual([]);
});
