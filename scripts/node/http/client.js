// `request` and `get` of one scheme.
const { ClientRequest } = require('./request.js');
const { urlToHttpOptions } = require('../url.js');

// `(url, options, listener)`, `(options, listener)`.
function requestArguments(args) {
  const rest = [...args];
  const listener = typeof rest.at(-1) === 'function' ? rest.pop() : undefined;
  let options = {};
  if (typeof rest[0] === 'string') options = urlToHttpOptions(new URL(rest.shift()));
  else if (rest[0] instanceof URL) options = urlToHttpOptions(rest.shift());
  // Inherited ones count too: follow-redirects and its like build on prototypes.
  const given = {};
  for (const key in rest[0] ?? {}) given[key] = rest[0][key];
  return [{ ...options, ...given }, listener];
}

module.exports = function client(protocol, defaultPort, agentOf) {
  function request(...args) {
    const [options, listener] = requestArguments(args);
    const found = options.protocol ?? options.agent?.protocol ?? protocol;
    if (found !== protocol) {
      throw Object.assign(new TypeError(`Protocol "${found}" not supported. Expected "${protocol}"`), { code: 'ERR_INVALID_PROTOCOL' });
    }
    return new ClientRequest({ ...options, protocol, defaultPort, defaultAgent: agentOf() }, listener);
  }
  function get(...args) {
    const sent = request(...args);
    sent.end();
    return sent;
  }
  return { request, get };
};
