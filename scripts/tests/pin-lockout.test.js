import { test, expect, phone, kv, run, time, beforeEach } from 'lockstep:test';

const NUMBER = '441234567890';

beforeEach(() => run('pin-lockout', 'setPin', { number: NUMBER, pin: '4711' }));

async function asked(from = NUMBER) {
  const call = await phone.dial('2013', { from });
  await call.answered();
  await call.hears('ivr/enter-pin.wav');
  return call;
}

async function fail(call, pin = '1234') {
  await call.press(`${pin}#`);
  await call.hears('ivr/invalid-pin.wav', { timeout_ms: 4_000 });
}

async function lockedOut(call) {
  await call.hears('ivr/goodbye.wav');
  expect(await call.ended()).toEqual({ code: 403, reason: 'Locked', by: 'remote' });
}

test('the right PIN lets the caller in, and earlier failures are forgotten', async () => {
  const agent = phone.register('1001');
  const call = await asked();
  await fail(call);
  await call.hears('ivr/enter-pin.wav');
  expect(await kv.get(`pin-failures:${NUMBER}`)).toBe('1');
  await call.press('4711#');
  await call.hears('ivr/accepted.wav');
  const ringing = await agent.incoming();
  await ringing.answer();
  await call.bridgedTo(ringing);
  expect(await kv.get(`pin-failures:${NUMBER}`)).toBeNull();
  await call.hangup();
});

test('failures add up over calls, and lock the number even for the right PIN', async () => {
  for (const failures of [1, 2]) {
    const call = await asked();
    await fail(call);
    await call.hangup();
    expect(await kv.get(`pin-failures:${NUMBER}`)).toBe(String(failures));
  }
  const third = await asked();
  await fail(third);
  await lockedOut(third);
  expect(await third.logs()).toEqual([`wrong PIN for ${NUMBER}, failure 3`, `${NUMBER} is locked`]);

  const refused = await phone.dial('2013', { from: NUMBER });
  await refused.answered();
  await lockedOut(refused);
  expect(await refused.logs()).toEqual([`${NUMBER} is locked`]);

  const other = await asked('440000000000');
  await other.hangup();
});

test('a quarter of an hour after the last failure the number is open again', async () => {
  const call = await asked();
  for (const attempt of [1, 2, 3]) {
    if (attempt > 1) await call.hears('ivr/enter-pin.wav');
    await fail(call);
  }
  await lockedOut(call);
  await time.advance(14 * 60_000);
  const early = await phone.dial('2013', { from: NUMBER });
  await early.answered();
  await lockedOut(early);
  await time.advance(60_000);
  const late = await asked();
  await late.press('4711#');
  await late.hears('ivr/accepted.wav');
  await late.hangup();
});

test('calls that guess side by side share the three attempts', async () => {
  const calls = await Promise.all([1, 2, 3, 4].map(() => asked()));
  await Promise.all(calls.slice(0, 3).map((call) => fail(call)));
  await calls[3].press('4711#');
  await calls[3].hears('ivr/invalid-pin.wav', { timeout_ms: 4_000 });
  await lockedOut(calls[3]);
});

test('a number without a PIN is let in by none', async () => {
  const call = await asked('440000000000');
  await fail(call, '4711');
  await call.hangup();
});

test('who keys nothing hears goodbye and has not failed', async () => {
  const call = await asked();
  await call.silence(7_500);
  await call.hears('ivr/goodbye.wav', { timeout_ms: 3_000 });
  expect((await call.ended()).code).toBe(200);
  expect(await kv.get(`pin-failures:${NUMBER}`)).toBeNull();
});

test('a new PIN opens a locked number', async () => {
  await kv.set(`pin-failures:${NUMBER}`, '3');
  await run('pin-lockout', 'setPin', { number: NUMBER, pin: '0815' });
  const call = await asked();
  await call.press('0815#');
  await call.hears('ivr/accepted.wav');
  await call.hangup();
});

test.each([[{ number: NUMBER, pin: '123' }], [{ number: NUMBER, pin: '123456789' }], [{ number: 'me', pin: '4711' }], [{}]])('%j is refused', async (entry) => {
  await expect(run('pin-lockout', 'setPin', entry)).rejects.toThrow('400 Expected a number');
  expect(await kv.get(`pin:${NUMBER}`)).toBe('4711');
});

test('eight keys need no hash', async () => {
  const call = await asked();
  await call.press('47114711');
  const keyed = Date.now();
  await call.hears('ivr/invalid-pin.wav', { timeout_ms: 4_000 });
  expect(Date.now() - keyed).toBeLessThan(4_000);
  await call.hangup();
});
