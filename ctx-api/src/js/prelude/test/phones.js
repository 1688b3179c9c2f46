// Phones, their calls, and the lines between them and the engine.
(function (host, runtime) {
  const { failures, ms, optionsOf, pattern, seedOf, step, tell, unawaited } = runtime.part('test/steps');
  const inspect = (value) => runtime.part('inspect').inspect(value, 4);

  function audio(said, what) {
    if (typeof what === 'string') return { source: what };
    if (what instanceof RegExp) throw new TypeError(`${said}: a pattern fits speech only: {tts: ${inspect(what)}}`);
    if (typeof what === 'object' && what !== null) {
      if ('tts' in what) return { tts: pattern(what.tts) };
      if ('tone' in what) return { tone: [what.tone].flat().join('+') };
    }
    throw new TypeError(`${said}: expected the name of a file, {tone: 440} or {tts: /text/}, got ${inspect(what)}`);
  }

  function share(name, value) {
    if (typeof value !== 'number' || !(value >= 0 && value <= 1)) throw new RangeError(`network: \`${name}\` must be a share between 0 and 1, got ${inspect(value)}`);
    return value;
  }

  const LINE = ['loss', 'delay_ms', 'jitter_ms', 'reorder', 'duplicate', 'seed'];

  function network(options = {}) {
    const given = optionsOf('network', options, LINE);
    const { loss = 0, delay_ms = 1, jitter_ms = 0, reorder = 0, duplicate = 0, seed } = given;
    return {
      loss: share('loss', loss),
      delay_ms: ms('network: delay_ms', delay_ms),
      jitter_ms: ms('network: jitter_ms', jitter_ms),
      reorder: share('reorder', reorder),
      duplicate: share('duplicate', duplicate),
      seed: seedOf('network', seed),
    };
  }

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

  return { network, phone, registrations };
})
