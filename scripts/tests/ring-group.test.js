import { test, expect, phone } from 'lockstep:test';

test('everybody rings at once, and the first to answer wins', async () => {
  const [first, second] = [phone.register('1001'), phone.register('1002')];
  const call = await phone.dial('2006', { from: '4420' });
  await call.ringing();
  const [one, other] = [await first.incoming(), await second.incoming()];
  expect(one.headers.From).toMatch(/Ring group/);
  await other.answer();
  await call.answered();
  await call.bridgedTo(other);
  await one.ended();
  await other.hangup();
  expect((await call.ended()).code).toBe(200);
  expect(await call.logs()).toEqual([]);
});

test('then one after another, with their own patience', async () => {
  const [first, second] = [phone.register('1001'), phone.register('1002')];
  const call = await phone.dial('2006');
  const together = [await first.incoming(), await second.incoming()];
  let began = Date.now();
  for (const ringing of together) await ringing.ended();
  expect(Date.now() - began).toBeGreaterThan(14_000);
  expect(Date.now() - began).toBeLessThan(16_000);

  const one = await first.incoming();
  began = Date.now();
  expect(one.headers.From).toMatch(/Ring group/);
  await one.ended();
  expect(Date.now() - began).toBeGreaterThan(9_000);
  expect(Date.now() - began).toBeLessThan(11_000);
  const other = await second.incoming();
  await other.answer();
  await call.bridgedTo(other);
  await call.hangup();
});

test('nobody has time', async () => {
  const [first, second] = [phone.register('1001'), phone.register('1002')];
  const call = await phone.dial('2006');
  for (const round of [1, 2]) {
    for (const agent of [first, second]) await (await agent.incoming()).reject(486);
  }
  await call.answered();
  await call.hears('ivr/no-answer.wav');
  await call.hears('ivr/goodbye.wav');
  await call.ended();
  expect(await call.logs()).toEqual(['together: busy', 'in turn: busy']);
});

test('it rings while nobody is there to be rung', async () => {
  const call = await phone.dial('2006');
  await call.answered();
  await call.hangup();
  const { entries } = await call.timeline();
  expect(entries.filter((entry) => entry.kind === 'sip' && entry.summary.includes('180'))).toHaveLength(1);
});
