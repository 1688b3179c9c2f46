// Evaluated for every run: globals, modules, operations, timers, and what the worker calls turn by turn.
// Everything a run may never touch belongs into a lazily loaded part.
(function (host) {
  const NativeDate = Date;
  const capture = Error.captureStackTrace;
  const { now } = host;

  // Where the script stands; read by the host, which skips the frames of the runtime itself.
  function callSite() {
    const site = {};
    capture(site);
    return site.stack;
  }

  // ---- time and chance -------------------------------------------------------------------------------------------

  function ScriptDate(...args) {
    if (new.target === undefined) return new NativeDate(now()).toString();
    return Reflect.construct(NativeDate, args.length === 0 ? [now()] : args, new.target);
  }
  Object.defineProperties(ScriptDate, {
    name: { value: 'Date', configurable: true },
    length: { value: 7, configurable: true },
    prototype: { value: NativeDate.prototype, writable: false },
    now: { value: now, writable: true, configurable: true },
    parse: { value: NativeDate.parse, writable: true, configurable: true },
    UTC: { value: NativeDate.UTC, writable: true, configurable: true },
  });
  Object.defineProperty(NativeDate.prototype, 'constructor', { value: ScriptDate, writable: true, configurable: true });
  Object.defineProperty(Math, 'random', { value: host.random, writable: true, configurable: true });

  const timeOrigin = now();

  // ---- parts loaded when first used ------------------------------------------------------------------------------

  const parts = new Map();

  function part(name) {
    let exports = parts.get(name);
    if (exports === undefined) {
      exports = host.part(name)(host, runtime);
      parts.set(name, exports);
    }
    return exports;
  }

  function lazily(name, load) {
    Object.defineProperty(globalThis, name, {
      configurable: true,
      get() {
        const value = load(name);
        define(name, value);
        return value;
      },
      set(value) {
        define(name, value);
      },
    });
  }

  function define(name, value) {
    Object.defineProperty(globalThis, name, { value, writable: true, configurable: true });
  }

  // ---- operations ------------------------------------------------------------------------------------------------

  // Operations whose promise has not settled: key → {resolve, reject, …}.
  const pending = new Map();

  class OpPromise extends Promise {
    #key;

    static get [Symbol.species]() {
      return Promise;
    }

    static mark(promise, key) {
      promise.#key = key;
    }

    // `undefined` for a promise of the script's own, else whether its operation was issued rather than refused.
    static issued(promise) {
      return #key in promise ? promise.#key !== undefined : undefined;
    }

    // A native promise would be listened to by `await` without this being called; a subclass is not.
    then(onFulfilled, onRejected) {
      const key = this.#key;
      if (key !== undefined) {
        this.#key = undefined;
        host.awaited(key);
      }
      return super.then(onFulfilled, onRejected);
    }
  }

  function issue(operation, args, method) {
    let resolve;
    let reject;
    const promise = new OpPromise((onResolve, onReject) => {
      resolve = onResolve;
      reject = onReject;
    });
    try {
      const signal = signalOf(operation, args);
      if (signal !== undefined && signal.aborted) throw abortError(operation, signal);
      const key = host.issue(operation, args, callSite());
      const entry = { operation, method, resolve, reject, signal, listener: undefined };
      OpPromise.mark(promise, key);
      pending.set(key, entry);
      if (signal !== undefined) {
        entry.listener = () => host.cancel(key);
        signal.addEventListener('abort', entry.listener);
      }
    } catch (error) {
      reject(error);
    }
    return promise;
  }

  function signalOf(operation, args) {
    const options = args.length > 0 ? args[args.length - 1] : undefined;
    if (typeof options !== 'object' || options === null || Array.isArray(options)) return undefined;
    const signal = options.signal;
    if (signal === undefined || signal === null) return undefined;
    if (typeof signal !== 'object' || typeof signal.aborted !== 'boolean' || typeof signal.addEventListener !== 'function') {
      throw new TypeError(`ctx.${operation}: \`signal\` must be an AbortSignal`);
    }
    return signal;
  }

  function abortError(operation, signal) {
    // What fetch rejects with is fixed by the web; operations follow Node's way.
    if (operation === 'fetch') return signal.reason;
    return named('AbortError', `${operation} was aborted`, { cause: signal.reason });
  }

  function named(name, message, options) {
    const error = name === 'TypeError' ? new TypeError(message, options)
      : name === 'RangeError' ? new RangeError(message, options)
      : new Error(message, options);
    if (error.name !== name) Object.defineProperty(error, 'name', { value: name, writable: true, configurable: true });
    return error;
  }

  function release(entry) {
    if (entry.listener !== undefined) entry.signal.removeEventListener('abort', entry.listener);
  }

  function settle(key, value) {
    const entry = pending.get(key);
    if (entry === undefined) return;
    pending.delete(key);
    release(entry);
    if (entry.operation === 'record') value = recording(key, value);
    entry.resolve(value);
  }

  function fail(key, name, message, place, cause) {
    const entry = pending.get(key);
    if (entry === undefined) return;
    pending.delete(key);
    release(entry);
    let error;
    if (name === 'AbortError' && entry.signal !== undefined && entry.signal.aborted) {
      error = abortError(entry.operation, entry.signal);
    } else {
      error = named(name, message, cause === undefined ? undefined : { cause });
    }
    // The error is made when the outcome comes, but belongs to the line that asked for the operation.
    if (place !== undefined && error instanceof Error) {
      const stack = `    at ctx.${entry.operation} (${place})\n`;
      Object.defineProperty(error, 'stack', { value: stack, writable: true, configurable: true });
    }
    entry.reject(error);
  }

  function recording(key, started) {
    const handle = { file: started.file };
    for (const action of ['pause', 'resume', 'stop']) {
      Object.defineProperty(handle, action, { value: () => issue(`record.${action}`, [key]) });
    }
    return handle;
  }

  // ---- timers ----------------------------------------------------------------------------------------------------

  // Sorted by deadline, then by age: the first one is the next to fire.
  const timers = [];
  let timerCount = 0;

  class Timeout {
    constructor(id) {
      this.id = id;
    }
    ref() {
      return this;
    }
    unref() {
      return this;
    }
    hasRef() {
      return true;
    }
    [Symbol.toPrimitive]() {
      return this.id;
    }
  }

  function arm(timer, delay) {
    timer.due = now() + delay;
    let index = timers.length;
    while (index > 0 && timers[index - 1].due > timer.due) index--;
    timers.splice(index, 0, timer);
  }

  function addTimer(name, callback, delay, args, repeat, keepsAlive) {
    if (typeof callback !== 'function') throw new TypeError(`${name}: the callback must be a function`);
    delay = Math.trunc(Number(delay));
    // As in Node: what does not fit a 32-bit timer is due at once.
    if (!(delay >= 1 && delay <= 0x7fffffff)) delay = name === 'setImmediate' ? 0 : 1;
    const timer = { id: ++timerCount, callback, args, period: repeat ? delay : undefined, due: 0, keepsAlive };
    arm(timer, delay);
    return new Timeout(timer.id);
  }

  function clearTimer(handle) {
    if (handle === undefined || handle === null) return;
    const id = Number(handle);
    const index = timers.findIndex((timer) => timer.id === id);
    if (index >= 0) timers.splice(index, 1);
    else if (firing !== undefined && firing.id === id) firing.period = undefined;
  }

  let firing;

  // Runs the first timer that is due at `deadline`; false when there is none.
  function fire(deadline) {
    const timer = timers[0];
    if (timer === undefined || timer.due > deadline) return false;
    timers.shift();
    firing = timer;
    try {
      timer.callback(...timer.args);
    } catch (error) {
      host.fail(error);
    } finally {
      firing = undefined;
    }
    if (timer.period !== undefined) arm(timer, timer.period);
    return true;
  }

  // ---- the call --------------------------------------------------------------------------------------------------

  const listeners = new Map();
  const streams = new Set();
  const waiters = new Set();
  const hangupWaiters = [];
  const EVENTS = ['dtmf', 'hangup', 'hold', 'unhold', 'speech', 'transcription', 'bridge', 'unbridge', 'transfer', 'media_timeout'];
  let endCause;
  let ctx;

  function listen(event, listener, once) {
    if (!EVENTS.includes(event)) throw new TypeError(`ctx.on: unknown event '${String(event)}'; events are ${EVENTS.join(', ')}`);
    if (typeof listener !== 'function') throw new TypeError('ctx.on: the listener must be a function');
    let list = listeners.get(event);
    if (list === undefined) listeners.set(event, (list = []));
    list.push({ listener, once });
  }

  function unlisten(event, listener) {
    const list = listeners.get(event);
    if (list === undefined) return;
    const index = listener === undefined ? -1 : list.findLastIndex((entry) => entry.listener === listener);
    if (listener === undefined) list.length = 0;
    else if (index >= 0) list.splice(index, 1);
  }

  function emit(event) {
    for (const stream of streams) stream.push(event);
    const list = listeners.get(event.type);
    if (list === undefined) return;
    for (const entry of [...list]) {
      if (entry.once) unlisten(event.type, entry.listener);
      try {
        entry.listener.call(ctx, event);
      } catch (error) {
        host.fail(error);
      }
    }
  }

  class Ctx {
    get call() {
      return Object.freeze(host.facts());
    }
    get(key) {
      return host.get(String(key));
    }
    header(name, value) {
      if (value === undefined) return host.header(String(name));
      return issue('header', [name, value]);
    }
    log(...args) {
      host.log('info', args.length === 1 && typeof args[0] === 'string' ? args[0] : part('inspect').format(args), callSite());
    }
    on(event, listener) {
      listen(event, listener, false);
      return this;
    }
    once(event, listener) {
      listen(event, listener, true);
      return this;
    }
    off(event, listener) {
      unlisten(event, listener);
      return this;
    }
    waitForHangup() {
      if (endCause !== undefined) return Promise.resolve(endCause);
      return new Promise((resolve) => hangupWaiters.push(resolve));
    }
    waitFor(match, quit, timeout, options) {
      return part('call').waitFor(match, quit, timeout, options);
    }
    events() {
      return part('call').events();
    }
  }

  function createCtx() {
    for (const operation of host.operations) {
      Ctx.prototype[operation] = { [operation](...args) { return issue(operation, args); } }[operation];
    }
    Object.defineProperty(Ctx, 'name', { value: 'cxC5Server' });
    return new Ctx();
  }

  // `new cxC5Server(process.env.CORRELATION_ID)` is the call this run owns, however often it is written.
  function cxC5Server() {
    if (ctx === undefined) throw new Error('cxC5Server: this run has no call');
    return ctx;
  }

  // ---- modules ---------------------------------------------------------------------------------------------------

  const modules = new Map();

  function builtIn(name) {
    const exports = cxC5Server;
    if (exports.default === undefined) Object.assign(exports, { default: exports, [name]: exports });
    return exports;
  }

  function require(name) {
    if (host.type === 'script') throw new Error("a script of type 'script' has no require; make it type 'app'");
    const file = host.resolve(String(name));
    return exportsOf(file);
  }

  function exportsOf(file) {
    if (host.isBuiltIn(file)) return builtIn(file);
    if (host.isModule(file)) return host.requireModule(file);
    return loadClassic(file).exports;
  }

  function loadClassic(file) {
    let module = modules.get(file);
    if (module === undefined) {
      module = { id: file, filename: file, exports: {}, loaded: false };
      modules.set(file, module);
      let local;
      try {
        const run = host.loadClassic(file);
        run.call(module.exports, module.exports, require, module, file, '.', (main) => { local = main; });
      } catch (error) {
        modules.delete(file);
        throw error;
      }
      module.loaded = true;
      // Only this file's own `main`; one that a `let` never initialised is none.
      Object.defineProperty(module, 'main', {
        get() {
          try {
            return local();
          } catch {
            return undefined;
          }
        },
      });
    }
    return module;
  }

  // ---- the run ---------------------------------------------------------------------------------------------------

  const input = host.input();
  // `main` has returned nothing, and callbacks may still call `exit`.
  let undecided = false;

  function asFunction(value) {
    return typeof value === 'function' ? value : undefined;
  }

  function member(object, name) {
    return (typeof object === 'object' && object !== null) || typeof object === 'function' ? asFunction(object[name]) : undefined;
  }

  function classicEntry(module, name) {
    const { exports } = module;
    // `module.export` is a typo in so many scripts that it works.
    const misspelt = module.export;
    let found = member(exports, name) ?? member(misspelt, name) ?? member(exports?.default, name);
    if (found === undefined && name === 'main') {
      found = asFunction(exports) ?? asFunction(misspelt) ?? asFunction(exports?.default) ?? asFunction(module.main);
    }
    return found;
  }

  function moduleEntry(namespace, name) {
    const found = member(namespace, name) ?? member(namespace.default, name);
    return found ?? (name === 'main' ? asFunction(namespace.default) : undefined);
  }

  function start() {
    try {
      if (host.hasCall) ctx = createCtx();
      const { entry } = host;
      if (host.isModule(entry)) {
        if (host.type === 'script') throw new Error("a script of type 'script' cannot be a module; make it type 'app'");
        const { promise, namespace } = host.startModule(entry);
        promise.then(() => run(moduleEntry(namespace, host.fn), Object.keys(namespace)), host.fail);
      } else {
        const module = loadClassic(entry);
        run(classicEntry(module, host.fn), Object.keys(module.exports ?? {}));
      }
    } catch (error) {
      host.fail(error);
    }
  }

  function run(main, exported) {
    let result;
    try {
      if (main !== undefined) {
        result = main(input, ctx);
      } else if (host.fn !== 'main' || exported.length > 0) {
        const others = exported.length > 0 ? `; it exports ${exported.join(', ')}` : '';
        throw new Error(`${host.entry} has no function '${host.fn}'${others}`);
      }
      const isPromise = (typeof result === 'object' || typeof result === 'function') && result !== null && typeof result.then === 'function';
      if (isPromise && host.type === 'script') {
        throw new Error("main returned a promise, but a script of type 'script' is synchronous; make it type 'app'");
      }
      if (!isPromise) {
        conclude(result, true);
        return;
      }
    } catch (error) {
      host.fail(error);
      return;
    }
    Promise.resolve(result).then((value) => conclude(value, false), host.fail);
  }

  function conclude(result, synchronous) {
    // A synchronous script of a call that returned nothing is written in callbacks; any other one has said that it is done.
    if (result === undefined && host.type !== 'script' && (synchronous || !host.hasCall)) undecided = true;
    else finish(result);
  }

  function finish(result) {
    undecided = false;
    try {
      host.finish(host.hasCall ? undefined : json(result === undefined ? input : result));
    } catch (error) {
      host.fail(error);
    }
  }

  function json(value) {
    try {
      return JSON.stringify(value);
    } catch (error) {
      throw new TypeError(`the result cannot be written as JSON: ${error.message}`);
    }
  }

  function busy() {
    for (const entry of pending.values()) {
      if (!host.hasCall || entry.operation === 'fetch') return true;
    }
    return timers.some((timer) => timer.keepsAlive && (timer.period === undefined || !host.hasCall));
  }

  // ---- what the worker calls -------------------------------------------------------------------------------------

  const dispatch = {
    start,
    settle,
    fail,
    fire,
    exportsOf,
    opIssued: (promise) => OpPromise.issued(promise),
    nextDeadline: () => (timers.length > 0 ? timers[0].due : undefined),
    // After the last microtask of a turn: the deadline of the next timer.
    turnEnd() {
      if (undecided && !busy()) finish(undefined);
      return timers.length > 0 ? timers[0].due : undefined;
    },
    event(event) {
      if (event.type === 'dtmf') {
        for (const waiter of [...waiters]) waiter.digit(event.digit);
      }
      emit(event);
    },
    ended(cause, message) {
      endCause = Object.freeze(cause);
      for (const waiter of [...waiters]) waiter.ended(message);
      for (const resolve of hangupWaiters.splice(0)) resolve(endCause);
      emit({ type: 'hangup', ...cause });
      for (const stream of [...streams]) stream.end();
    },
  };

  // What the lazily loaded parts share with this one.
  const runtime = {
    part, issue, named, callSite, addTimer, clearTimer, waiters, streams,
    get endCause() {
      return endCause;
    },
  };

  // ---- globals ---------------------------------------------------------------------------------------------------

  const lazyGlobals = {
    abort: ['AbortController', 'AbortSignal', 'DOMException', 'Event', 'EventTarget'],
    buffer: ['Buffer', 'atob', 'btoa'],
    clone: ['structuredClone'],
    console: ['console'],
    crypto: ['crypto'],
    fetch: ['fetch', 'Headers', 'Request', 'Response'],
    text: ['TextDecoder', 'TextEncoder'],
    url: ['URL', 'URLSearchParams'],
  };
  for (const name in lazyGlobals) {
    for (const global of lazyGlobals[name]) lazily(global, (wanted) => part(name)[wanted]);
  }
  lazily('vars', () => part('call').vars(input));
  lazily('process', () => ({ env: host.env(), nextTick: (callback, ...args) => queueMicrotask(() => callback(...args)) }));
  lazily('performance', () => ({ now: () => now() - timeOrigin, timeOrigin }));

  const globals = {
    Date: ScriptDate,
    require,
    global: globalThis,
    exit: (value) => host.exit(json(value === undefined ? input : value)),
    err: (reason) => host.err(reason),
    setTimeout: (callback, delay, ...args) => addTimer('setTimeout', callback, delay, args, false, true),
    setInterval: (callback, delay, ...args) => addTimer('setInterval', callback, delay, args, true, true),
    setImmediate: (callback, ...args) => addTimer('setImmediate', callback, 0, args, false, true),
    clearTimeout: clearTimer,
    clearInterval: clearTimer,
    clearImmediate: clearTimer,
  };
  if (host.type === 'script') {
    for (const name of ['setTimeout', 'setInterval', 'setImmediate']) {
      globals[name] = () => {
        throw new Error(`a script of type 'script' is synchronous and has no ${name}; make it type 'app'`);
      };
    }
  }
  for (const name in globals) define(name, globals[name]);

  // What two runs of the same journal could see differently.
  delete globalThis.SharedArrayBuffer;
  delete globalThis.Atomics;

  return dispatch;
})
