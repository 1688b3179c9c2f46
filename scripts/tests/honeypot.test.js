import { test, expect, class4, kv, time } from 'lockstep:test';

const TRAP = '442079460999';

/** @param {string} dest_number @param {Record<string, unknown>} [vars] */
function call(dest_number, { cli = '441611234567', ...vars } = {}) {
  return class4({ routing: { cli, dest_number }, honeypots: [TRAP], honeypot_calls: 2, ...vars }, { script: 'honeypot' });
}

test('who calls too many of them is not let out any more, for a day', async () => {
  for (let calls = 1; calls <= 2; calls += 1) {
    expect((await call('4915112345')).routing.dest_number).toBe('4915112345');
    await expect(call(TRAP)).rejects.toThrow('404 Not Found');
  }
  await expect(call('4915112345')).rejects.toThrow('603 Declined');
  await time.advance(86_399_000);
  await expect(call('4915112345')).rejects.toThrow('603 Declined');
  await time.advance(2_000);
  expect((await call('4915112345')).routing.dest_number).toBe('4915112345');
});

test('others are let out meanwhile', async () => {
  await expect(call(TRAP)).rejects.toThrow('404');
  await expect(call(TRAP)).rejects.toThrow('404');
  await expect(call('4915112345')).rejects.toThrow('603');
  expect((await call('4915112345', { cli: '441610000000' })).routing.dest_number).toBe('4915112345');
});

test('a plus makes no other number', async () => {
  await expect(call(`+${TRAP}`)).rejects.toThrow('404');
  expect(await kv.get('honeypot:441611234567')).toBe('1');
});

test('three calls are too many where the route says nothing', async () => {
  for (let calls = 1; calls <= 3; calls += 1) {
    expect((await call('4915112345', { honeypot_calls: undefined })).routing.dest_number).toBe('4915112345');
    await expect(call(TRAP, { honeypot_calls: undefined })).rejects.toThrow('404');
  }
  await expect(call('4915112345', { honeypot_calls: undefined })).rejects.toThrow('603');
});

test('without honeypots nobody is caught', async () => {
  expect((await call(TRAP, { honeypots: undefined })).routing.dest_number).toBe(TRAP);
});
