import { test, expect, phone } from 'lockstep:test';

async function music() {
  const call = await phone.dial('2011');
  await call.answered();
  await call.hears({ tone: 440 });
  return call;
}

test('the code, whatever was keyed before it', async () => {
  const call = await music();
  await call.press('7342');
  const keyed = Date.now();
  await call.hears('ivr/accepted.wav', { timeout_ms: 3_000 });
  expect(Date.now() - keyed).toBeLessThan(3_000);
  expect((await call.ended()).code).toBe(200);
});

test('99 gives up', async () => {
  const call = await music();
  await call.press('4199');
  await call.hears('ivr/goodbye.wav', { timeout_ms: 3_000 });
  await call.ended();
});

test('after half a minute it is too late', async () => {
  const call = await music();
  const began = Date.now();
  await call.press('42'.split('').reverse().join(''));
  await call.hears('ivr/goodbye.wav', { timeout_ms: 40_000 });
  expect(Date.now() - began).toBeGreaterThan(28_000);
  expect(Date.now() - began).toBeLessThan(32_000);
});

test('the music goes on until then, on and off', async () => {
  const call = await music();
  for (let round = 0; round < 4; round += 1) await call.hears({ tone: 440 }, { timeout_ms: 1_500 });
  await call.press('42');
  await call.hears('ivr/accepted.wav');
  await call.ended();
});

test('a caller who hangs up is no error', async () => {
  const call = await music();
  await call.hangup();
  expect(await call.logs()).toEqual([]);
  expect((await call.timeline()).entries.filter((entry) => entry.name === 'play')).toHaveLength(1);
});
