import { test, expect, phone } from 'lockstep:test';

async function menu() {
  const call = await phone.dial('1000', { from: '441234567890' });
  await call.answered();
  await call.hears('ivr/welcome.wav');
  await call.hears('ivr/main-menu.wav');
  return call;
}

test.each([['1', '1001'], ['2', '1002']])('key %s rings %s', async (key, user) => {
  const agent = phone.register(user);
  const call = await menu();
  await call.press(key);
  const ringing = await agent.incoming();
  expect(ringing.from).toBe('441234567890');
  await call.hears('ivr/please-hold.wav');
  await ringing.answer();
  await call.bridgedTo(ringing);
  await ringing.hangup();
  expect((await call.ended()).code).toBe(200);
});

test('key 0 rings both operators, and the first to answer gets the call', async () => {
  const [first, second] = [phone.register('1001'), phone.register('1002')];
  const call = await menu();
  await call.press('0');
  const [one, other] = [await first.incoming(), await second.incoming()];
  await other.answer();
  await call.bridgedTo(other);
  await one.ended();
  await call.hangup();
  await other.ended();
});

test.each([[486, 'ivr/busy.wav'], [404, 'ivr/unavailable.wav']])('a line that answers %s is explained', async (code, prompt) => {
  const agent = phone.register('1001');
  const call = await menu();
  await call.press('1');
  await (await agent.incoming()).reject(code);
  await call.hears(prompt);
  await call.hears('ivr/goodbye.wav');
  await call.ended();
});

test('nobody answers for twenty seconds', async () => {
  const agent = phone.register('1002');
  const call = await menu();
  await call.press('2');
  const ringing = await agent.incoming();
  const rang = Date.now();
  await ringing.ended();
  expect(Date.now() - rang).toBeGreaterThan(19_000);
  expect(Date.now() - rang).toBeLessThan(21_000);
  await call.hears('ivr/no-answer.wav');
  await call.hears('ivr/goodbye.wav');
  await call.ended();
});

test('a wrong key is told, and the third try counts', async () => {
  const agent = phone.register('1001');
  const call = await menu();
  await call.press('7');
  await call.hears('ivr/invalid.wav');
  await call.hears('ivr/main-menu.wav');
  await call.press('*');
  await call.hears('ivr/invalid.wav');
  await call.hears('ivr/main-menu.wav');
  await call.press('1');
  await (await agent.incoming()).answer();
  await call.hangup();
});

test('a caller who keys nothing hears the menu three times, then goodbye', async () => {
  const call = await menu();
  const asked = Date.now();
  await call.hears('ivr/main-menu.wav');
  expect(Date.now() - asked).toBeGreaterThan(5_000);
  await call.hears('ivr/main-menu.wav');
  await call.hears('ivr/goodbye.wav');
  const end = await call.ended();
  expect(end).toEqual({ code: 200, reason: 'OK', by: 'remote' });
  expect((await call.timeline()).entries.filter((entry) => entry.name === 'bridge')).toEqual([]);
});

test('who keys nothing has five seconds', async () => {
  const call = await phone.dial('1000');
  await call.answered();
  const first = await call.hears('ivr/main-menu.wav');
  const second = await call.hears('ivr/invalid.wav');
  expect(second.from_ms - first.to_ms).toBeGreaterThan(4_900);
  expect(second.from_ms - first.to_ms).toBeLessThan(5_500);
  await call.hangup();
});

test('one key is enough', async () => {
  phone.register('1001');
  const call = await menu();
  await call.press('1');
  const keyed = Date.now();
  await call.hears('ivr/please-hold.wav', { at_least_ms: 500 });
  expect(Date.now() - keyed).toBeLessThan(1_500);
  await call.hangup();
});
