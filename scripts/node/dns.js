// `dns`: what the engine's resolver says, as far as the egress policy lets a script connect there.
const { coded } = require('./errors.js');
const { isIP } = require('./net.js');
const { call } = require('lockstep:host');

async function addresses(host, family) {
  if (isIP(host) !== 0) return [{ address: host, family: isIP(host) }];
  let found;
  try {
    found = await call('net', 'lookup', [String(host)]);
  } catch (error) {
    throw coded('ENOTFOUND', `getaddrinfo ENOTFOUND ${host}`, { errno: -3008, syscall: 'getaddrinfo', hostname: host, cause: error });
  }
  const wanted = found.map((address) => ({ address, family: isIP(address) })).filter((entry) => !family || entry.family === family);
  if (wanted.length === 0) throw coded('ENOTFOUND', `getaddrinfo ENOTFOUND ${host}`, { errno: -3008, syscall: 'getaddrinfo', hostname: host });
  return wanted;
}

async function lookup(host, options) {
  const { family, all } = typeof options === 'number' ? { family: options } : options ?? {};
  const found = await addresses(host, family === 'IPv4' ? 4 : family === 'IPv6' ? 6 : family);
  return all ? found : found[0];
}

const resolve = (family) => async (host) => (await addresses(host, family)).map(({ address }) => address);

const promises = { lookup, resolve: resolve(4), resolve4: resolve(4), resolve6: resolve(6) };

function withCallback(action) {
  return (host, options, callback = options) => {
    action(host, options).then((value) => callback(null, value), (error) => callback(error));
  };
}

module.exports = {
  ADDRCONFIG: 1024,
  V4MAPPED: 2048,
  promises,
  lookup(host, options, callback = options) {
    const given = typeof options === 'function' ? undefined : options;
    lookup(host, given).then((found) => (Array.isArray(found) ? callback(null, found) : callback(null, found.address, found.family)), (error) => callback(error));
  },
  resolve: withCallback(promises.resolve4),
  resolve4: withCallback(promises.resolve4),
  resolve6: withCallback(promises.resolve6),
};
