// The `esl` package: a client, and an application that answers calls.
import { FreeSwitchClient, FreeSwitchServer, once } from 'esl';
import { digits, say, settings } from './say.mjs';

// An operation may take this long, in milliseconds; by itself the package gives it one second.
const patience = 30_000;
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

async function outbound({ port }) {
  const server = new FreeSwitchServer({ logger, all_events: true, my_events: true });
  server.on('connection', async (call, { data }) => {
    try {
      say('called', data['Caller-Caller-ID-Number']);
      await call.command('answer', '', patience);
      await call.command('playback', 'tone_stream://%(200,0,440)', patience);
      say('played');
      const collected = await call.command('play_and_get_digits', digits, patience);
      say('digits', collected.body.variable_pin);
      await call.hangup();
    } catch (error) {
      say('error', String(error));
    }
    await server.close();
    process.exit(0);
  });
  await server.listen({ host: '127.0.0.1', port });
  say('listening');
}

const { mode, ...rest } = settings();
await (mode === 'inbound' ? inbound(rest) : outbound(rest));
if (mode === 'inbound') process.exit(0);
