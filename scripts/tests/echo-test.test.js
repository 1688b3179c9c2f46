import { test, expect, phone } from 'lockstep:test';

async function echoing() {
  const call = await phone.dial('2005');
  await call.answered();
  await call.hears('ivr/echo-test.wav');
  await call.hears('ivr/beep.wav');
  return call;
}

test('what the caller says comes back half a second later', async () => {
  const call = await echoing();
  const began = Date.now();
  const said = call.says('ivr/welcome.wav');
  const heard = await call.hears('ivr/welcome.wav');
  expect(heard.how).toBe('exact');
  // The clip takes 0.72 s.
  expect(Date.now() - began).toBeGreaterThan(1_150);
  expect(Date.now() - began).toBeLessThan(1_400);
  await said;
  await call.hangup();
});

test('star ends the echo', async () => {
  const call = await echoing();
  await call.press('5');
  await call.silence(300);
  const pressed = Date.now();
  await call.press('*');
  await call.hears('ivr/goodbye.wav', { timeout_ms: 3_000 });
  expect(Date.now() - pressed).toBeLessThan(2_000);
  expect((await call.ended()).code).toBe(200);
  expect((await call.logs()).filter((line) => line.includes('rror'))).toEqual([]);
});

test('after a minute it ends by itself', async () => {
  const call = await echoing();
  const began = Date.now();
  await call.hears('ivr/goodbye.wav', { timeout_ms: 70_000 });
  expect(Date.now() - began).toBeGreaterThan(59_000);
  expect(Date.now() - began).toBeLessThan(63_000);
  await call.ended();
});

test('a caller who hangs up during the echo is no error', async () => {
  const call = await echoing();
  await call.hangup();
  expect(await call.logs()).toEqual([]);
});
