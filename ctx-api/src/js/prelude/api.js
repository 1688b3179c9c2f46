// The global `api`: look-ups of numbers, and messages.
(function (host, runtime) {
  const { callHost } = runtime.part('ops');

  const lookup = new Proxy({ __proto__: null }, {
    get: (_, name) => (typeof name === 'string' && name !== 'then' ? (...args) => callHost('lookup', name, args) : undefined),
  });

  const send = host.moduleSource('cxSend')(callHost, runtime);
  return { api: Object.freeze({ lookup, send }) };
})
