import { test, expect, phone } from 'lockstep:test';
import { errors, hearsInOrder, logged, operations } from 'story';

async function registered(...users) {
  const phones = users.map((user) => phone.register(user));
  for (const one of phones) await one.registered();
  return phones;
}

test('audio and keys pass both ways unchanged', async () => {
  const [agent] = await registered('1001');
  const caller = await phone.dial('200');
  const callee = await agent.incoming();
  expect(callee.from).toBe('555');
  expect(callee.headers).toMatchObject({ 'X-Ticket': '42' });
  await callee.answer();
  await caller.bridgedTo(callee);
  await caller.says('ivr/welcome.wav');
  expect((await callee.hears('ivr/welcome.wav')).how).toBe('exact');
  await callee.says('ivr/thank-you.wav');
  expect((await caller.hears('ivr/thank-you.wav')).how).toBe('exact');
  await caller.press('5');
  await callee.receives('5');
  await callee.press('#');
  await caller.receives('#');
  await callee.hangup();
  await caller.hears('ivr/goodbye.wav');
  await caller.ended();
  expect(await logged(caller, 'result')).toEqual(['completed', 200]);
});

const WAYS = [['201', true, true], ['202', false, false], ['203', true, false], ['204', false, true]];

test.each(WAYS)('%s goes on as continue_on says', async (number, busyGoesOn, talkGoesOn) => {
  const [agent] = await registered('1001');
  const outcome = async (call, goesOn, result) => {
    if (goesOn) await call.hears('ivr/goodbye.wav');
    // Where the script does not go on, the caller is told why the callee has gone.
    expect(await call.ended()).toMatchObject({ code: goesOn ? 200 : result[1], by: 'remote' });
    if (goesOn) expect(await logged(call, 'result')).toEqual(result);
    else expect(await call.logs()).toEqual([]);
    expect(await errors(call)).toEqual([]);
  };
  const refused = await phone.dial(number);
  await (await agent.incoming()).reject(486);
  await outcome(refused, busyGoesOn, ['busy', 486]);

  const talked = await phone.dial(number);
  const callee = await agent.incoming();
  await callee.answer();
  await talked.bridgedTo(callee);
  await callee.hangup();
  await outcome(talked, talkGoesOn, ['completed', 200]);
});

test('in parallel the first to answer wins and the others are cancelled', async () => {
  const [first, second] = await registered('1001', '1002');
  const caller = await phone.dial('205');
  const [loser, winner] = [await first.incoming(), await second.incoming()];
  await loser.ring();
  await winner.answer();
  expect(await loser.ended()).toMatchObject({ code: 487, by: 'remote' });
  await caller.bridgedTo(winner);
  await winner.hangup();
  await caller.ended();
  expect((await logged(caller, 'result'))[0]).toBe('completed');
});

test('in sequence the next rings when one refuses or does not answer', async () => {
  const [busy, absent, there] = await registered('1001', '1002', '1003');
  const caller = await phone.dial('206');
  await (await busy.incoming()).reject(486);
  const unanswered = await absent.incoming();
  await unanswered.ring();
  expect((await unanswered.ended()).code).toBe(487);
  const callee = await there.incoming();
  await callee.answer();
  await caller.bridgedTo(callee);
  await callee.hangup();
  await caller.ended();
  expect((await logged(caller, 'result'))[0]).toBe('completed');
});

test('nobody answers in time is no answer', async () => {
  const [agent] = await registered('1001');
  const caller = await phone.dial('207');
  const ringing = await agent.incoming();
  await ringing.ring();
  expect((await ringing.ended()).code).toBe(487);
  await caller.ended();
  expect((await logged(caller, 'result'))[0]).toBe('no-answer');
});

test('a user who is not registered cannot be reached', async () => {
  const caller = await phone.dial('201');
  await caller.ended();
  expect((await logged(caller, 'result'))[1]).toBe(480);
});

test('when the caller leaves, the leg that rings is cancelled', async () => {
  const [agent] = await registered('1001');
  const caller = await phone.dial('201');
  const ringing = await agent.incoming();
  await ringing.ring();
  await caller.hangup();
  expect((await ringing.ended()).code).toBe(487);
  expect(await caller.logs()).toEqual([]);
});

test('when the caller leaves, the leg that talks is ended', async () => {
  const [agent] = await registered('1001');
  const caller = await phone.dial('201');
  const talking = await agent.incoming();
  await talking.answer();
  await caller.bridgedTo(talking);
  await caller.hangup();
  expect(await talking.ended()).toMatchObject({ code: 200, by: 'remote' });
  expect((await operations(caller)).some((operation) => operation.result.startsWith('CallEnded'))).toBe(true);
});

test('blocked keys reach neither script nor far end', async () => {
  const [agent] = await registered('1001');
  const caller = await phone.dial('140');
  const callee = await agent.incoming();
  await callee.answer();
  await caller.bridgedTo(callee);
  await caller.press('0516');
  await callee.receives('16');
  expect(callee.keys).toBe('16');
  await callee.hangup();
  await caller.ended();
  expect(await logged(caller, 'heard')).toBe('16');
});

test('hold and unhold are events and the audio comes back', async () => {
  const [agent] = await registered('1001');
  const caller = await phone.dial('141');
  const callee = await agent.incoming();
  await callee.answer();
  await caller.bridgedTo(callee);
  await caller.hold();
  await callee.silence(500);
  await caller.unhold();
  await caller.says('ivr/1.wav');
  await callee.hears('ivr/1.wav');
  await callee.hangup();
  await caller.ended();
  expect(await logged(caller, 'seen')).toEqual(['hold', 'unhold']);
});

test('a signal ends a bridge that rings', async () => {
  const [agent] = await registered('1001');
  const caller = await phone.dial('142');
  const ringing = await agent.incoming();
  await ringing.ring();
  await caller.press('1');
  expect((await ringing.ended()).code).toBe(487);
  await hearsInOrder(caller, 'ivr/1.wav');
  await caller.ended();
  expect(await logged(caller, 'name')).toBe('AbortError');
});

test('before the answer a refusal of the far end is the script’s to pass on', async () => {
  const [agent] = await registered('1001');
  const caller = await phone.dial('143');
  await (await agent.incoming()).reject(486);
  expect((await caller.ended()).code).toBe(486);
  expect(await logged(caller, 'status')).toBe('busy');
});

test('before the answer the caller’s leg rings and is answered with the far end', async () => {
  const [agent] = await registered('1001');
  const caller = await phone.dial('143');
  const callee = await agent.incoming();
  await callee.ring();
  await caller.ringing();
  expect(caller.state).toBe('ringing');
  await callee.answer();
  await caller.answered();
  await callee.says('ivr/2.wav');
  await caller.hears('ivr/2.wav');
  await callee.hangup();
  expect((await caller.ended()).code).toBe(200);
});

test('a DID leads to its destinations in order', async () => {
  const [agent] = await registered('1002');
  const caller = await phone.dial('442080000000');
  const callee = await agent.incoming();
  await callee.answer();
  await caller.answered();
  await callee.hangup();
  expect((await caller.ended()).code).toBe(200);

  const refused = await phone.dial('+442080000000');
  await (await agent.incoming()).reject(480);
  await refused.hears('ivr/unavailable.wav');
  await refused.ended();
});
