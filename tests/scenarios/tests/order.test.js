import { test, expect, phone } from 'lockstep:test';
import { hearsInOrder, logged, operations } from 'story';

async function dialled(number) {
  const call = await phone.dial(number);
  await call.answered();
  return call;
}

test('queued operations run in program order, awaited or not', async () => {
  const call = await dialled('110');
  await hearsInOrder(call, 'ivr/1.wav', 'ivr/2.wav', 'ivr/3.wav');
  await call.ended();
  const warned = (await call.logs()).map((line) => /in-order\.js:(\d+): ctx\.\w+\(\) was not awaited/.exec(line)?.[1]);
  expect(warned).toEqual(['3', '4', '5', '6']);
});

test('what is queued when main returns runs before the call is hung up', async () => {
  const call = await dialled('111');
  await hearsInOrder(call, 'ivr/1.wav', 'ivr/2.wav');
  expect((await call.ended()).code).toBe(200);
  expect((await call.timeline()).ended.by).toBe('script');
});

test('hangup cuts off what is playing when nothing unawaited is ahead', async () => {
  const call = await dialled('112');
  await call.press('1');
  expect((await call.ended()).code).toBe(200);
  const [, play] = await operations(call);
  expect(play.name).toBe('play');
  expect(play.result).toMatch(/^CallEnded/);
});

test('a signal stops an operation and the next one begins', async () => {
  const call = await dialled('127');
  await call.hears('ivr/main-menu.wav', { at_least_ms: 300 });
  await call.press('1');
  await hearsInOrder(call, 'ivr/2.wav');
  await call.ended();
  expect(await logged(call, 'names')).toEqual(['AbortError', 'AbortError', 'AbortError']);
});

test('losing a race stops nothing', async () => {
  const call = await dialled('128');
  await hearsInOrder(call, 'ivr/welcome.wav', 'ivr/1.wav');
  await call.ended();
  expect(await logged(call, 'winner')).toBe('timer');
});

test('an echo gives back what is said until it is stopped', async () => {
  const call = await dialled('130');
  await call.says('ivr/welcome.wav');
  await call.hears('ivr/welcome.wav');
  await call.press('1');
  await hearsInOrder(call, 'ivr/1.wav');
  await call.ended();
  expect(await logged(call, 'stopped')).toBe('AbortError');
});
