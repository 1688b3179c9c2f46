import { test, expect, phone, time } from 'lockstep:test';
import { errors, hearsInOrder, logged, operations, sent } from 'story';

test('playing before the answer starts early media', async () => {
  const call = await phone.dial('120');
  await call.hears('ivr/1.wav');
  await call.answered();
  await hearsInOrder(call, 'ivr/2.wav');
  await call.ended();
  expect(await logged(call, 'state')).toBe('early');
  expect(await sent(call)).toEqual(['183 Session Progress', '200 OK', 'BYE']);
});

test('a refusal after early media is the final response', async () => {
  const call = await phone.dial('121');
  await hearsInOrder(call, 'ivr/closed.wav');
  expect((await call.ended()).code).toBe(480);
});

test('ringing and redirecting are what the caller sees', async () => {
  const call = await phone.dial('122');
  expect((await call.ended()).code).toBe(302);
  expect(await sent(call)).toEqual(['180 Ringing', '302 Moved Temporarily']);
});

test('an operation in the wrong state names operation and state', async () => {
  const call = await phone.dial('123');
  await call.ended();
  expect(await logged(call, 'again')).toMatch(/^InvalidState: .*answer.*answered/);
  expect(await logged(call, 'reject')).toMatch(/^InvalidState: .*reject/);
  // Whoever plays after `hangup` may be told of the end itself before the operation is looked at.
  expect(await logged(call, 'play')).toMatch(/^(CallEnded: |InvalidState: .*play)/);
});

test('when the caller hangs up everything pending settles and finally runs', async () => {
  const call = await phone.dial('124');
  await call.answered();
  await call.hears('ivr/main-menu.wav', { at_least_ms: 300 });
  await call.hangup();
  await time.advance(100);
  expect(await logged(call, 'seen')).toEqual([
    ['later', 'CallEnded'],
    ['play', 'CallEnded', 'caller', 200],
    ['sleep', 'CallEnded', 'caller', 200],
    ['waitFor', 'CallEnded', 'caller', 200],
    ['waitForHangup', 'caller'],
  ]);
});

test('a call that ends under a script is no error of the script', async () => {
  const call = await phone.dial('125');
  await call.answered();
  await call.silence(1_000);
  await call.hangup();
  expect(await call.logs()).toEqual(['ready']);
  expect(await errors(call)).toEqual([]);
});

test('cancelling before the answer ends the call for the script', async () => {
  const call = await phone.dial('126');
  await call.ringing();
  await call.hangup();
  expect((await call.ended()).code).toBe(487);
  expect(await logged(call, 'cause')).toEqual(['CallEnded', 'caller']);
  expect((await call.timeline()).ended.by).toBe('caller');
  expect(await sent(call)).toEqual(['180 Ringing', '487 Request Terminated']);
});

test('variables and headers are read and written', async () => {
  const call = await phone.dial('129', { headers: { 'X-Card': 'gold' } });
  expect((await call.ended()).code).toBe(486);
  expect(await logged(call, 'read')).toEqual(['gold', 'gold', true, '129', null]);
  expect(await logged(call, 'refused')).toEqual(['red', 'TypeError', 'TypeError', 'TypeError']);
});

test('a call knows its facts and variables', async () => {
  const call = await phone.dial('room_blue');
  await call.ended();
  expect(await logged(call, 'facts')).toEqual([true, 'inbound', true, 'room_blue', 'answered', 'PCMU', 'hello', 'string']);
});

test.each([['300'], ['301'], ['302'], ['303'], ['304'], ['305']])('main is found and run, style %s', async (number) => {
  const call = await phone.dial(number);
  await call.answered();
  await hearsInOrder(call, 'ivr/1.wav');
  await call.ended();
  expect((await operations(call)).map((operation) => operation.name)).toEqual(['answer', 'play']);
});

test('a number that leads nowhere gets 404', async () => {
  expect(await (await phone.dial('100x')).ended()).toMatchObject({ code: 404, reason: 'Not Found' });
});

test('a script that returns before it answers is 480', async () => {
  expect(await (await phone.dial('151')).ended()).toMatchObject({ code: 480, reason: 'Temporarily Unavailable' });
});

test.each([
  ['160', 486, 'Busy Here', ['Error: 486 Busy Here errors.js:4:27']],
  ['161', 604, 'Nobody', ['604 Nobody undefined']],
  ['162', 500, 'Script Error', ['TypeError: no such thing errors.js:6:27']],
  ['163', 433, 'Anonymity Disallowed', []],
  ['164', 480, 'Gone Home', ['Error: 480 Gone Home errors.js:10:17']],
])('an error that is a SIP reply becomes one: %s is %d %s', async (number, code, reason, logged) => {
  const call = await phone.dial(number);
  expect(await call.ended()).toMatchObject({ code, reason });
  expect(await errors(call)).toEqual(logged);
});

test('a registration needs the right password', async () => {
  const stranger = phone.register('1001', { password: 'wrong' });
  await expect(stranger.registered()).rejects.toThrow('refused');
  const unknown = phone.register('nobody', { password: 'pw-1001' });
  await expect(unknown.registered()).rejects.toThrow('refused');
  await phone.register('1001').registered();
});
