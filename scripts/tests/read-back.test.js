import { test, expect, phone } from 'lockstep:test';
import { prompts } from 'read-back';

test('digits have prompts of their own', () => {
  expect(prompts('42')).toEqual(['ivr/4.wav', 'ivr/2.wav']);
  expect(prompts('*0#')).toEqual(['ivr/star.wav', 'ivr/0.wav', 'ivr/pound.wav']);
});

test('a number is read back, and asked for again', async () => {
  const call = await phone.dial('2008');
  await call.answered();
  await call.hears('ivr/enter-number.wav');
  await call.press('4*2#');
  const keyed = Date.now();
  for (const word of ['you-entered', '4', 'star', '2']) await call.hears(`ivr/${word}.wav`);
  expect(Date.now() - keyed).toBeLessThan(4_500);
  await call.hears('ivr/enter-number.wav');
  await call.press('123456789012');
  await call.hears('ivr/you-entered.wav', { timeout_ms: 3_000 });
  await call.hangup();
});

test('who keys nothing hears goodbye after six seconds', async () => {
  const call = await phone.dial('2008');
  await call.answered();
  await call.hears('ivr/enter-number.wav');
  await call.silence(5_500);
  await call.hears('ivr/goodbye.wav', { timeout_ms: 3_000 });
  expect((await call.ended()).by).toBe('remote');
});

test('one key is enough', async () => {
  const call = await phone.dial('2008');
  await call.answered();
  await call.hears('ivr/enter-number.wav');
  await call.press('7#');
  await call.hears('ivr/you-entered.wav');
  await call.hears('ivr/7.wav');
  await call.hangup();
});
