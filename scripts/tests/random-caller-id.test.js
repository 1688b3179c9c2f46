import { test, expect, class4 } from 'lockstep:test';

const pool = ['442079460001', '442079460002', '442079460003'];
const rows = (count) => Array.from({ length: count }, (_, n) => ({ gw: { [n * 2]: { cli: '441611234567' }, [n * 2 + 1]: {} } }));

async function clis(vars, count = 16) {
  const routing = { cli: '441611234567', dest_number: '4915112345', egress_routing: rows(count) };
  const data = await class4({ routing, ...vars }, { script: 'random-caller-id' });
  return data.routing.egress_routing.flatMap(({ gw }) => Object.values(gw).map(({ cli }) => cli));
}

test('each gateway gets a number of the pool, and all of them are used', async () => {
  const seen = await clis({ caller_ids: pool });
  expect(seen).toHaveLength(32);
  expect([...new Set(seen)].sort()).toEqual(pool);
});

test('gateways of one row differ', async () => {
  const seen = await clis({ caller_ids: pool });
  expect(seen.some((cli, n) => n % 2 === 1 && cli !== seen[n - 1])).toBe(true);
});

test.each([['no pool', {}], ['an empty one', { caller_ids: [] }]])('%s changes nothing', async (_, vars) => {
  expect(await clis(vars, 1)).toEqual(['441611234567', undefined]);
});
