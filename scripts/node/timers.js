// `timers`: the runtime's, and the variants that return promises.
const { coded } = require('./errors.js');

const { setTimeout, setInterval, setImmediate, clearTimeout, clearInterval, clearImmediate } = globalThis;

function aborted(signal) {
  const error = coded('ABORT_ERR', 'The operation was aborted', { name: 'AbortError' });
  return Object.defineProperty(error, 'cause', { value: signal.reason, writable: true, configurable: true });
}

function settled(start, stop) {
  return (value, { signal } = {}) => new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(aborted(signal));
    const onAbort = () => {
      stop(timer);
      reject(aborted(signal));
    };
    const timer = start(() => {
      signal?.removeEventListener('abort', onAbort);
      resolve(value);
    });
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

const after = (ms, value, options) => settled((done) => setTimeout(done, ms), clearTimeout)(value, options);

// One value a period, however late they are asked for.
async function* every(ms, value, { signal } = {}) {
  if (signal?.aborted) throw aborted(signal);
  let passed = 0;
  let wake = () => {};
  const timer = setInterval(() => {
    passed += 1;
    wake();
  }, ms);
  const onAbort = () => wake();
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    for (;;) {
      while (passed === 0 && !signal?.aborted) await new Promise((resolve) => { wake = resolve; });
      for (; passed > 0; passed -= 1) yield value;
      if (signal?.aborted) throw aborted(signal);
    }
  } finally {
    clearInterval(timer);
    signal?.removeEventListener('abort', onAbort);
  }
}

const promises = {
  setTimeout: after,
  setInterval: every,
  setImmediate: settled((done) => setImmediate(done), clearImmediate),
  scheduler: {
    wait: (ms, options) => after(ms, undefined, options),
    yield: () => promises.setImmediate(),
  },
};

module.exports = { setTimeout, setInterval, setImmediate, clearTimeout, clearInterval, clearImmediate, promises };
