// Makes a context fit to serve many runs of one script: whatever they share is frozen, and whatever a run leaves behind is swept
// out before the next one. A context that cannot be swept clean is said to be so and is thrown away.
(function (host, runtime) {
  const { dispatch, parts, part } = runtime;
  // By names of our own: the global ones go away for a moment.
  const scope = globalThis;
  const { defineProperty, deleteProperty, getOwnPropertyDescriptor, getPrototypeOf, isExtensible, ownKeys, preventExtensions, setPrototypeOf } = Reflect;

  // Parts that keep nothing of a run, with the globals they give.
  const LASTING = {
    __proto__: null,
    arguments: [],
    buffer: ['Buffer', 'atob', 'btoa'],
    clone: ['structuredClone'],
    crypto: ['crypto'],
    failures: [],
    inspect: [],
    text: ['TextDecoder', 'TextEncoder'],
    time: ['Date', 'performance'],
    url: ['URL', 'URLSearchParams'],
    warm: [],
  };
  // Parts that do, and are loaded anew by each run that names them.
  const RENEWED = { __proto__: null, abort: true, api: true, console: true, env: true, fetch: true, globals: true, locale: true, ops: true, timers: true };

  const { freeze } = Object;
  const { call } = Function.prototype;

  // Objects of the data are made when they are touched, and QuickJS would not touch what it makes inextensible.
  for (const [holder, name] of [[Object, 'freeze'], [Object, 'preventExtensions'], [Object, 'seal'], [Reflect, 'preventExtensions']]) {
    const native = holder[name];
    const touching = {
      [name](object) {
        host.touch(object);
        return native(object);
      },
    };
    defineProperty(holder, name, { value: touching[name], writable: true, configurable: true });
  }

  // QuickJS keeps these two per context: a function of one run would be called, and seen, by the next.
  for (const name of ['prepareStackTrace', 'stackTraceLimit']) {
    defineProperty(Error, name, { get: () => undefined, set() {}, configurable: true });
  }

  // ---- what is shared ------------------------------------------------------------------------------------------

  // Built-ins that are added when they are named: they are to be there before the rest is moved.
  void [Map, Proxy, Uint8Array];
  // Between the global object, which is each run's own, and what comes into being when it is named.
  const globals = { __proto__: getPrototypeOf(scope) };
  for (const key of ownKeys(scope)) {
    const descriptor = getOwnPropertyDescriptor(scope, key);
    if (!descriptor.configurable) continue;
    defineProperty(globals, key, descriptor);
    deleteProperty(scope, key);
  }
  setPrototypeOf(scope, globals);
  for (const name in LASTING) {
    if (name === 'warm') continue;
    const made = part(name);
    for (const key of LASTING[name]) defineProperty(globals, key, { value: made[key], writable: true, configurable: true });
  }
  const own = ownKeys(scope);

  // Where a frozen property would keep scripts from giving an object of theirs a property of the same name, an accessor does not.
  // What it gives is shared all the same.
  const behind = [];
  function letObjectsDiffer(holder, keys) {
    for (const key of keys) {
      const descriptor = getOwnPropertyDescriptor(holder, key);
      // One that was never writable keeps them from it in every context.
      if (!descriptor?.configurable || !descriptor.writable) continue;
      const { value, enumerable } = descriptor;
      behind.push(value);
      defineProperty(holder, key, {
        configurable: true,
        enumerable,
        get: () => value,
        set(other) {
          if (this === holder) throw new TypeError(`'${String(key)}' is shared by all runs and cannot be changed`);
          if (typeof this !== 'object' && typeof this !== 'function') return;
          defineProperty(this, key, { value: other, writable: true, enumerable: true, configurable: true });
        },
      });
    }
  }

  const errors = [Error, AggregateError, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError];
  for (const { prototype } of errors) letObjectsDiffer(prototype, ownKeys(prototype));
  letObjectsDiffer(Object.prototype, ownKeys(Object.prototype));
  letObjectsDiffer(Function.prototype, ['apply', 'bind', 'call', 'constructor', 'toString']);
  for (const { prototype } of [Array, Boolean, Date, Map, Number, Promise, RegExp, Set, String]) {
    letObjectsDiffer(prototype, ['constructor', 'toJSON', 'toLocaleString', 'toString', 'valueOf']);
  }

  // Sloppy assignments to names that nobody has declared.
  letObjectsDiffer(globals, host.assignedFunctions);

  // What this script's text may assign, and so give to objects that inherit from shared ones; `undefined`: anything. An accessor
  // takes its time, so that the others are left as they are.
  const { assigned } = host;
  const primitives = [BigInt, Boolean, Number, String, Symbol].map(({ prototype }) => prototype);
  function assignable(object) {
    const own = ownKeys(object);
    if (assigned !== undefined) return assigned.filter((key) => own.includes(key));
    // By keys that are computed it is done to lists, at times to other objects; hardly ever to classes, and never to what has none.
    return own.includes('constructor') && !primitives.includes(object) ? own.filter((key) => typeof key === 'string') : [];
  }

  // What loops call stays without accessors: of these prototypes the values may be changed, and a context in which they were is
  // thrown away.
  const hot = [Array, Map, RegExp, Set].map(({ prototype }) => prototype);
  // Holders, keys and values in turn.
  const watched = [];
  function freezeBut(object, keys) {
    for (const key of ownKeys(object)) {
      const { value, writable, configurable } = getOwnPropertyDescriptor(object, key);
      const isWatched = configurable && writable && keys.includes(key);
      if (isWatched) watched.push(object, key, value);
      defineProperty(object, key, writable && !isWatched ? { configurable: false, writable: false } : { configurable: false });
    }
    preventExtensions(object);
  }

  function freezeAll(roots) {
    const seen = new Set([scope]);
    const left = [...roots];
    while (left.length > 0) {
      const object = left.pop();
      if ((typeof object !== 'object' && typeof object !== 'function') || object === null || seen.has(object)) continue;
      seen.add(object);
      left.push(getPrototypeOf(object));
      const keys = assignable(object);
      if (!hot.includes(object)) letObjectsDiffer(object, keys);
      while (behind.length > 0) left.push(behind.pop());
      for (const key of ownKeys(object)) {
        const { value, get, set } = getOwnPropertyDescriptor(object, key);
        left.push(value, get, set);
      }
      if (hot.includes(object)) freezeBut(object, keys);
      else freeze(object);
    }
  }

  function sharedByLanguage() {
    async function* asyncGenerator() {}
    function* generator() {}
    const iterator = [].values();
    return [
      asyncGenerator, asyncGenerator(), generator, generator(), async () => {}, () => {}, function () {}, class {},
      iterator, iterator.map((x) => x), Iterator.from({ next() {} }), new Map().keys(), new Set().keys(), ''[Symbol.iterator](),
      ''.matchAll(/x/g), Iterator.concat?.([]), Iterator.zip?.([[]]), Iterator.zipKeyed?.({}), Uint8Array, (function () { return arguments; })(), (function () { 'use strict'; return arguments; })(),
    ].filter((sample) => sample !== undefined).map((sample) => [getPrototypeOf(sample), sample]).flat();
  }

  // What makes the prelude's parts and modules is kept, and no script gets to see it; what it makes is each run's own.
  const factories = { __proto__: null };
  runtime.factoryOf = (kind, name) => (factories[`${kind} ${name}`] ??= host[kind](name));
  // Data is printed by whoever has read it.
  runtime.print = host.print;
  // The host looks by itself whether a run has left anything behind, but for the parts it has loaded.
  runtime.loaded = host.loaded;

  // The function around a file of the script: called anew by each run, and the same for all of them.
  const wrappers = { __proto__: null };
  runtime.wrapperOf = (file) => {
    let wrapper = wrappers[file];
    if (wrapper === undefined) {
      wrapper = host.loadClassic(file);
      // The one of `Function.prototype` is behind an accessor.
      defineProperty(wrapper, 'call', { value: call });
      Object.freeze(wrapper.prototype);
      Object.freeze(wrapper);
      wrappers[file] = wrapper;
    }
    return wrapper;
  };

  // ---- between runs --------------------------------------------------------------------------------------------

  // What parts have added to an object, or put in place of what was there, goes with them.
  function keeperOf(object) {
    const kept = { __proto__: null };
    for (const key of ownKeys(object)) kept[key] = getOwnPropertyDescriptor(object, key);
    return () => {
      for (const key of ownKeys(object)) {
        if (kept[key] === undefined) deleteProperty(object, key);
        else if (kept[key].value !== undefined && kept[key].value !== object[key]) defineProperty(object, key, kept[key]);
      }
    };
  }

  // Nothing is left of the run that has ended, after which the global object has `count` properties of its own.
  dispatch.sweep = (count) => {
    // Before anything else: what follows calls some of them.
    for (let at = 0; at < watched.length; at += 3) if (watched[at][watched[at + 1]] !== watched[at + 2]) return false;
    if (count !== own.length) {
      for (const key of ownKeys(scope)) if (!own.includes(key) && !deleteProperty(scope, key)) return false;
    }
    if (runtime.loads !== loads) {
      loads = runtime.loads;
      for (const name in parts) if (name in RENEWED) delete parts[name];
      for (const name in parts) if (!(name in LASTING)) return false;
      keepRuntime();
      keepDispatch();
    }
    return getPrototypeOf(scope) === globals && isExtensible(scope);
  };

  let { loads } = runtime;
  const [keepRuntime, keepDispatch] = [keeperOf(runtime), keeperOf(dispatch)];
  freezeAll([globals, ...sharedByLanguage(), ...errors]);
  return { isWatched: watched.length > 0 };
})
