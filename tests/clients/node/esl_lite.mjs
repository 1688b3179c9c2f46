// The `esl-lite` package: a client. It has no server.
import { FreeSwitchClient } from 'esl-lite';
import { say, settings } from './say.mjs';

const { port, password, target } = settings();
const logger = { trace: () => {}, debug: () => {}, info: () => {}, warn: () => {}, error: (...args) => console.error(...args), fatal: console.error };
logger.child = () => logger;
const client = new FreeSwitchClient({ host: '127.0.0.1', port, password, logger });

const next = (name) => new Promise((resolve) => client.once(name, resolve));
const answered = next('CHANNEL_ANSWER');
const over = next('CHANNEL_HANGUP_COMPLETE');

const status = await client.bgapi('status', 10_000);
if (status instanceof Error) throw status;
say('authenticated');
say('status', status);
const originated = await client.bgapi(`originate user/${target} &park()`, 30_000);
if (originated instanceof Error) throw originated;
const event = await answered;
say('originated', event.body.uniqueID);
say('answered', event.body.uniqueID);
await client.bgapi(`uuid_kill ${event.body.uniqueID}`, 10_000);
const end = await over;
say('over', end.body.data['Hangup-Cause']);
await client.end();
process.exit(0);
