// Evaluated for every run, before the first line of its script: modules, `main`, and the way to everything else.
// It must stay small (the bench prints what it costs): what a run may never touch belongs into a part of its own.
(function (host) {
  // Objects, not maps: most runs never name `Map`, and then do without it.
  const parts = { __proto__: null };
  let loads = 0;

  function part(name) {
    return parts[name] ?? load(name);
  }

  function load(name) {
    loads += 1;
    runtime.loaded?.();
    return (parts[name] = factory('part', name)(host, runtime));
  }

  // The function that makes a part or a module; a context that serves many runs evaluates it once.
  function factory(kind, name) {
    return runtime.factoryOf?.(kind, name) ?? host[kind](name);
  }

  // ---- modules ---------------------------------------------------------------------------------------------------

  let modules = { __proto__: null };
  // By file: gives the functions `main` and `onMessage` that the file declares.
  let mains = { __proto__: null };
  // The file that begins: the first thing it does is to hand over the way to its `main`.
  let beginning;

  // Scripts get at it, and runs may share it.
  const tellMain = Object.freeze((main) => {
    mains[beginning] = main;
  });

  function builtIn(name) {
    return modules[name] ??= name === 'cxC5Server' ? callClass(name) : factory('moduleSource', name)(callHost, runtime);
  }

  // Most runs require more modules than they call.
  function callHost(service, name, args, body, options) {
    return part('ops').callHostFrom(callHost, service, name, args, body, options);
  }

  function callClass(name) {
    const exports = part('ops').cxC5Server;
    return Object.assign(exports, { default: exports, [name]: exports });
  }

  function require(name) {
    if (host.type === 'script') throw new Error("a script of type 'script' has no require; make it type 'app'");
    const file = host.resolve(String(name));
    return exportsOf(file);
  }

  function exportsOf(file) {
    if (host.isBuiltIn(file)) return builtIn(file);
    if (host.isPackage(file)) return part('packages').load(file);
    if (host.isModule(file)) return host.requireModule(file);
    return loadClassic(file).exports;
  }

  function loadClassic(file) {
    let module = modules[file];
    if (module === undefined) {
      module = { id: file, filename: file, exports: {}, loaded: false };
      modules[file] = module;
      try {
        const run = runtime.wrapperOf?.(file) ?? host.loadClassic(file);
        beginning = file;
        run.call(module.exports, module.exports, require, module, file, '.', tellMain);
      } catch (error) {
        delete modules[file];
        throw error;
      }
      module.loaded = true;
    }
    return module;
  }

  // Only this file's own `main` or `onMessage`; one that a `let` never initialised is none.
  function ownFunction(file, name) {
    try {
      const own = mains[file](name);
      return typeof own === 'function' ? own : undefined;
    } catch {
      return undefined;
    }
  }

  // ---- the run ---------------------------------------------------------------------------------------------------

  let input;
  // What is called.
  let called;
  // `main` has returned nothing, and callbacks may still call `exit`.
  let undecided = false;
  // It returned a promise, by which it has said that it is done to whoever waits for that.
  let isSettled;
  // Whether a file of the run calls `exit` or `err`, once that has been asked.
  let exits;

  // What every object or function has is nobody's to call.
  function member(object, name) {
    const isFunction = typeof object === 'function';
    if (!isFunction && (typeof object !== 'object' || object === null)) return undefined;
    if (name in (isFunction ? Function : Object).prototype && !Object.hasOwn(object, name)) return undefined;
    const found = object[name];
    if (typeof found !== 'function') return undefined;
    runtime.owner = object;
    return found;
  }

  function classicEntry(name, file, module) {
    const { exports } = module;
    // `module.export` is a typo in so many scripts that it works.
    const misspelt = module.export;
    // Most files export nothing: there is nobody to call for what is not there.
    const otherwise = exports?.default;
    const found = member(exports, name)
      ?? (misspelt === undefined ? undefined : member(misspelt, name))
      ?? (otherwise === undefined ? undefined : member(otherwise, name));
    if (found !== undefined) return found;
    if (name !== 'main') return name === 'onMessage' ? ownFunction(file, name) : undefined;
    if (typeof exports === 'function') return exports;
    if (typeof misspelt === 'function') return misspelt;
    if (typeof otherwise === 'function') return otherwise;
    return ownFunction(file, name);
  }

  // Under this name a module hands over a `main` that it does not export.
  const OWN_MAIN = '__lockstep_main';

  function moduleEntry(namespace, name) {
    if (name === OWN_MAIN) return undefined;
    const found = member(namespace, name) ?? member(namespace.default, name);
    if (found !== undefined || name !== 'main') return found;
    return typeof namespace.default === 'function' ? namespace.default : namespace[OWN_MAIN];
  }

  // What is called: a function of the script, or what serves a WebSocket or a worker with some of them.
  function entryOf(find, file, module) {
    const name = called;
    runtime.owner = undefined;
    return name[0] === '@' ? part('served').entries[name.slice(1)]?.((wanted) => find(wanted, file, module)) : find(name, file, module);
  }

  // `data` is there when the host has read it already.
  function start(data) {
    modules = { __proto__: null };
    mains = { __proto__: null };
    undecided = false;
    exits = undefined;
    try {
      input = data === undefined ? host.input() : data;
      called = host.fn();
      if (host.hasCall) runtime.ctx = part('ops').createCtx();
      // The top level of a script may use it already.
      else if (called === '@websocket') runtime.socket = part('served').socket();
      const { entry } = host;
      if (host.isModule(entry)) {
        if (host.type === 'script') throw new Error("a script of type 'script' cannot be a module; make it type 'app'");
        const { promise, namespace } = host.startModule(entry);
        promise.then(() => run(entryOf((name) => moduleEntry(namespace, name)), namespace), host.fail);
      } else {
        const module = loadClassic(entry);
        run(entryOf(classicEntry, entry, module), module.exports);
      }
    } catch (error) {
      host.fail(error);
    }
  }

  // The `main` of a file that does nothing but declare functions: evaluating it again would make no difference.
  let lasting;

  // One run of a synchronous script in a context that it shares: what it returns. Failures are told at once. Without `name` it is
  // `main` that is called.
  function serve(data, name) {
    input = data;
    try {
      let result;
      if (name === undefined && lasting !== undefined) {
        result = lasting(data);
      } else {
        modules = { __proto__: null };
        mains = { __proto__: null };
        called = name ?? 'main';
        const { entry } = host;
        const module = loadClassic(entry);
        const main = entryOf(classicEntry, entry, module);
        const { owner } = runtime;
        if (main === undefined) result = withoutMain(module.exports);
        else result = owner === undefined ? main(data) : owner[called](data);
        if (name === undefined && owner === undefined && host.onlyDeclares) lasting = main;
      }
      if (isPromise(result)) throw part('failures').notSynchronous();
      if (isFailure(result)) throw result;
      return result === undefined ? data : result;
    } catch (error) {
      host.fail(error);
      return undefined;
    }
  }

  // A file that only sets something up is a script, too; one that has other functions was meant otherwise.
  function withoutMain(exports) {
    const exported = Object.keys(exports ?? {}).filter((name) => name !== OWN_MAIN);
    if (called !== 'main' || exported.length > 0) throw part('failures').withoutFunction(called, exported);
  }

  function isPromise(result) {
    return (typeof result === 'object' || typeof result === 'function') && result !== null && typeof result.then === 'function';
  }

  const Failure = Error;

  // An error says what went wrong, whichever way it is handed over; one that has a say in its JSON may be meant as data.
  function isFailure(result) {
    return result instanceof Failure && typeof result.toJSON !== 'function';
  }

  function run(main, exported) {
    let result;
    try {
      const { owner, ctx } = runtime;
      if (main === undefined) result = withoutMain(exported);
      // Functions of a driver call each other by `this`.
      else result = owner === undefined ? main(input, ctx) : owner[called](input, ctx);
      const later = isPromise(result);
      if (later && host.type === 'script') throw part('failures').notSynchronous();
      if (!later) {
        conclude(result, true);
        return;
      }
    } catch (error) {
      host.fail(error);
      return;
    }
    Promise.resolve(result).then((value) => conclude(value, false), host.fail);
  }

  function conclude(result, synchronous) {
    // `exit` was given a promise, and what that resolves with counts.
    if (runtime.leaving) return;
    undecided = result === undefined && host.type !== 'script' && (synchronous || !host.hasCall);
    isSettled = !synchronous && host.isAwaited();
    if (!undecided) finish(result);
  }

  // A synchronous `main` that returned nothing is written in callbacks: whatever may call one keeps it. After an async one only those
  // of operations count, where there is an `exit` to be called.
  function mayExit() {
    if (!isSettled) return runtime.busyTimers?.() || runtime.busyOperations?.();
    return runtime.busyOperations?.() && (exits ??= [host.entry, ...Object.keys(modules)].some((file) => host.namesExit(file)));
  }

  function finish(result) {
    undecided = false;
    try {
      // What a call's script returns is nobody's.
      if (host.hasCall) host.finish(undefined);
      else if (isFailure(result)) host.fail(result);
      else host.finish(json(result === undefined ? input : result));
    } catch (error) {
      host.fail(error);
    }
  }

  function json(value) {
    try {
      const text = runtime.print?.(value) ?? JSON.stringify(value);
      // To a browser a string is a page. What only JSON makes one of, a date, is told from it by the space before it.
      return typeof value !== 'string' && text?.[0] === '"' ? ` ${text}` : text;
    } catch (error) {
      throw part('failures').unprintable(error);
    }
  }

  // ---- what the worker calls -------------------------------------------------------------------------------------

  // Parts add what is theirs when they are loaded.
  const dispatch = {
    start,
    serve,
    finish,
    exportsOf,
    load: part,
    // Makes a part before anybody asks for it.
    preload(name, make) {
      parts[name] = make(host, runtime);
    },
    opIssued() {},
    // The host asks for a global when a script first names it.
    global(from, name) {
      const value = part(from)[name];
      Object.defineProperty(globalThis, name, { value, writable: true, configurable: true });
      return value;
    },
    nextDeadline: () => runtime.nextDeadline?.(),
    lingers: () => runtime.lingers?.() ?? false,
    clockSet: (by) => runtime.clockSet?.(by),
    // After the last microtask of a turn: the deadline of the next timer.
    turnEnd() {
      if (undecided && !mayExit()) finish(undefined);
      return runtime.nextDeadline?.();
    },
  };

  // What the parts share.
  const capture = Error.captureStackTrace;
  const runtime = {
    part,
    parts,
    // The object that exports what is called.
    owner: undefined,
    builtIn,
    dispatch,
    get input() {
      return input;
    },
    json,
    isFailure,
    // How many parts have been loaded.
    get loads() {
      return loads;
    },
    // Where the script stands, for operations and log lines. The host skips the frames of the runtime itself, but each takes its
    // time to be written: those from `called` on are left out.
    callSite(called) {
      const site = {};
      capture(site, called);
      return site.stack;
    },
  };

  // A script that takes stacks apart gets at no function of the runtime: V8 answers so for strict ones.
  Error.prepareStackTrace = (_, sites) => sites;
  Object.getPrototypeOf(new Error().stack[0]).getFunction = () => undefined;
  Error.prepareStackTrace = undefined;

  // As people read it.
  const localized = (name, made) => ({
    [name](...args) {
      return part('locale')[made](this.valueOf(), ...args);
    },
  })[name];
  Number.prototype.toLocaleString = localized('toLocaleString', 'number');
  Object.defineProperty(BigInt.prototype, 'toLocaleString', { value: Number.prototype.toLocaleString, writable: true, configurable: true });
  Array.prototype.toLocaleString = localized('toLocaleString', 'list');
  String.prototype.localeCompare = {
    localeCompare(other, ...how) {
      return part('locale').compare(this, other, ...how);
    },
  }.localeCompare;

  // QuickJS makes a built-in function when it is first named: those that every call uses are there in the runtime that is copied.
  const list = [];
  void [Promise.resolve, Promise.prototype.then, list.push, list.splice, list.concat, list.findLast, list.values().next, Object.setPrototypeOf];

  // Two runs of the same journal must see the same.
  Math.random = { random: () => host.random() }.random;
  globalThis.require = require;

  return dispatch;
})
