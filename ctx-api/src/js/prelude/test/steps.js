// Steps of a test: what it asks of the stage, and how arguments are checked before it does.
(function (host, runtime) {
  const { callHost } = runtime.part('ops');
  const { ownFrames } = runtime.part('failures');
  const inspect = (value) => runtime.part('inspect').inspect(value, 4);

  // Steps nobody has waited for yet.
  const unawaited = new Set();

  class Step extends Promise {
    static get [Symbol.species]() {
      return Promise;
    }

    then(onFulfilled, onRejected) {
      unawaited.delete(this);
      return super.then(onFulfilled, onRejected);
    }
  }

  // Asks the stage to do something or to wait for something. `said` is how messages name it.
  function step(said, name, args, take = (reply) => reply) {
    const site = runtime.callSite();
    const asked = callHost('test', name, args);
    const made = new Step((resolve, reject) => {
      asked.then((reply) => resolve(take(reply)), (error) => reject(reportable(error, site)));
    });
    made.said = said;
    made.site = ownFrames(site);
    unawaited.add(made);
    return made;
  }

  // Nobody has to wait for it: what goes wrong fails the test.
  function tell(said, name, args) {
    const made = step(said, name, args);
    unawaited.delete(made);
    Promise.prototype.then.call(made, undefined, (error) => { failures.push(error); });
  }

  const failures = [];

  // An expectation that does not hold is no error of the engine's.
  function reportable(error, site) {
    if (error?.name === 'ExpectationError' || error?.name === 'TimeoutError') {
      Object.defineProperty(error, 'name', { value: 'AssertionError', configurable: true, writable: true });
    }
    if (typeof error === 'object' && error !== null) Object.defineProperty(error, 'stack', { value: ownFrames(site), configurable: true, writable: true });
    return error;
  }

  class AssertionError extends Error {
    constructor(message, detail) {
      super(message);
      Object.defineProperty(this, 'name', { value: 'AssertionError', configurable: true, writable: true });
      Object.assign(this, detail);
    }
  }

  function optionsOf(said, options, known) {
    if (options === undefined || options === null) return {};
    if (typeof options !== 'object' || Array.isArray(options)) throw new TypeError(`${said}: the options must be an object, got ${inspect(options)}`);
    for (const key of Object.keys(options)) {
      if (!known.includes(key)) throw new TypeError(`${said}: unknown option '${key}'; expected ${known.join(', ')}`);
    }
    return options;
  }

  function ms(said, value) {
    if (!Number.isFinite(value) || value < 0) throw new TypeError(`${said}: expected milliseconds, got ${inspect(value)}`);
    return value;
  }

  function seedOf(said, value) {
    if (value !== undefined && !(Number.isSafeInteger(value) && value >= 0)) throw new TypeError(`${said}: \`seed\` must be a whole number, 0 or more, got ${inspect(value)}`);
    return value;
  }

  const pattern = (value) => (value instanceof RegExp ? { source: value.source, flags: value.flags } : String(value));

  // A member of a member, by a path with dots.
  const at = (object, path) => (Array.isArray(path) ? path : String(path).split('.')).reduce((value, key) => value?.[key], object);

  return { AssertionError, at, failures, ms, optionsOf, pattern, seedOf, step, tell, unawaited, Step };
})
