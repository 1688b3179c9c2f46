import { test, expect, driver } from 'lockstep:test';

const stock = (fn, data = {}) => driver('number-stock', fn, data);

test('numbers are found, taken, listed and given back', async () => {
  expect(await stock('fill', { from: '442080000008', count: 3 })).toEqual({ added: 3 });
  const all = [{ did: '442080000008' }, { did: '442080000009' }, { did: '442080000010' }];
  expect(await stock('search')).toEqual(all);
  expect(await stock('list')).toEqual([]);

  expect(await stock('allocate', { did: '442080000009' })).toEqual({ did: '442080000009', stock: 'own' });
  expect(await stock('search')).toEqual([all[0], all[2]]);
  expect(await stock('list')).toEqual([all[1]]);

  expect(await stock('release', { did: '442080000009' })).toBe(true);
  expect(await stock('search')).toEqual(all);
  expect(await stock('list')).toEqual([]);
});

test('a search is for a prefix, and gives no more than is asked for', async () => {
  await stock('fill', { from: '442080000008', count: 3 });
  expect(await stock('search', { number: '44208000001' })).toEqual([{ did: '442080000010' }]);
  expect(await stock('search', { number: 442080000010 })).toEqual([{ did: '442080000010' }]);
  expect(await stock('search', { limit: 1 })).toEqual([{ did: '442080000008' }]);
});

test('a search gives a hundred where nothing is said', async () => {
  await stock('fill', { from: '442080000000', count: 101 });
  expect(await stock('search')).toHaveLength(100);
});

test('one number is added where no count is given', async () => {
  expect(await stock('fill', { from: '442080000000' })).toEqual({ added: 1 });
  expect(await stock('search')).toEqual([{ did: '442080000000' }]);
});

test('a number is taken once', async () => {
  await stock('fill', { from: '442080000000' });
  await stock('allocate', { did: '442080000000' });
  await expect(stock('allocate', { did: '442080000000' })).rejects.toThrow('486 Busy Here');
});

test('a number that is not in the stock cannot be taken', async () => {
  await expect(stock('allocate', { did: '442080000000' })).rejects.toThrow('404 Not Found');
});
