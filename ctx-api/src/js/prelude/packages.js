// npm packages, and what stands in for Node's built-in modules. A package is one bundled text; its modules are evaluated when they
// are first asked for.
(function (host, runtime) {
  const { callHost, issue } = runtime.part('ops');
  const instances = { __proto__: null };

  // A connection that is read from keeps a script of callbacks alive, but not one whose function has returned.
  let reading = 0;
  const { busyOperations } = runtime;
  runtime.busyOperations = () => reading > 0 || busyOperations();

  // What the built-in modules are made of. Packages and scripts do not see it.
  const platform = {
    call: callHost,
    fetch: (request) => issue('fetch', [request], 'fetch'),
    inspect: () => runtime.part('inspect'),
    natives: host.natives,
    networkCode: (error) => runtime.part('fetch').networkCode(error),
    now: host.now,
    started: host.startedAt,
    async read(handle) {
      reading += 1;
      try {
        return await callHost('net', 'read', [handle], undefined, { listens: true });
      } finally {
        reading -= 1;
      }
    },
  };

  function instance(name) {
    let module = instances[name];
    if (module === undefined) {
      module = { exports: {} };
      instances[name] = module;
      const isNode = name === 'node';
      const require = (wanted) => (isNode && wanted === 'lockstep:host' ? platform : load(host.resolvePackage(String(wanted))));
      const process = !isNode && host.hasPackage('node') ? load('npm:node:process') : globalThis.process;
      try {
        host.loadPackage(name).call(module.exports, module.exports, require, module, process, globalThis);
      } catch (error) {
        delete instances[name];
        throw error;
      }
    }
    return module.exports;
  }

  function load(resolved) {
    if (host.type === 'worker') throw new Error("a script of type 'worker' has no packages; make it type 'app'");
    const [name, entry] = host.packageModule(resolved);
    return instance(name)[entry]();
  }

  return { load, require: (name) => load(host.resolvePackage(name)) };
})
