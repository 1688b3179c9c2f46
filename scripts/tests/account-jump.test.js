import { test, expect, class4 } from 'lockstep:test';

const accounts = { '44': 1200, '4420': 1201, '33': 1300 };

/** @param {string} cli @param {{ accounts?: Record<string, number> }} [vars] */
async function headersOf(cli, vars = { accounts }) {
  const { headers, remove_headers } = await class4({ routing: { cli, dest_number: '4915112345' }, headers: [], remove_headers: [], ...vars }, { script: 'account-jump' });
  expect(remove_headers).toEqual(['X-Account']);
  return headers;
}

test.each([
  ['the longest prefix counts', '442079460001', [{ key: 'X-Account', value: 1201 }]],
  ['a shorter one does where the longer does not fit', '441611234567', [{ key: 'X-Account', value: 1200 }]],
  ['a plus is no part of the number', '+442079460001', [{ key: 'X-Account', value: 1201 }]],
  ['a prefix stands at the beginning', '1442079460001', []],
  ['a plus inside is', '44+2079460001', [{ key: 'X-Account', value: 1200 }]],
])('%s', async (_, cli, headers) => {
  expect(await headersOf(cli)).toEqual(headers);
});

test('whatever the order of the accounts', async () => {
  expect(await headersOf('442079460001', { accounts: { '4420': 1201, '44': 1200 } })).toEqual([{ key: 'X-Account', value: 1201 }]);
});

test('without accounts only what the caller claims is taken away', async () => {
  expect(await headersOf('442079460001', {})).toEqual([]);
});
