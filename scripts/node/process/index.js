// `process` as packages see it; the script's own has `env` and `nextTick` only.
const EventEmitter = require('events/');
const { started, now } = require('lockstep:host');

const { env, nextTick } = globalThis.process;

function hrtime(since) {
  const ms = now() - started;
  const time = [Math.floor(ms / 1000), Math.round((ms % 1000) * 1e6)];
  if (since === undefined) return time;
  const nanoseconds = (time[0] - since[0]) * 1e9 + time[1] - since[1];
  return [Math.floor(nanoseconds / 1e9), nanoseconds % 1e9];
}
hrtime.bigint = () => BigInt(Math.round((now() - started) * 1e6));

// Lines go to the run's log.
function output(write) {
  return {
    isTTY: false,
    columns: 80,
    writable: true,
    write(text, ...rest) {
      write(String(text).replace(/\n$/, ''));
      rest.find((argument) => typeof argument === 'function')?.();
      return true;
    },
    on() {
      return this;
    },
    once() {
      return this;
    },
    end() {},
  };
}

const process = Object.assign(new EventEmitter(), {
  env,
  nextTick,
  hrtime,
  title: 'lockstep',
  version: 'v22.0.0',
  versions: { node: '22.0.0' },
  release: { name: 'node' },
  platform: 'linux',
  arch: 'x64',
  pid: 1,
  ppid: 0,
  argv: ['node'],
  execArgv: [],
  execPath: '/usr/bin/node',
  exitCode: undefined,
  features: {},
  config: { variables: {} },
  cwd: () => '/',
  umask: () => 0o022,
  uptime: () => (now() - started) / 1000,
  memoryUsage: () => ({ rss: 0, heapTotal: 0, heapUsed: 0, external: 0, arrayBuffers: 0 }),
  getuid: () => 1000,
  getgid: () => 1000,
  emitWarning: (warning) => console.warn(warning instanceof Error ? warning.message : String(warning)),
  stdout: output((line) => console.log(line)),
  stderr: output((line) => console.error(line)),
});
Object.defineProperty(process, Symbol.toStringTag, { value: 'process' });

module.exports = process;
