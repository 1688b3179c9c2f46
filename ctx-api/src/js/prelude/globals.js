// The oldest style's `vars`, `exit` and `err`, and `process`.
(function (host, { input, json }) {
  // The oldest style's `vars`: the data itself, and a function that returns it.
  function vars() {
    if (typeof input !== 'object' || input === null) return () => input;
    return new Proxy(() => input, {
      apply: () => input,
      get: (_, key) => (key === 'toJSON' && !(key in input) ? () => input : input[key]),
      set: (_, key, value) => Reflect.set(input, key, value),
      has: (_, key) => key in input,
      deleteProperty: (_, key) => Reflect.deleteProperty(input, key),
      ownKeys: () => Reflect.ownKeys(input),
      getOwnPropertyDescriptor(_, key) {
        const descriptor = Reflect.getOwnPropertyDescriptor(input, key);
        return descriptor === undefined ? undefined : { ...descriptor, configurable: true };
      },
      getPrototypeOf: () => Object.prototype,
    });
  }

  return {
    exit: (value) => host.exit(json(value === undefined ? input : value)),
    err: (reason) => host.err(reason),
    global: globalThis,
    process: { env: host.env(), nextTick: (callback, ...args) => queueMicrotask(() => callback(...args)) },
    vars: vars(),
  };
})
