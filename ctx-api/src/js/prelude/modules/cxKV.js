// Keys and values of the account, shared by all its scripts.
(function (host) {
  // Keys are text; a number or the like is taken as it prints, as scripts build keys out of what they have.
  function key(operation, value) {
    if (value === undefined || value === null || typeof value === 'object' || typeof value === 'symbol' || typeof value === 'function') {
      throw new TypeError(`${operation}: the key must be a string, got ${value === null ? 'null' : typeof value}`);
    }
    return String(value);
  }

  function seconds(operation, value) {
    if (value === undefined || value === null || value === 0) return null;
    const given = Number(value);
    if (!(given > 0)) throw new RangeError(`${operation}: the time to live must be a number of seconds of 0 or more, got ${String(value)}`);
    return given;
  }

  const kv = {
    get: (name) => host('kv', 'get', () => [key('kv.get', name)]),
    set: (name, value, ttl) => host('kv', 'set', () => [key('kv.set', name), String(value), seconds('kv.set', ttl)]),
    del: (name) => host('kv', 'del', () => [key('kv.del', name)]),
  };

  function storable(value) {
    if (JSON.stringify(value) === undefined) throw new TypeError(`ko.set: the value cannot be written as JSON, got ${typeof value}`);
    return value;
  }

  const ko = {
    get: (name) => host('kv', 'getObject', () => [key('ko.get', name)]),
    set: (name, value, ttl) => host('kv', 'setObject', () => [key('ko.set', name), storable(value), seconds('ko.set', ttl)]),
    del: (name) => host('kv', 'delObject', () => [key('ko.del', name)]),
  };

  function step(by) {
    const given = Number(by);
    if (!Number.isFinite(given)) throw new TypeError(`incr: the step must be a number, got ${String(by)}`);
    return given;
  }

  const incr = (name, by = 1, expire = 0) => host('kv', 'incr', () => [key('incr', name), step(by), seconds('incr', expire)]);
  const keys = (prefix) => host('kv', 'keys', () => [String(prefix ?? '')]);
  const usage = () => host('kv', 'usage');

  return { kv, ko, incr, keys, usage };
})
