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
    const given = Number(value ?? 0);
    // Also a text of one, as `process.env` has them, and an empty one.
    if (given === 0) return null;
    if (!(given > 0)) throw new RangeError(`${operation}: the time to live must be a number of seconds of 0 or more, got ${String(value)}`);
    return given;
  }

  // A value is a text; scripts that pass an object mean its JSON.
  function asText(value) {
    const given = typeof value === 'object' && value !== null ? JSON.stringify(value) : value;
    if (given === undefined || given === null || typeof given === 'symbol' || typeof given === 'function') {
      throw new TypeError(`kv.set: the value must be a string, got ${value === null ? 'null' : typeof value}`);
    }
    return String(given);
  }

  const kv = {
    get: (name) => host('kv', 'get', () => [key('kv.get', name)]),
    set: (name, value, ttl) => host('kv', 'set', () => [key('kv.set', name), asText(value), seconds('kv.set', ttl)]),
    del: (name) => host('kv', 'del', () => [key('kv.del', name)]),
  };

  // Travels as text, so that an object's keys keep their order.
  function json(value) {
    const written = JSON.stringify(value);
    if (written === undefined) throw new TypeError(`ko.set: the value cannot be written as JSON, got ${typeof value}`);
    return written;
  }

  const ko = {
    get: (name) => host('ko', 'get', () => [key('ko.get', name)]),
    set: (name, value, ttl) => host('ko', 'set', () => [key('ko.set', name), json(value), seconds('ko.set', ttl)]),
    del: (name) => host('ko', 'del', () => [key('ko.del', name)]),
  };

  function step(by) {
    const given = by === null ? NaN : Number(by);
    if (!Number.isFinite(given)) throw new TypeError(`incr: the step must be a number, got ${String(by)}`);
    return given;
  }

  const incr = (name, by = 1, expire = 0) => host('kv', 'incr', () => [key('incr', name), step(by), seconds('incr', expire)]);
  const keys = (prefix) => host('kv', 'keys', () => [String(prefix ?? '')]);
  const usage = () => host('kv', 'usage');

  return { kv, ko, incr, keys, usage };
})
