// The oldest style's `vars`, `exit` and `err`, and `process`.
(function (host, runtime) {
  const { input, json, isFailure } = runtime;

  // The oldest style's `vars`: the data itself, and a function that returns it.
  function vars() {
    if (typeof input !== 'object' || input === null) return () => input;
    return new Proxy(() => input, {
      apply: () => input,
      get: (_, key) => (key === 'toJSON' && !(key in input) ? () => input : input[key]),
      set: (_, key, value) => Reflect.set(input, key, value),
      has: (_, key) => key in input,
      defineProperty: (_, key, descriptor) => Reflect.defineProperty(input, key, descriptor),
      deleteProperty: (_, key) => Reflect.deleteProperty(input, key),
      ownKeys: () => Reflect.ownKeys(input),
      getOwnPropertyDescriptor(_, key) {
        const descriptor = Reflect.getOwnPropertyDescriptor(input, key);
        return descriptor === undefined ? undefined : { ...descriptor, configurable: true };
      },
      getPrototypeOf: () => Object.prototype,
    });
  }

  // `err([404, 'Not Found'])`, also without the brackets.
  const err = (reason, text) => host.err(text !== undefined && /^\d{3}$/.test(reason) ? [reason, text] : reason);

  function exit(value) {
    if (!host.hasCall && isFailure(value)) return err(value);
    // What a call's script exits with is nobody's, as what it returns.
    if (typeof value?.then !== 'function') return host.exit(host.hasCall ? undefined : json(value === undefined ? input : value));
    if (host.type === 'script') throw runtime.part('failures').notSynchronous('exit was given a promise');
    runtime.leaving = true;
    Promise.resolve(value).then(exit, err);
  }

  return {
    exit,
    err,
    global: globalThis,
    process: { env: host.env(), nextTick: (callback, ...args) => queueMicrotask(() => callback(...args)) },
    vars: vars(),
  };
})
