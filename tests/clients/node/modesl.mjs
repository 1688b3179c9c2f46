// The `modesl` package: a client, and an application that answers calls.
import modesl from 'modesl';
import { digits, say, settings } from './say.mjs';

function inbound({ port, password, target }) {
  const connection = new modesl.Connection('127.0.0.1', port, password, () => {
    say('authenticated');
    connection.subscribe(['CHANNEL_ANSWER', 'CHANNEL_HANGUP_COMPLETE'], () => {
      connection.api('status', (status) => {
        say('status', status.getBody());
        connection.on('esl::event::CHANNEL_ANSWER::*', (event) => {
          const uuid = event.getHeader('Unique-ID');
          say('answered', uuid);
        });
        connection.on('esl::event::CHANNEL_HANGUP_COMPLETE::*', (event) => {
          say('over', event.getHeader('Hangup-Cause'));
          connection.disconnect();
          process.exit(0);
        });
        connection.bgapi(`originate user/${target} &park()`, (event) => {
          const uuid = event.getBody().trim().split(' ')[1];
          say('originated', uuid);
          connection.api(`uuid_kill ${uuid}`);
        });
      });
    });
  });
  connection.on('error', (error) => say('error', error));
}

function join({ port, password, target }) {
  const connection = new modesl.Connection('127.0.0.1', port, password, () => {
    connection.on('esl::event::CHANNEL_BRIDGE::*', () => say('joined'));
    connection.on('esl::event::CHANNEL_HANGUP_COMPLETE::*', (event) => {
      say('parted', event.getHeader('Hangup-Cause'));
      connection.disconnect();
      process.exit(0);
    });
    connection.subscribe(['CHANNEL_BRIDGE', 'CHANNEL_HANGUP_COMPLETE'], () => {
      const call = (party, then) =>
        connection.bgapi(`originate user/${party} &park()`, (event) => then(event.getBody().trim().split(' ')[1]));
      call(target, (first) => call(process.argv[6], (second) => connection.api(`uuid_bridge ${first} ${second}`)));
    });
  });
  connection.on('error', (error) => say('error', error));
}

function outbound({ port }) {
  const server = new modesl.Server({ port, host: '127.0.0.1', myevents: true }, () => say('listening'));
  server.on('connection::ready', (connection) => {
    say('called', connection.getInfo().getHeader('Caller-Caller-ID-Number'));
    connection.execute('answer', () => {
      connection.execute('playback', 'tone_stream://%(200,0,440)', () => {
        say('played');
        connection.execute('play_and_get_digits', digits, (event) => {
          say('digits', event.getHeader('variable_pin'));
          connection.execute('hangup', 'NORMAL_CLEARING');
        });
      });
    });
    connection.on('esl::end', () => process.exit(0));
  });
}

const { mode, ...rest } = settings();
(({ inbound, join })[mode] ?? outbound)(rest);
