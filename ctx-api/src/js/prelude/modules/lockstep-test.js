// Tests of scripts: `lockstep:test`. What a test file registers is listed, or one test of it is run, as the runner asks.
(function (host, runtime) {
  const { ownFrames } = runtime.part('failures');
  const inspect = (value) => runtime.part('inspect').inspect(value, 4);

  // ---- steps: what a test asks of the stage ----------------------------------------------------------------------------

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
    const asked = host('test', name, args);
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

  // ---- arguments -------------------------------------------------------------------------------------------------------

  function optionsOf(said, options, known) {
    if (options === undefined || options === null) return {};
    if (typeof options !== 'object' || Array.isArray(options)) throw new TypeError(`${said}: the options must be an object, got ${inspect(options)}`);
    for (const key of Object.keys(options)) {
      if (!known.includes(key)) throw new TypeError(`${said}: unknown option '${key}'; expected ${known.join(', ')}`);
    }
    return options;
  }

  function ms(said, value) {
    if (typeof value !== 'number' || !(value >= 0)) throw new TypeError(`${said}: expected milliseconds, got ${inspect(value)}`);
    return value;
  }

  const pattern = (value) => (value instanceof RegExp ? { source: value.source, flags: value.flags } : String(value));

  function audio(said, what) {
    if (typeof what === 'string') return { source: what };
    if (what instanceof RegExp) throw new TypeError(`${said}: a pattern fits speech only: {tts: ${inspect(what)}}`);
    if (typeof what === 'object' && what !== null) {
      if ('tts' in what) return { tts: pattern(what.tts) };
      if ('tone' in what) return { tone: [what.tone].flat().join('+') };
    }
    throw new TypeError(`${said}: expected the name of a file, {tone: 440} or {tts: /text/}, got ${inspect(what)}`);
  }

  // ---- the network -----------------------------------------------------------------------------------------------------

  function share(name, value) {
    if (typeof value !== 'number' || !(value >= 0 && value <= 1)) throw new RangeError(`network: \`${name}\` must be a share between 0 and 1, got ${inspect(value)}`);
    return value;
  }

  const LINE = ['loss', 'delay_ms', 'jitter_ms', 'reorder', 'duplicate', 'seed'];

  function network(options = {}) {
    const given = optionsOf('network', options, LINE);
    const { loss = 0, delay_ms = 1, jitter_ms = 0, reorder = 0, duplicate = 0, seed } = given;
    if (seed !== undefined && !Number.isSafeInteger(seed)) throw new TypeError(`network: \`seed\` must be a whole number, got ${inspect(seed)}`);
    return {
      loss: share('loss', loss),
      delay_ms: ms('network: delay_ms', delay_ms),
      jitter_ms: ms('network: jitter_ms', jitter_ms),
      reorder: share('reorder', reorder),
      duplicate: share('duplicate', duplicate),
      seed,
    };
  }

  // ---- calls and phones ------------------------------------------------------------------------------------------------

  const calls = new Map();

  function callOf(facts) {
    let call = calls.get(facts.id);
    if (call === undefined) {
      call = new Call(facts);
      calls.set(facts.id, call);
    } else {
      call.update(facts);
    }
    return call;
  }

  // A reply about a call brings its facts along.
  const valueOf = (reply) => {
    if (reply?.call !== undefined) callOf(reply.call);
    return reply?.value;
  };

  class Call {
    #facts;

    constructor(facts) {
      this.#facts = facts;
    }

    update(facts) {
      this.#facts = facts;
    }

    #step(name, args, options, known = ['timeout_ms']) {
      const said = `call.${name}(${args.map((arg) => inspect(arg)).join(', ')})`;
      return (method, converted) => step(said, method, () => [this.#facts.id, ...converted(), optionsOf(`call.${name}`, options, known)], valueOf);
    }

    answered(options) { return this.#step('answered', [], options)('answered', () => []); }
    ringing(options) { return this.#step('ringing', [], options)('ringing', () => []); }
    ended(options) { return this.#step('ended', [], options)('ended', () => []); }
    hangup() { return this.#step('hangup', [])('hangup', () => []); }
    answer() { return this.#step('answer', [])('answer', () => []); }
    ring() { return this.#step('ring', [])('ring', () => []); }
    reject(code = 486) { return this.#step('reject', [code])('reject', () => [code]); }
    hold() { return this.#step('hold', [])('hold', () => [true]); }
    unhold() { return this.#step('unhold', [])('hold', () => [false]); }
    hears(what, options) {
      return this.#step('hears', [what], options, ['timeout_ms', 'at_least_ms'])('hears', () => [audio('call.hears', what)]);
    }
    says(what, options) { return this.#step('says', [what], options)('says', () => [audio('call.says', what)]); }
    silence(time) { return this.#step('silence', [time])('silence', () => [ms('call.silence', time)]); }
    press(keys, options) {
      return this.#step('press', [keys], options, ['duration_ms', 'gap_ms', 'method'])('press', () => [String(keys)]);
    }
    receives(keys, options) { return this.#step('receives', [keys], options)('receives', () => [String(keys)]); }
    bridgedTo(other, options) {
      return this.#step('bridgedTo', [], options)('bridgedTo', () => {
        if (!(other instanceof Call)) throw new TypeError(`call.bridgedTo: expected a call, got ${inspect(other)}`);
        return [other.id];
      });
    }
    logs() { return this.#step('logs', [])('logs', () => []); }
    timeline() { return this.#step('timeline', [])('timeline', () => []); }
    journal() { return this.#step('journal', [])('journal', () => []); }
    quality() { return this.#step('quality', [])('quality', () => []); }

    get id() { return this.#facts.id; }
    get from() { return this.#facts.from; }
    get to() { return this.#facts.to; }
    get codec() { return this.#facts.codec; }
    get headers() { return this.#facts.headers; }
    /** Keys that the other side has pressed so far. */
    get keys() { return this.#facts.keys; }
    /** As of the last step of this call. */
    get state() { return this.#facts.state; }
    /** Milliseconds since it was answered, or that it lasted; 0 before. */
    get duration() {
      const { answered_at: from, ended_at: to } = this.#facts;
      return from === null ? 0 : (to ?? Date.now()) - from;
    }
    toJSON() { return { ...this.#facts }; }
  }

  const PHONE = ['from', 'password', 'codecs', 'ptime_ms', 'network', 'headers'];
  let phones = 0;
  const registrations = [];

  function phoneOptions(said, options) {
    const given = optionsOf(said, options, PHONE);
    const line = given.network === undefined ? {} : { network: network(given.network) };
    return { ...given, ...line, from: given.from === undefined ? undefined : String(given.from) };
  }

  function dial(said, id, target, options) {
    const args = () => [id, String(target), phoneOptions(said, options)];
    return step(`${said}(${inspect(target)})`, 'dial', args, (reply) => callOf(reply.call));
  }

  class Phone {
    #id;
    #ready;

    constructor(id, ready) {
      this.#id = id;
      this.#ready = ready;
    }

    /** Resolves once the phone is registered. */
    registered() { return this.#ready(); }
    incoming(options) {
      return step('phone.incoming()', 'incoming', () => [this.#id, optionsOf('phone.incoming', options, ['timeout_ms'])], (reply) => callOf(reply.call));
    }
    dial(target, options) { return dial('phone.dial', this.#id, target, options); }
    unregister() { return step('phone.unregister()', 'unregister', () => [this.#id]); }
  }

  const phone = {
    /** Dials with a phone of its own. */
    dial(target, options) {
      phones += 1;
      return dial('phone.dial', phones, target, options);
    },
    /** A phone registered as a user of the configuration. Calls that are dialled afterwards find it. */
    register(user, options) {
      phones += 1;
      const id = phones;
      const said = `phone.register(${inspect(user)})`;
      const args = () => [id, String(user), phoneOptions('phone.register', options)];
      const asked = step(said, 'register', args);
      unawaited.delete(asked);
      Promise.prototype.then.call(asked, undefined, (error) => { failures.push(error); });
      registrations.push(asked);
      return new Phone(id, () => step(`${said}.registered()`, 'registered', () => [id]));
    },
    /** Answers for a gateway of the configuration, or for a host that is called by name or address. */
    gateway(which, options) {
      phones += 1;
      const id = phones;
      tell(`phone.gateway(${inspect(which)})`, 'gateway', () => [id, String(which), phoneOptions('phone.gateway', options)]);
      return new Phone(id, () => step('phone.registered()', 'registered', () => [id]));
    },
  };

  // ---- what surrounds the engine ---------------------------------------------------------------------------------------

  function answerFor(said, method, url) {
    const lay = (reply, options) => {
      const given = optionsOf(said, options, ['headers', 'delay_ms', 'times']);
      tell(said, 'http', () => [{ method, url: pattern(url) }, reply, { delay_ms: given.delay_ms, times: given.times }]);
    };
    return {
      reply(status, body, options) {
        if (typeof status === 'object' && status !== null) [status, body, options] = [status.status ?? 200, status.json ?? status.body, { headers: status.headers, delay_ms: status.delay_ms, times: status.times }];
        if (!Number.isInteger(status) || status < 200 || status > 599) throw new RangeError(`http.reply: expected a status from 200 to 599, got ${inspect(status)}`);
        const headers = { ...options?.headers };
        const isText = typeof body === 'string' || body === undefined || body === null;
        const named = Object.keys(headers).some((name) => name.toLowerCase() === 'content-type');
        if (!isText && !named) headers['content-type'] = 'application/json';
        lay({ status, headers: Object.entries(headers).map(([name, value]) => [name, String(value)]), body: isText ? (body ?? '') : JSON.stringify(body) }, options);
      },
      /** The connection breaks. */
      fail(message = 'connection refused', options) { lay({ failure: String(message) }, options); },
      /** Nobody answers. */
      never(options) { lay({ nothing: true }, options); },
    };
  }

  const http = {
    /** What requests get: `http.on('https://…')`, `http.on('POST https://…')`, `http.on(/pattern/)`. */
    on(url) {
      const said = `http.on(${inspect(url)})`;
      if (url instanceof RegExp) return answerFor(said, undefined, url);
      const [, method, address] = /^(?:([A-Za-z]+)\s+)?(\S+)$/.exec(String(url)) ?? [];
      if (address === undefined || !/^https?:\/\//.test(address)) throw new TypeError(`${said}: expected an http or https URL, or a pattern`);
      return answerFor(said, method?.toUpperCase(), address);
    },
    /** Requests that scripts have made so far: {method, url, headers, body}. */
    requests() { return step('http.requests()', 'requests', []); },
  };

  const tts = {
    /** Speech fails from now on. */
    fails(message = 'no speech today') { tell('tts.fails()', 'speech', () => [String(message)]); },
    /** Speech works again. */
    works() { tell('tts.works()', 'speech', () => [null]); },
    /** Texts that were spoken so far. */
    spoken() { return step('tts.spoken()', 'spoken', []); },
  };

  /** Recordings that have ended: {file, channels, duration_ms}. */
  const recordings = () => step('recordings()', 'recordings', []);

  const time = {
    now: () => Date.now(),
    advance(time) { return step(`time.advance(${inspect(time)})`, 'advance', () => [ms('time.advance', time)]); },
  };

  const runStep = (said, kind, script, fn, data) => step(said, 'run', () => [kind, script === undefined ? null : String(script), fn ?? null, data === undefined ? {} : data]);

  /** Runs the Class 4 hook of a script on a routing object. */
  const class4 = (data, options) => runStep('class4()', 'hook', optionsOf('class4', options, ['script']).script, undefined, data);
  /** Calls a function of a driver. */
  const driver = (script, fn, data) => runStep(`driver(${inspect(script)}, ${inspect(fn)})`, 'driver', script, String(fn), data);
  /** Sends a form to a script. */
  const form = (script, fields) => runStep(`form(${inspect(script)})`, 'form', script, undefined, fields);
  /** Runs any exported function of a script, outside a call. */
  const run = (script, fn, data) => runStep(`run(${inspect(script)})`, 'api', script, fn === undefined ? undefined : String(fn), data);

  // ---- expect ----------------------------------------------------------------------------------------------------------

  const isObject = (value) => typeof value === 'object' && value !== null;

  class Like {
    constructor(said, fits) {
      this.said = said;
      this.fits = fits;
    }
    toJSON() { return this.said; }
  }

  // As Jest means it: `undefined` members do not count unless `strict`.
  function equal(actual, wanted, strict = false, seen = []) {
    if (wanted instanceof Like) return wanted.fits(actual);
    if (Object.is(actual, wanted)) return true;
    if (!isObject(actual) || !isObject(wanted)) return false;
    if (seen.some(([one, other]) => one === actual && other === wanted)) return true;
    const within = [...seen, [actual, wanted]];
    if (Array.isArray(actual) !== Array.isArray(wanted)) return false;
    if (wanted instanceof Date) return actual instanceof Date && Object.is(actual.getTime(), wanted.getTime());
    if (wanted instanceof RegExp) return actual instanceof RegExp && String(actual) === String(wanted);
    if (wanted instanceof Error) return actual instanceof Error && actual.message === wanted.message;
    if (wanted instanceof Map || wanted instanceof Set) {
      if (actual.constructor !== wanted.constructor || actual.size !== wanted.size) return false;
      return equal([...actual], [...wanted], strict, within);
    }
    if (Array.isArray(wanted) && actual.length !== wanted.length) return false;
    if (strict && Object.getPrototypeOf(actual) !== Object.getPrototypeOf(wanted)) return false;
    const keys = (object) => Object.keys(object).filter((key) => strict || object[key] !== undefined);
    const names = new Set([...keys(actual), ...keys(wanted)]);
    return [...names].every((key) => (!strict || (key in actual && key in wanted)) && equal(actual[key], wanted[key], strict, within));
  }

  function contains(actual, wanted) {
    if (wanted instanceof Like || !isObject(wanted) || Array.isArray(wanted)) return equal(actual, wanted);
    return isObject(actual) && Object.keys(wanted).every((key) => contains(actual[key], wanted[key]));
  }

  function number(said, value) {
    if (typeof value !== 'number' && typeof value !== 'bigint') throw new TypeError(`${said}: expected a number, got ${inspect(value)}`);
    return value;
  }

  function fitsError(error, wanted) {
    const message = isObject(error) && 'message' in error ? String(error.message) : String(error);
    if (wanted === undefined) return true;
    if (wanted instanceof RegExp) return wanted.test(message);
    if (typeof wanted === 'string') return message.includes(wanted);
    if (typeof wanted === 'function') return error instanceof wanted;
    return contains(error, wanted instanceof Error ? { message: wanted.message } : wanted);
  }

  const at = (object, path) => (Array.isArray(path) ? path : String(path).split('.')).reduce((value, key) => value?.[key], object);

  // name → (actual, ...arguments) → holds, or {holds, say}
  const MATCHERS = {
    toBe: (actual, wanted) => Object.is(actual, wanted),
    toEqual: (actual, wanted) => equal(actual, wanted),
    toStrictEqual: (actual, wanted) => equal(actual, wanted, true),
    toMatch: (actual, wanted) => {
      if (typeof actual !== 'string') throw new TypeError(`toMatch: expected a string, got ${inspect(actual)}`);
      return wanted instanceof RegExp ? new RegExp(wanted.source, wanted.flags.replace('g', '')).test(actual) : actual.includes(String(wanted));
    },
    toMatchObject: (actual, wanted) => contains(actual, wanted),
    toContain: (actual, wanted) => {
      if (typeof actual === 'string') return actual.includes(String(wanted));
      if (actual === null || actual === undefined || typeof actual[Symbol.iterator] !== 'function') throw new TypeError(`toContain: expected a string or a list, got ${inspect(actual)}`);
      return [...actual].some((member) => Object.is(member, wanted));
    },
    toContainEqual: (actual, wanted) => [...actual].some((member) => equal(member, wanted)),
    toHaveLength: (actual, wanted) => actual?.length === wanted,
    toHaveProperty: (actual, path, ...wanted) => {
      const found = at(actual, path);
      return wanted.length === 0 ? found !== undefined : equal(found, wanted[0]);
    },
    toBeLessThan: (actual, wanted) => number('toBeLessThan', actual) < number('toBeLessThan', wanted),
    toBeLessThanOrEqual: (actual, wanted) => number('toBeLessThanOrEqual', actual) <= number('toBeLessThanOrEqual', wanted),
    toBeGreaterThan: (actual, wanted) => number('toBeGreaterThan', actual) > number('toBeGreaterThan', wanted),
    toBeGreaterThanOrEqual: (actual, wanted) => number('toBeGreaterThanOrEqual', actual) >= number('toBeGreaterThanOrEqual', wanted),
    toBeCloseTo: (actual, wanted, digits = 2) => Math.abs(number('toBeCloseTo', actual) - number('toBeCloseTo', wanted)) < 0.5 * 10 ** -digits,
    toBeTruthy: (actual) => Boolean(actual),
    toBeFalsy: (actual) => !actual,
    toBeNull: (actual) => actual === null,
    toBeUndefined: (actual) => actual === undefined,
    toBeDefined: (actual) => actual !== undefined,
    toBeNaN: (actual) => Number.isNaN(actual),
    toBeInstanceOf: (actual, wanted) => actual instanceof wanted,
    toThrow: (actual, wanted) => {
      if (typeof actual !== 'function') throw new TypeError(`toThrow: expected a function to call, got ${inspect(actual)}; for a promise: await expect(promise).rejects.toThrow(…)`);
      try {
        const value = actual();
        return { holds: false, say: `it returned ${inspect(value)}` };
      } catch (error) {
        return { holds: fitsError(error, wanted), say: `it threw ${inspect(error)}` };
      }
    },
  };

  function expectation(actual, negated, site) {
    const made = {};
    for (const [name, matcher] of Object.entries(MATCHERS)) {
      made[name] = (...args) => check(name, matcher, actual, args, negated);
    }
    if (!negated) Object.defineProperty(made, 'not', { get: () => expectation(actual, true, site) });
    const settled = (wantsRejection) => {
      const later = {};
      const methods = (isNegated) => Object.fromEntries(Object.entries(MATCHERS).map(([name, matcher]) => [name, (...args) => {
        const where = ownFrames(runtime.callSite());
        const made = new Step((resolve, reject) => {
          outcome(actual, wantsRejection).then((value) => {
            const asThrown = wantsRejection && name === 'toThrow';
            const test = asThrown ? (error, wanted) => ({ holds: fitsError(error, wanted), say: `it rejected with ${inspect(error)}` }) : matcher;
            check(name, test, value, args, isNegated);
            resolve();
          }).catch((error) => {
            if (isObject(error)) Object.defineProperty(error, 'stack', { value: where, configurable: true, writable: true });
            reject(error);
          });
        });
        made.said = `expect(…).${wantsRejection ? 'rejects' : 'resolves'}.${name}()`;
        made.site = where;
        unawaited.add(made);
        return made;
      }]));
      Object.assign(later, methods(negated));
      later.not = methods(!negated);
      return later;
    };
    Object.defineProperty(made, 'resolves', { get: () => settled(false) });
    Object.defineProperty(made, 'rejects', { get: () => settled(true) });
    return made;
  }

  async function outcome(promise, wantsRejection) {
    if (!isObject(promise) || typeof promise.then !== 'function') throw new TypeError(`expect(…).${wantsRejection ? 'rejects' : 'resolves'}: expected a promise, got ${inspect(promise)}`);
    let value;
    try {
      value = await promise;
    } catch (error) {
      if (wantsRejection) return error;
      throw new AssertionError(`expected the promise to resolve; it rejected with ${inspect(error)}`);
    }
    if (wantsRejection) throw new AssertionError(`expected the promise to reject; it resolved with ${inspect(value)}`);
    return value;
  }

  function check(name, matcher, actual, args, negated) {
    if (isObject(actual) && typeof actual.then === 'function') {
      throw new TypeError(`expect(…).${name}: got a promise; await it, or use expect(…).resolves.${name}(…)`);
    }
    const verdict = matcher(actual, ...args);
    const { holds, say } = typeof verdict === 'object' ? verdict : { holds: verdict };
    if (holds !== negated) return;
    const wanted = args.map((arg) => (arg instanceof Like ? arg.said : inspect(arg))).join(', ');
    const lines = [`expect(${inspect(actual)})${negated ? '.not' : ''}.${name}(${wanted})`];
    if (say !== undefined) lines.push(`  ${say}`);
    else if (args.length > 0) lines.push(`  expected: ${negated ? 'not ' : ''}${wanted}`, `  received: ${inspect(actual)}`);
    const error = new AssertionError(lines.join('\n'));
    Object.defineProperty(error, 'stack', { value: ownFrames(runtime.callSite()), configurable: true, writable: true });
    throw error;
  }

  const expect = (...args) => {
    if (args.length === 0) throw new TypeError('expect: expected a value');
    return expectation(args[0], false);
  };
  const TYPES = new Map([[String, 'string'], [Number, 'number'], [Boolean, 'boolean'], [Function, 'function'], [Object, 'object']]);
  expect.anything = () => new Like('anything', (value) => value !== null && value !== undefined);
  expect.any = (type) => new Like(`any ${type.name}`, (value) => (TYPES.has(type) ? typeof value === TYPES.get(type) : value instanceof type));
  expect.objectContaining = (wanted) => new Like(`an object with ${inspect(wanted)}`, (value) => contains(value, wanted));
  expect.arrayContaining = (wanted) => new Like(`a list with ${inspect(wanted)}`, (value) => Array.isArray(value) && wanted.every((member) => value.some((own) => equal(own, member))));
  expect.stringContaining = (wanted) => new Like(`a string with ${inspect(wanted)}`, (value) => typeof value === 'string' && value.includes(wanted));
  expect.stringMatching = (wanted) => new Like(`a string like ${inspect(wanted)}`, (value) => typeof value === 'string' && new RegExp(wanted).test(value));

  // ---- tests and hooks -------------------------------------------------------------------------------------------------

  const newSuite = (name, parent, modifiers = {}) => ({ name, parent, beforeAll: [], beforeEach: [], afterEach: [], afterAll: [], ...modifiers });
  const root = newSuite('', undefined);
  let suite = root;
  let registered = [];
  let started = false;

  const TEST = ['network', 'timeout', 'seed', 'at', 'vars'];

  function add(name, given, modifiers) {
    if (typeof name !== 'string' || name === '') throw new TypeError(`test: expected a name, got ${inspect(name)}`);
    if (started) throw new Error(`test(${inspect(name)}): tests are registered before the first one runs, not within one`);
    const options = given.length > 1 || typeof given[0] !== 'function' ? given[0] : {};
    const fn = given.length > 1 ? given[1] : given.find((arg) => typeof arg === 'function');
    if (typeof fn !== 'function' && !modifiers.todo) throw new TypeError(`test(${inspect(name)}): expected a function`);
    const checked = optionsOf(`test(${inspect(name)})`, options, TEST);
    if (checked.network !== undefined) checked.network = network(checked.network);
    if (checked.timeout !== undefined) ms(`test(${inspect(name)}): timeout`, checked.timeout);
    if (checked.at !== undefined) {
      const at = new Date(checked.at).getTime();
      if (Number.isNaN(at)) throw new TypeError(`test(${inspect(name)}): \`at\` is no date: ${inspect(checked.at)}`);
      checked.at = at;
    }
    registered.push({ name, suite, options: checked, fn, ...modifiers });
  }

  function title(name, row, index) {
    const values = Array.isArray(row) ? [...row] : [row];
    const filled = name.replace(/%[sdijop%#]/g, (mark) => {
      if (mark === '%%') return '%';
      if (mark === '%#') return String(index);
      if (values.length === 0) return mark;
      const value = values.shift();
      return mark === '%s' ? String(value) : mark === '%d' || mark === '%i' ? String(Number(value)) : mark === '%j' ? JSON.stringify(value) : inspect(value);
    });
    if (!isObject(row) || Array.isArray(row)) return filled;
    return filled.replace(/\$([A-Za-z_][\w.]*)/g, (mark, path) => { const found = at(row, path); return found === undefined ? mark : typeof found === 'string' ? found : inspect(found); });
  }

  function each(register) {
    return (rows) => {
      if (rows === undefined || rows === null || typeof rows[Symbol.iterator] !== 'function') throw new TypeError(`test.each: expected a list of rows, got ${inspect(rows)}`);
      return (name, ...given) => {
        const fn = given[given.length - 1];
        if (typeof fn !== 'function') throw new TypeError(`test.each: ${inspect(name)} has no function`);
        [...rows].forEach((row, index) => {
          const bound = () => (Array.isArray(row) ? fn(...row) : fn(row));
          register(title(String(name), row, index), ...given.slice(0, -1), bound);
        });
      };
    };
  }

  function makeTest(modifiers) {
    const made = (name, ...given) => add(name, given, modifiers);
    made.each = each(made);
    return made;
  }

  const test = makeTest({});
  test.only = makeTest({ only: true });
  test.skip = makeTest({ skip: true });
  test.todo = (name) => add(name, [], { skip: true, todo: true });

  function makeDescribe(modifiers) {
    const made = (name, fn) => {
      if (typeof fn !== 'function') throw new TypeError(`describe(${inspect(name)}): expected a function`);
      const before = suite;
      suite = newSuite(String(name), before, modifiers);
      try {
        const result = fn();
        if (isObject(result) && typeof result.then === 'function') throw new TypeError(`describe(${inspect(name)}): the function must not be async; tests may be`);
      } finally {
        suite = before;
      }
    };
    made.each = each(made);
    return made;
  }

  const describe = makeDescribe({});
  describe.only = makeDescribe({ only: true });
  describe.skip = makeDescribe({ skip: true });

  const hook = (kind) => (fn) => {
    if (typeof fn !== 'function') throw new TypeError(`${kind}: expected a function`);
    suite[kind].push(fn);
  };
  const beforeAll = hook('beforeAll');
  const beforeEach = hook('beforeEach');
  const afterEach = hook('afterEach');
  const afterAll = hook('afterAll');

  const ancestors = (from) => (from === undefined ? [] : [...ancestors(from.parent), from]);
  const marked = (one, mark) => Boolean(one[mark]) || ancestors(one.suite).some((suite) => suite[mark]);

  function list() {
    const onlySome = registered.some((one) => marked(one, 'only'));
    const listed = registered.map((one) => ({
      path: [...ancestors(one.suite).map((suite) => suite.name).filter((name) => name !== ''), one.name],
      skip: marked(one, 'skip') || (onlySome && !marked(one, 'only')),
      todo: Boolean(one.todo),
      options: one.options,
    }));
    return host('test', 'listed', () => [listed]);
  }

  function told(error) {
    if (isObject(error) && typeof error.message === 'string') {
      return { name: String(error.name ?? 'Error'), message: error.message, stack: ownFrames(String(error.stack ?? '')) };
    }
    return { name: 'Error', message: `it threw ${inspect(error)}`, stack: '' };
  }

  async function perform(one) {
    const suites = ancestors(one.suite);
    const errors = [];
    try {
      for (const kind of ['beforeAll', 'beforeEach']) for (const within of suites) for (const fn of within[kind]) await fn();
      // A phone that is registered before the call is dialled is found by it.
      await one.fn();
      await settleRegistrations();
    } catch (error) {
      errors.push(error);
    }
    for (const kind of ['afterEach', 'afterAll']) {
      for (const within of [...suites].reverse()) {
        for (const fn of within[kind]) {
          try {
            await fn();
          } catch (error) {
            errors.push(error);
          }
        }
      }
    }
    errors.push(...failures.splice(0));
    const forgotten = errors.length === 0 ? [...unawaited] : [];
    for (const made of forgotten) {
      const error = new Error(`${made.said} was not awaited`);
      error.stack = made.site;
      errors.push(error);
    }
    return errors.map(told);
  }

  async function settleRegistrations() {
    for (const asked of registrations) await Promise.prototype.then.call(asked, undefined, () => undefined);
  }

  function begin() {
    started = true;
    const { mode, index } = runtime.input ?? {};
    if (mode === 'list') return list();
    const one = registered[index];
    if (mode !== 'run' || one === undefined) throw new Error('lockstep:test works in `lockstep test` only');
    return perform(one).then((errors) => host('test', 'finished', () => [errors]));
  }

  // Once the test file has been evaluated.
  setTimeout(begin, 0);

  return {
    test,
    it: test,
    describe,
    beforeAll,
    beforeEach,
    afterEach,
    afterAll,
    expect,
    phone,
    network,
    http,
    tts,
    time,
    recordings,
    class4,
    driver,
    form,
    run,
    get kv() { return require('cxKV').kv; },
    get ko() { return require('cxKV').ko; },
  };
})
