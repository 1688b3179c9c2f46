import { test, expect, phone, tts } from 'lockstep:test';

async function dialled() {
  const call = await phone.dial('2007');
  await call.answered();
  return call;
}

test('without a recorded announcement a voice says so', async () => {
  const call = await dialled();
  await call.hears({ tts: 'There is no announcement today.' });
  await call.hears('ivr/goodbye.wav');
  await call.ended();
  expect(await tts.spoken()).toEqual(['There is no announcement today.']);
  const [line] = await call.logs();
  expect(line).toMatch(/^user\/announcement\.wav cannot be played \(.*announcement\.wav.*\), speaking instead$/);
});

test('without speech a stock prompt takes its place', async () => {
  tts.fails();
  const call = await dialled();
  await call.hears('ivr/unavailable.wav');
  await call.hears('ivr/goodbye.wav');
  expect((await call.ended()).code).toBe(200);
});

test('hanging up while it is said is no error', async () => {
  const call = await dialled();
  await call.hears({ tts: /no announcement/ }, { at_least_ms: 500 });
  await call.hangup();
  expect(await call.logs()).toHaveLength(1);
  const { entries } = await call.timeline();
  expect(entries.filter((entry) => entry.name === 'play' && entry.detail.includes('unavailable'))).toEqual([]);
});

test('hanging up during the goodbye plays nothing more', async () => {
  const call = await dialled();
  await call.hears({ tts: /announcement/ });
  await call.hears('ivr/goodbye.wav', { at_least_ms: 300 });
  await call.hangup();
  expect(await call.logs()).toHaveLength(1);
});
