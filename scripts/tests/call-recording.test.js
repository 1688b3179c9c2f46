import { test, expect, phone, recordings } from 'lockstep:test';

async function recorded() {
  const agent = phone.register('1001');
  const call = await phone.dial('2004');
  await call.answered();
  await call.hears('ivr/recorded.wav');
  const ringing = await agent.incoming();
  return { call, ringing };
}

const saved = (lines) => /^bridge (\S+) after (\d+) ms, recorded (\d+) ms in (\S+)$/.exec(lines.at(-1)).slice(1);

test('both sides are joined, and all of it is recorded', async () => {
  const { call, ringing } = await recorded();
  await ringing.answer();
  await call.bridgedTo(ringing);
  await call.silence(5_000);
  await ringing.hangup();
  await call.ended();
  const [status, bridged, recording, file] = saved(await call.logs());
  expect(status).toBe('completed');
  expect(Number(bridged)).toBeGreaterThan(5_000);
  expect(Number(recording)).toBeGreaterThan(5_000);
  expect(file).toMatch(/^user\/recordings\/[0-9a-f-]{36}\.wav$/);
  expect(await recordings()).toEqual([{ file, channels: 2, duration_ms: expect.any(Number) }]);
});

test('what is said between 8 and 9 is left out', async () => {
  const { call, ringing } = await recorded();
  await ringing.answer();
  await call.bridgedTo(ringing);
  await call.press('8');
  await call.silence(10_000);
  await call.press('9');
  await call.silence(2_000);
  await ringing.hangup();
  await call.ended();
  const [, bridged, recording] = saved(await call.logs()).map(Number);
  expect(recording).toBeLessThan(bridged - 9_000);
  expect(recording).toBeGreaterThan(2_000);
});

test('other keys change nothing', async () => {
  const { call, ringing } = await recorded();
  await ringing.answer();
  await call.bridgedTo(ringing);
  await call.press('7');
  await call.silence(5_000);
  await ringing.hangup();
  await call.ended();
  const [, bridged, recording] = saved(await call.logs()).map(Number);
  expect(recording).toBeGreaterThan(bridged - 1_000);
});

test('nobody answers for half a minute', async () => {
  const { call, ringing } = await recorded();
  const began = Date.now();
  await ringing.ended({ timeout_ms: 40_000 });
  expect(Date.now() - began).toBeGreaterThan(29_000);
  expect(Date.now() - began).toBeLessThan(31_000);
  await call.ended();
  expect(saved(await call.logs())[0]).toBe('no-answer');
});
