// Methods of `ctx` that issue nothing: each is loaded when a script first names one of them.
(function (host, runtime) {
  const { callSite, part } = runtime;
  const hangupWaiters = [];

  runtime.hungUp = (cause) => {
    for (const resolve of hangupWaiters.splice(0)) resolve(cause);
  };

  return {
    get: (key) => host.get(String(key)),
    header: (name, value) => (value === undefined ? host.header(String(name)) : part('ops').issue('header', [name, value])),
    log(...args) {
      host.log('info', args.length === 1 && typeof args[0] === 'string' ? args[0] : part('inspect').format(args), callSite());
    },
    on(event, listener) {
      part('call').listen(event, listener, false);
      return this;
    },
    once(event, listener) {
      part('call').listen(event, listener, true);
      return this;
    },
    off(event, listener) {
      part('call').unlisten(event, listener);
      return this;
    },
    waitForHangup: () =>
      runtime.endCause !== undefined ? Promise.resolve(runtime.endCause) : new Promise((resolve) => hangupWaiters.push(resolve)),
    waitFor: (match, quit, timeout, options) => part('call').waitFor(match, quit, timeout, options),
    events: () => part('call').events(),
  };
})
