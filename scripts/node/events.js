// `events`: npm's, and what it has not.
const EventEmitter = require('events/');
const { inspect } = require('./util.js');
const { coded, invalidArgument } = require('./errors.js');

const { emit, listenerCount } = EventEmitter.prototype;

EventEmitter.prototype.emit = function (name, ...args) {
  const [error] = args;
  if (name === 'error' && !(error instanceof Error) && Reflect.apply(listenerCount, this, ['error']) === 0) {
    throw coded('ERR_UNHANDLED_ERROR', `Unhandled error. (${inspect(error)})`, { context: error });
  }
  return Reflect.apply(emit, this, [name, ...args]);
};

function aborted(signal) {
  return coded('ABORT_ERR', 'The operation was aborted', { name: 'AbortError', cause: signal.reason });
}

// The arguments of the next event, unless an `error` comes before it.
async function once(emitter, name, { signal } = {}) {
  const isTarget = typeof emitter?.on !== 'function';
  if (isTarget && typeof emitter?.addEventListener !== 'function') throw invalidArgument('emitter', 'an instance of EventEmitter', emitter);
  if (signal?.aborted) throw aborted(signal);
  const [add, remove] = isTarget ? ['addEventListener', 'removeEventListener'] : ['on', 'off'];
  // A call has no errors to tell, and neither have the web's targets.
  const hasErrors = name !== 'error' && !isTarget && typeof emitter.emit === 'function';
  return new Promise((resolve, reject) => {
    function end() {
      emitter[remove](name, hear);
      if (hasErrors) emitter.off('error', fail);
      signal?.removeEventListener('abort', abort);
    }
    function hear(...args) {
      end();
      resolve(args);
    }
    function fail(error) {
      end();
      reject(error);
    }
    const abort = () => fail(aborted(signal));

    emitter[add](name, hear);
    if (hasErrors) emitter.on('error', fail);
    signal?.addEventListener('abort', abort, { once: true });
  });
}

// Each event as the list of its arguments, until an `error` comes or the loop is left.
function on(emitter, name, { signal } = {}) {
  if (typeof emitter?.on !== 'function') throw invalidArgument('emitter', 'an instance of EventEmitter', emitter);
  if (signal?.aborted) throw aborted(signal);
  const events = [];
  const takers = [];
  let failure;
  let isOver = false;

  const hear = (...args) => {
    const taker = takers.shift();
    if (taker === undefined) events.push(args);
    else taker.resolve({ value: args, done: false });
  };
  function end() {
    isOver = true;
    emitter.off(name, hear);
    emitter.off('error', fail);
    signal?.removeEventListener('abort', abort);
    for (const taker of takers.splice(0)) taker.resolve({ value: undefined, done: true });
  }
  function fail(error) {
    const taker = takers.shift();
    if (taker === undefined) failure = { error };
    else taker.reject(error);
    end();
  }
  const abort = () => fail(aborted(signal));

  emitter.on(name, hear);
  if (name !== 'error') emitter.on('error', fail);
  signal?.addEventListener('abort', abort, { once: true });

  return {
    async next() {
      if (events.length > 0) return { value: events.shift(), done: false };
      if (failure !== undefined) {
        const { error } = failure;
        failure = undefined;
        throw error;
      }
      if (isOver) return { value: undefined, done: true };
      return new Promise((resolve, reject) => takers.push({ resolve, reject }));
    },
    async return() {
      end();
      return { value: undefined, done: true };
    },
    async throw(error) {
      fail(error);
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

const getEventListeners = (emitter, name) => emitter.listeners(name);

module.exports = Object.assign(EventEmitter, { on, once, getEventListeners });
