import { test, expect, phone, kv, time } from 'lockstep:test';

const USED = 'card-used:1234567890';

async function welcomed() {
  const call = await phone.dial('2002');
  await call.answered();
  await call.hears('ivr/welcome.wav');
  await call.hears('ivr/enter-pin.wav');
  return call;
}

async function told(minutes) {
  const call = await welcomed();
  await call.press('1234567890');
  await call.hears('ivr/you-have.wav', { timeout_ms: 3_000 });
  for (const word of [minutes, 'minutes']) await call.hears(`ivr/${word}.wav`);
  return call;
}

async function carded(minutes = 3) {
  const call = await told(minutes);
  await call.hears('ivr/enter-number.wav');
  return call;
}

async function connected(agent, minutes = 3) {
  const call = await carded(minutes);
  await call.press('1001#');
  await call.hears('ivr/connecting.wav');
  const ringing = await agent.incoming();
  await ringing.answer();
  await call.bridgedTo(ringing);
  return [call, ringing];
}

test('a card with minutes reaches the number that is keyed', async () => {
  const [call, ringing] = await connected(phone.register('1001'));
  expect(await kv.get(USED)).toBe('3');
  await call.silence(61_000);
  await ringing.hangup();
  await call.hears('ivr/goodbye.wav', { timeout_ms: 3_000 });
  await call.ended();
  expect(await call.logs()).toEqual(['card 7890: completed, 62 s']);
  expect(await kv.get(USED)).toBe('2');
  const { entries } = await call.timeline();
  expect(entries.filter((entry) => entry.detail?.includes('call-failed'))).toEqual([]);
});

test('after three minutes of talking the card is used up', async () => {
  const agent = phone.register('1001');
  const call = await carded();
  await call.press('1001#');
  await call.hears('ivr/connecting.wav');
  const ringing = await agent.incoming();
  await time.advance(30_000);
  await ringing.answer();
  const answered = Date.now();
  await call.bridgedTo(ringing);
  await ringing.ended({ timeout_ms: 200_000 });
  expect(Date.now() - answered).toBeGreaterThan(179_000);
  expect(Date.now() - answered).toBeLessThan(181_000);
  await call.hears('ivr/goodbye.wav');
  await call.ended();
  expect(await call.logs()).toEqual(['card 7890: used up']);
  expect(await kv.get(USED)).toBe('3');

  const again = await told(0);
  await again.hears('ivr/goodbye.wav');
  expect((await again.ended()).code).toBe(200);
});

test('the next call has what the last one left', async () => {
  await kv.set(USED, '1');
  const [call, ringing] = await connected(phone.register('1001'), 2);
  await ringing.ended({ timeout_ms: 130_000 });
  expect(call.duration).toBeGreaterThan(119_000);
  await call.hears('ivr/goodbye.wav');
  expect(await kv.get(USED)).toBe('3');
});

test('two calls with one card have its minutes once', async () => {
  const late = await carded();
  const [call, ringing] = await connected(phone.register('1001'));
  await late.press('1001#');
  await late.hears('ivr/connecting.wav', { timeout_ms: 3_000 });
  await late.hears('ivr/call-failed.wav');
  await late.ended();
  expect(await late.logs()).toEqual(['card 7890: in use']);
  await ringing.hangup();
  await call.ended();
  expect(await kv.get(USED)).toBe('1');
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
  expect(await kv.get(USED)).toBe('0');
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
  const [call, ringing] = await connected(phone.register('1001'));
  await call.hangup();
  await ringing.ended();
  expect(await call.logs()).toEqual([]);
  expect(await kv.get(USED)).toBe('1');
});
