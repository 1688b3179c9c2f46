// `assert`.
const { inspect, isDeepEqual } = require('./util.js');

class AssertionError extends Error {
  constructor({ message, actual, expected, operator }) {
    super(message ?? `${inspect(actual)} ${operator} ${inspect(expected)}`);
    this.name = 'AssertionError';
    this.code = 'ERR_ASSERTION';
    this.generatedMessage = message === undefined;
    Object.assign(this, { actual, expected, operator });
  }
}

function check(holds, actual, expected, operator, message) {
  if (holds) return;
  throw message instanceof Error ? message : new AssertionError({ message, actual, expected, operator });
}

function assert(value, message) {
  check(Boolean(value), value, true, '==', message);
}

// Whether what was thrown is what was expected: a class, a pattern, a test, or an object of properties.
function fits(error, expected) {
  if (expected === undefined) return true;
  if (expected instanceof RegExp) return expected.test(String(error));
  if (typeof expected !== 'function') {
    return Object.entries(expected).every(([key, value]) => (value instanceof RegExp ? value.test(error?.[key]) : isDeepEqual(error?.[key], value)));
  }
  if (expected.prototype !== undefined && error instanceof expected) return true;
  return !(expected === Error || expected.prototype instanceof Error) && expected.call({}, error) === true;
}

function thrown(error, expected, message) {
  if (typeof expected === 'string') [expected, message] = [undefined, expected];
  if (!fits(error, expected)) throw error;
  return message;
}

const loose = {
  equal: (a, b, message) => check(a == b || (a !== a && b !== b), a, b, '==', message), // eslint-disable-line eqeqeq
  notEqual: (a, b, message) => check(a != b, a, b, '!=', message), // eslint-disable-line eqeqeq
  deepEqual: (a, b, message) => check(isDeepEqual(a, b, true), a, b, 'deepEqual', message),
  notDeepEqual: (a, b, message) => check(!isDeepEqual(a, b, true), a, b, 'notDeepEqual', message),
};

const strict = {
  strictEqual: (a, b, message) => check(Object.is(a, b), a, b, 'strictEqual', message),
  notStrictEqual: (a, b, message) => check(!Object.is(a, b), a, b, 'notStrictEqual', message),
  deepStrictEqual: (a, b, message) => check(isDeepEqual(a, b), a, b, 'deepStrictEqual', message),
  notDeepStrictEqual: (a, b, message) => check(!isDeepEqual(a, b), a, b, 'notDeepStrictEqual', message),
  match: (text, pattern, message) => check(pattern.test(text), text, pattern, 'match', message),
  doesNotMatch: (text, pattern, message) => check(!pattern.test(text), text, pattern, 'doesNotMatch', message),
  ok: assert,
  ifError(value) {
    if (value !== null && value !== undefined) throw value;
  },
  fail(message = 'Failed') {
    throw message instanceof Error ? message : new AssertionError({ message, operator: 'fail' });
  },
  throws(action, expected, message) {
    try {
      action();
    } catch (error) {
      thrown(error, expected, message);
      return;
    }
    check(false, undefined, expected, 'throws', message ?? 'Missing expected exception.');
  },
  doesNotThrow(action) {
    action();
  },
  async rejects(action, expected, message) {
    try {
      await (typeof action === 'function' ? action() : action);
    } catch (error) {
      thrown(error, expected, message);
      return;
    }
    check(false, undefined, expected, 'rejects', message ?? 'Missing expected rejection.');
  },
  async doesNotReject(action) {
    await (typeof action === 'function' ? action() : action);
  },
};

module.exports = Object.assign(assert, loose, strict, { AssertionError });
assert.strict = Object.assign((value, message) => assert(value, message), strict, {
  AssertionError,
  equal: strict.strictEqual,
  notEqual: strict.notStrictEqual,
  deepEqual: strict.deepStrictEqual,
  notDeepEqual: strict.notDeepStrictEqual,
});
assert.strict.strict = assert.strict;
