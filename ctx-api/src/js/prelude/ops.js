// Operations and `ctx`: loaded at once for a run that owns a call, with the first `fetch` otherwise.
(function (host, runtime) {
  const { callSite } = runtime;

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
        if (key !== LOCAL) {
          host.awaited(key);
          if (key in pending) pending[key].isHeard = true;
        }
      }
      return super.then(onFulfilled, onRejected);
    }
  }

  const { mark, issued } = OpPromise;
  delete OpPromise.mark;
  delete OpPromise.issued;

  // `from` is the function that the script called; `options` may have a signal. `label` is how messages name what is not a method
  // of `ctx`.
  function issueFrom(from, operation, args, options, label, listens = false) {
    let resolve;
    let reject;
    const promise = new OpPromise((onResolve, onReject) => {
      resolve = onResolve;
      reject = onReject;
    });
    let signal;
    let listener;
    let key;
    try {
      signal = signalOf(operation, options);
      if (signal !== undefined) {
        if (signal.aborted) throw runtime.part('failures').abortError(label ?? operation, signal);
        // Before the operation is issued: a signal of the script's own may throw.
        const listen = () => {
          if (key !== undefined) host.cancel(key);
        };
        signal.addEventListener('abort', listen);
        listener = listen;
      }
      key = host.issue(operation, args, callSite(from));
      const called = label ?? `ctx.${operation}`;
      mark(promise, key);
      pending[key] = { operation: label ?? operation, called, isHost: label !== undefined, isHeard: false, listens, resolve, reject, signal, listener };
    } catch (error) {
      reject(runtime.part('failures').refused(error));
      release({ signal, listener });
    }
    return promise;
  }

  // The options among an operation's arguments: the last one that is an object.
  function optionsOf(args) {
    return args.findLast((arg) => typeof arg === 'object' && arg !== null && !Array.isArray(arg));
  }

  function issue(operation, args, label) {
    return issueFrom(issue, operation, args, optionsOf(args), label);
  }

  // A method of `ctx` that issues an operation.
  function issuing(name) {
    const method = { [name]: (...args) => issueFrom(method, name, args, optionsOf(args)) }[name];
    return method;
  }

  // Calls a function of one of the engine's services; modules get this, scripts do not. The promise resolves with the reply's value,
  // with `{value, body}` where the reply has a body. `args` may be a function that makes them: what it throws, the promise rejects
  // with. `listens` says that what is waited for may never come.
  function callHost(service, name, args, body, options) {
    return callHostFrom(callHost, service, name, args, body, options);
  }

  function callHostFrom(from, service, name, args = [], body, options) {
    let call;
    const listens = options?.listens ?? false;
    try {
      const list = typeof args === 'function' ? args() : args;
      call = [service, name, JSON.stringify(list), bufferOf(body), listens];
    } catch (error) {
      return new OpPromise((_, reject) => reject(runtime.part('failures').refused(error)));
    }
    return issueFrom(from, 'host', call, options, `${service}.${name}`, listens);
  }

  function bufferOf(body) {
    if (body === undefined || body === null || body instanceof ArrayBuffer) return body;
    return body.buffer.slice(body.byteOffset, body.byteOffset + body.byteLength);
  }

  function signalOf(operation, options) {
    const signal = options?.signal;
    if (signal === undefined || signal === null) return undefined;
    const methods = [signal.addEventListener, signal.removeEventListener];
    if (typeof signal !== 'object' || typeof signal.aborted !== 'boolean' || !methods.every((method) => typeof method === 'function')) {
      throw new TypeError(`ctx.${operation}: \`signal\` must be an AbortSignal`);
    }
    return signal;
  }

  function release({ signal, listener }) {
    if (listener === undefined) return;
    try {
      signal.removeEventListener('abort', listener);
    } catch {
      // A signal of the script's own may throw: what was asked for is settled all the same.
    }
  }

  function settle(key, value) {
    const entry = pending[key];
    if (entry === undefined) return;
    delete pending[key];
    release(entry);
    if (entry.operation === 'record') value = runtime.part('call').recording(key, value);
    entry.resolve(value);
  }

  function fail(key, ...failure) {
    const entry = pending[key];
    if (entry === undefined) return;
    delete pending[key];
    release(entry);
    entry.reject(runtime.part('failures').failed(entry, ...failure));
  }

  // Its methods are made when they are first named.
  class Ctx {
    get call() {
      return Object.freeze(host.facts());
    }
  }

  function createCtx() {
    Object.setPrototypeOf(Ctx.prototype, host.operations);
    return new Ctx();
  }

  // `new cxC5Server(process.env.CORRELATION_ID)` is the call this run owns, however often it is written. An object of a class that
  // extends it inherits its methods.
  function cxC5Server() {
    if (runtime.ctx === undefined) throw new Error('cxC5Server: this run has no call');
    return new.target === undefined || new.target === cxC5Server ? runtime.ctx : this;
  }
  cxC5Server.prototype = Ctx.prototype;

  Object.assign(runtime, { OpPromise, markPromise: mark, isIssued: issued, signalOf, release, LOCAL });
  // What keeps a script of callbacks: operations of a call run to their end anyway, but whoever listens to one may go on from there.
  runtime.busyOperations = () =>
    Object.values(pending).some((entry) => !entry.listens && (entry.isHeard || entry.isHost || !host.hasCall));
  Object.assign(runtime.dispatch, {
    settle,
    fail,
    opIssued: (promise) => issued(promise),
    // The host asks for a method of `ctx` when a script first names it.
    method: (name, isIssued) => (isIssued ? issuing(name) : runtime.part('ctx')[name]),
    event: (event) => runtime.heard?.(event),
    ended(cause, message) {
      runtime.endCause = Object.freeze(cause);
      runtime.waitsEnd?.(message);
      runtime.hungUp?.(cause);
      runtime.heard?.({ type: 'hangup', ...cause });
      runtime.streamsEnd?.();
    },
  });

  return { createCtx, cxC5Server, issue, callHost, callHostFrom };
})
