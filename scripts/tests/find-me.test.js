import { test, expect, phone } from 'lockstep:test';

async function searching() {
  const call = await phone.dial('2009', { from: '4420' });
  await call.answered();
  await call.hears('ivr/please-hold.wav');
  return call;
}

test('whoever picks up and presses 1 is joined', async () => {
  const agent = phone.register('1001');
  const call = await searching();
  const ringing = await agent.incoming();
  expect(ringing.from).toBe('4420');
  await ringing.answer();
  await ringing.hears('ivr/press-1-to-accept.wav');
  await ringing.press('1');
  await call.bridgedTo(ringing);
  await ringing.hangup();
  await call.ended();
});

test('a phone that is not picked up gives way after twelve seconds', async () => {
  const [first, second] = [phone.register('1001'), phone.register('1002')];
  const call = await searching();
  const one = await first.incoming();
  const began = Date.now();
  await one.ended();
  expect(Date.now() - began).toBeGreaterThan(11_000);
  expect(Date.now() - began).toBeLessThan(13_000);
  const other = await second.incoming();
  await other.answer();
  await other.hears('ivr/press-1-to-accept.wav');
  await other.press('1');
  await call.bridgedTo(other);
  await call.hangup();
});

test('a mailbox that says nothing does not swallow the call', async () => {
  const [first, second] = [phone.register('1001'), phone.register('1002')];
  const call = await searching();
  const mailbox = await first.incoming();
  await mailbox.answer();
  const person = await second.incoming({ timeout_ms: 60_000 });
  const began = Date.now();
  await person.ended();
  expect(Date.now() - began).toBeGreaterThan(11_000);
  expect(Date.now() - began).toBeLessThan(13_000);
  await call.hears('ivr/unavailable.wav');
  await call.hears('ivr/goodbye.wav');
  await call.ended();
  expect((await call.logs()).at(-1)).toMatch(/^find me: /);
});

test('nobody is there', async () => {
  const call = await searching();
  await call.hears('ivr/unavailable.wav');
  await call.hears('ivr/goodbye.wav');
  await call.ended();
  expect(await call.logs()).toHaveLength(1);
});
