import { test, expect, phone } from 'lockstep:test';
import { hearsInOrder, logged } from 'story';

async function dialled(number, options) {
  const call = await phone.dial(number, options);
  await call.answered();
  return call;
}

test('keys typed ahead are collected first unless flushed', async () => {
  const call = await dialled('100');
  await call.press('1234');
  await call.ended();
  expect(await logged(call, 'values')).toEqual(['12', 'timeout', '']);
});

test('an IVR tries again and says what was wrong', async () => {
  const call = await dialled('101');
  await call.hears('ivr/enter-pin.wav', { at_least_ms: 300 });
  await call.press('9999');
  await call.hears('ivr/invalid-pin.wav');
  await call.hears('ivr/enter-pin.wav', { at_least_ms: 300 });
  await call.press('1234');
  await call.ended();
  expect(await logged(call, 'result')).toEqual({ status: 'success', value: '1234' });
});

test('nothing keyed is a timeout with an empty value', async () => {
  const call = await dialled('102');
  await hearsInOrder(call, 'ivr/beep.wav', 'ivr/beep.wav', 'ivr/beep.wav');
  await call.ended();
  expect(await logged(call, 'results')).toEqual([{ status: 'timeout', value: '' }, 'timeout', '', '']);
});

test('every listener hears every key and consumes none', async () => {
  const call = await dialled('103');
  await call.press('1234');
  await call.ended();
  expect(await logged(call, 'found')).toEqual(['12', '34', { digits: '123' }, 'QuitError', 'TimeoutError', '1234', '1234']);
});

test('a key stops a prompt that says so', async () => {
  const call = await dialled('104');
  await call.hears('ivr/main-menu.wav', { at_least_ms: 300 });
  await call.press('1*');
  await call.ended();
  expect(await logged(call, 'played')).toEqual(['dtmf', '*', true]);
});

test('keys are sent as events', async () => {
  const call = await dialled('105');
  await call.receives('19*#A');
  await call.ended();
  expect(call.keys).toBe('19*#A');
});

test('a caller with the other law is served, too', async () => {
  const call = await dialled('106', { codecs: ['PCMA'] });
  await hearsInOrder(call, 'ivr/1.wav');
  await call.ended();
  expect(await logged(call, 'codec')).toBe('PCMA');
});
