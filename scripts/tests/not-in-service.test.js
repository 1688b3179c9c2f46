import { test, expect, phone } from 'lockstep:test';

test('the caller is told before the call is refused', async () => {
  const call = await phone.dial('2010');
  await call.ringing();
  await call.hears('ivr/error-tone.wav');
  await call.hears('ivr/call-failed.wav');
  expect(await call.ended()).toEqual({ code: 404, reason: 'Not in service', by: 'remote' });
  expect(call.duration).toBe(0);
  const progress = (await call.timeline()).entries.filter((entry) => entry.kind === 'operation').map((entry) => entry.name);
  expect(progress).toEqual(['earlyMedia', 'play', 'reject']);
});

test('a caller who gives up is no error', async () => {
  const call = await phone.dial('2010');
  await call.hears('ivr/error-tone.wav');
  await call.hangup();
  expect(await call.logs()).toEqual([]);
});
