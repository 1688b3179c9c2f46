// The `esl` package: a client.
import { FreeSwitchClient, once } from 'esl';
import { say, settings } from './say.mjs';

const logger = { debug: () => {}, info: () => {}, error: (...args) => console.error(...args) };

async function inbound({ port, password, target }) {
  const client = new FreeSwitchClient({ host: '127.0.0.1', port, password, logger });
  const connected = once(client, 'connect');
  await client.connect();
  const [call] = await connected;
  say('authenticated');
  await call.event_json('CHANNEL_ANSWER', 'CHANNEL_HANGUP_COMPLETE', 'BACKGROUND_JOB');
  const status = await call.api('status');
  say('status', status.body.reply ?? status.body);
  const answered = once(call, 'CHANNEL_ANSWER');
  const over = once(call, 'CHANNEL_HANGUP_COMPLETE');
  const job = await call.bgapi(`originate user/${target} &park()`);
  const uuid = /\+OK (\S+)/.exec(String(job.body._body ?? job.body.response ?? JSON.stringify(job.body)))?.[1];
  say('originated', uuid);
  const [event] = await answered;
  say('answered', event.body['Unique-ID']);
  await call.api(`uuid_kill ${uuid}`);
  const [end] = await over;
  say('over', end.body['Hangup-Cause']);
  await call.exit();
  await client.end();
}

const { mode, ...rest } = settings();
if (mode !== 'inbound') throw new Error(`${mode}: this script only connects`);
await inbound(rest);
process.exit(0);
