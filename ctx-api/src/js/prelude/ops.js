// Operations and `ctx`: loaded at once for a run that owns a call, with the first `fetch` otherwise.
(function (host, runtime) {
  const { callSite, ownFrames } = runtime;

  // Operations whose promise has not settled: key → {resolve, reject, …}.
  const pending = { __proto__: null };

  // In place of a key: what it waits for happens in the worker.
  const LOCAL = -1;

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
        if (key !== LOCAL) host.awaited(key);
      }
      return super.then(onFulfilled, onRejected);
    }
  }

  function issue(operation, args) {
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
      const entry = { operation, resolve, reject, signal, listener: undefined };
      OpPromise.mark(promise, key);
      pending[key] = entry;
      if (signal !== undefined) {
        entry.listener = () => host.cancel(key);
        signal.addEventListener('abort', entry.listener);
      }
    } catch (error) {
      if (typeof error?.stack === 'string') error.stack = ownFrames(error.stack);
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
    const entry = pending[key];
    if (entry === undefined) return;
    delete pending[key];
    release(entry);
    if (entry.operation === 'record') value = runtime.part('call').recording(key, value);
    entry.resolve(value);
  }

  function fail(key, name, message, place, cause) {
    const entry = pending[key];
    if (entry === undefined) return;
    delete pending[key];
    release(entry);
    let error;
    if (name === 'AbortError' && entry.signal !== undefined && entry.signal.aborted) {
      error = abortError(entry.operation, entry.signal);
    } else {
      error = named(name, message, cause === undefined ? undefined : { cause });
    }
    // The error is made when the outcome comes, but belongs to the line that asked for the operation.
    if (place !== undefined && error instanceof Error) {
      const name = entry.operation === 'fetch' ? 'fetch' : `ctx.${entry.operation}`;
      const stack = `    at ${name} (${place})\n`;
      Object.defineProperty(error, 'stack', { value: stack, writable: true, configurable: true });
    }
    entry.reject(error);
  }

  const hangupWaiters = [];

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
      host.log('info', args.length === 1 && typeof args[0] === 'string' ? args[0] : runtime.part('inspect').format(args), callSite());
    }
    on(event, listener) {
      runtime.part('call').listen(event, listener, false);
      return this;
    }
    once(event, listener) {
      runtime.part('call').listen(event, listener, true);
      return this;
    }
    off(event, listener) {
      runtime.part('call').unlisten(event, listener);
      return this;
    }
    waitForHangup() {
      if (runtime.endCause !== undefined) return Promise.resolve(runtime.endCause);
      return new Promise((resolve) => hangupWaiters.push(resolve));
    }
    waitFor(match, quit, timeout, options) {
      return runtime.part('call').waitFor(match, quit, timeout, options);
    }
    events() {
      return runtime.part('call').events();
    }
  }

  function createCtx() {
    Object.setPrototypeOf(Ctx.prototype, host.operations);
    return new Ctx();
  }

  // `new cxC5Server(process.env.CORRELATION_ID)` is the call this run owns, however often it is written.
  function cxC5Server() {
    if (runtime.ctx === undefined) throw new Error('cxC5Server: this run has no call');
    return runtime.ctx;
  }

  Object.assign(runtime, { named, OpPromise, LOCAL });
  runtime.busyOperations = () => Object.values(pending).some((entry) => !host.hasCall || entry.operation === 'fetch');
  Object.assign(runtime.dispatch, {
    settle,
    fail,
    opIssued: (promise) => OpPromise.issued(promise),
    // The host asks for a method of `ctx` when a script first names it.
    method: (name) => ({ [name]: (...args) => issue(name, args) })[name],
    event: (event) => runtime.heard?.(event),
    ended(cause, message) {
      runtime.endCause = Object.freeze(cause);
      runtime.waitsEnd?.(message);
      for (const resolve of hangupWaiters.splice(0)) resolve(cause);
      runtime.heard?.({ type: 'hangup', ...cause });
      runtime.streamsEnd?.();
    },
  });

  return { createCtx, cxC5Server, issue };
})
