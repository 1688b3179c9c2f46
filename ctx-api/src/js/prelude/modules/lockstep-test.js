// Tests of scripts: `lockstep:test`.
(function (host, runtime) {
  const { network, phone } = runtime.part('test/phones');
  return {
    ...runtime.part('test/suite'),
    ...runtime.part('test/expect'),
    ...runtime.part('test/surroundings'),
    network,
    phone,
    get kv() { return require('cxKV').kv; },
    get ko() { return require('cxKV').ko; },
  };
})
