import { test, expect, phone, kv } from 'lockstep:test';

const NUMBER = '441234567890';

test.each([
  ['1205', ['1', 'thousand', '2', 'hundred', 'and', '5']],
  ['25', ['20', '5']],
  ['-3', ['0']],
])('a balance of %s is told', async (balance, words) => {
  await kv.set(`balance:${NUMBER}`, balance);
  const call = await phone.dial('2012', { from: NUMBER });
  await call.answered();
  for (const word of ['you-have', ...words, 'minutes']) await call.hears(`ivr/${word}.wav`);
  expect(await call.ended()).toMatchObject({ code: 200, by: 'remote' });
  expect(await call.logs()).toEqual([`balance of ${NUMBER}: ${balance}`]);
});

test('who has no account hears so', async () => {
  const call = await phone.dial('2012', { from: '440000000000' });
  await call.answered();
  await call.hears('ivr/invalid.wav');
  expect(await call.ended()).toMatchObject({ code: 403, reason: 'No Account' });
  expect(await call.logs()).toEqual([]);
});
