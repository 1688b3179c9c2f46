// `timers`: the runtime's, and the variants that return promises.
const { setTimeout, setInterval, setImmediate, clearTimeout, clearInterval, clearImmediate } = globalThis;

function settled(start, stop) {
  return (value, { signal } = {}) => new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const timer = start(() => resolve(value));
    signal?.addEventListener('abort', () => {
      stop(timer);
      reject(signal.reason);
    }, { once: true });
  });
}

const promises = {
  setTimeout: (ms, value, options) => settled((done) => setTimeout(done, ms), clearTimeout)(value, options),
  setImmediate: settled((done) => setImmediate(done), clearImmediate),
};

module.exports = { setTimeout, setInterval, setImmediate, clearTimeout, clearInterval, clearImmediate, promises };
