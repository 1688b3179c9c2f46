// What every client here does: say what it has seen, one line each, and read where to connect from the command line.

/** Four keys, the first within half a minute. */
export const digits = '4 4 1 30000 # tone_stream://%(100,0,440) silence_stream://100 pin \\d+ 30000';

export function say(what, detail = '') {
  process.stdout.write(`${what} ${String(detail).split('\n')[0]}`.trim() + '\n');
}

export function settings() {
  const [mode, port, password, target] = process.argv.slice(2);
  return { mode, port: Number(port), password, target };
}
