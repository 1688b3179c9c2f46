import { test, expect, phone } from 'lockstep:test';
import { isOpen } from 'business-hours';

const HOURS = { open: '9', close: '17', utc_offset: '0' };

test.each([
  ['2026-01-05T08:59:59Z', false],
  ['2026-01-05T09:00:00Z', true],
  ['2026-01-09T16:59:59Z', true],
  ['2026-01-09T17:00:00Z', false],
  ['2026-01-10T12:00:00Z', false],
  ['2026-01-11T12:00:00Z', false],
])('at %s open is %s', (now, open) => {
  expect(isOpen(new Date(now), HOURS)).toBe(open);
});

test('the offset moves the hours and the days', () => {
  expect(isOpen(new Date('2026-01-05T08:30:00Z'), { ...HOURS, utc_offset: '1' })).toBe(true);
  expect(isOpen(new Date('2026-01-05T16:30:00Z'), { ...HOURS, utc_offset: '1' })).toBe(false);
  expect(isOpen(new Date('2026-01-05T07:59:59.999Z'), { ...HOURS, utc_offset: '1' })).toBe(false);
  expect(isOpen(new Date('2026-01-05T08:00:00.000Z'), { ...HOURS, utc_offset: '1' })).toBe(true);
  expect(isOpen(new Date('2026-01-04T23:30:00Z'), { open: '0', close: '24', utc_offset: '2' })).toBe(true);
});

test('closed on Sunday', { at: '2026-01-04T12:00:00Z' }, async () => {
  const agent = phone.register('1001');
  await agent.registered();
  const call = await phone.dial('2003');
  await call.answered();
  await call.hears('ivr/closed.wav');
  await call.hears('ivr/goodbye.wav');
  await call.ended();
  expect((await call.timeline()).entries.filter((entry) => entry.name === 'bridge')).toEqual([]);
});

test('open on Monday: whoever answers first is joined', async () => {
  const [first, second] = [phone.register('1001'), phone.register('1002')];
  const call = await phone.dial('2003');
  const [one, other] = [await first.incoming(), await second.incoming()];
  expect(call.state).toBe('calling');
  await one.answer();
  await call.answered();
  await call.bridgedTo(one);
  await other.ended();
  await one.hangup();
  await call.ended();
});

test.each([[486, 'busy'], [480, 'no-answer']])('when both say %s the caller hears %s', async (code, prompt) => {
  const phones = [phone.register('1001'), phone.register('1002')];
  const call = await phone.dial('2003');
  for (const agent of phones) await (await agent.incoming()).reject(code);
  await call.answered();
  await call.hears(`ivr/${prompt}.wav`);
  await call.hears('ivr/goodbye.wav');
  expect((await call.ended()).code).toBe(200);
});

test('it rings for twenty-five seconds', async () => {
  const agent = phone.register('1002');
  const call = await phone.dial('2003');
  const ringing = await agent.incoming();
  const began = Date.now();
  await ringing.ended();
  expect(Date.now() - began).toBeGreaterThan(24_000);
  expect(Date.now() - began).toBeLessThan(26_000);
  await call.hears('ivr/no-answer.wav');
  await call.hangup();
});
