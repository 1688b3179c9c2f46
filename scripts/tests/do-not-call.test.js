import { test, expect, class4, kv, run } from 'lockstep:test';

const to = (dest_number) => class4({ routing: { cli: '441611234567', dest_number } }, { script: 'do-not-call' });

test('a number on the list is not called, until it is taken off', async () => {
  expect((await to('442079460999')).routing.dest_number).toBe('442079460999');
  expect(await run('do-not-call', 'add', { number: '442079460999' })).toEqual({ number: '442079460999', listed: true });
  await expect(to('442079460999')).rejects.toThrow('604 Number on DNC List');
  expect((await to('442079460998')).routing.dest_number).toBe('442079460998');
  expect(await run('do-not-call', 'remove', { number: '442079460999' })).toEqual({ number: '442079460999', listed: false });
  expect((await to('442079460999')).routing.dest_number).toBe('442079460999');
});

test('a plus makes no other number, on either side', async () => {
  await run('do-not-call', 'add', { number: '+442079460999' });
  await expect(to('442079460999')).rejects.toThrow('604');
  await expect(to('+442079460999')).rejects.toThrow('604');
  await run('do-not-call', 'remove', { number: 442079460999 });
  expect((await to('+442079460999')).routing.dest_number).toBe('+442079460999');
});

test('the list says since when', async () => {
  await run('do-not-call', 'add', { number: '442079460999' });
  expect(await kv.get('dnc:442079460999')).toBe(new Date().toISOString());
});
