// `util`.
const { inspect: shown, format } = require('lockstep:host').inspect();
const { invalidArgument } = require('./errors.js');
const { parseArgs } = require('./parse_args.js');

const custom = Symbol.for('nodejs.util.inspect.custom');
const promisified = Symbol.for('nodejs.util.promisify.custom');

// The old form, `(value, showHidden, depth)`, still counts.
function inspect(value, options, third) {
  if (typeof value?.[custom] === 'function') {
    const own = value[custom](2, {}, inspect);
    return typeof own === 'string' ? own : shown(own);
  }
  const depth = third === undefined ? options?.depth : third;
  return depth === null || depth === Infinity ? shown(value, 100) : shown(value, depth);
}
inspect.custom = custom;
inspect.defaultOptions = {};

function promisify(original) {
  if (typeof original !== 'function') throw invalidArgument('original', 'of type function', original);
  if (original[promisified] !== undefined) return original[promisified];
  const promising = function (...args) {
    return new Promise((resolve, reject) => {
      original.call(this, ...args, (error, value) => (error ? reject(error) : resolve(value)));
    });
  };
  return Object.setPrototypeOf(promising, Object.getPrototypeOf(original));
}
promisify.custom = promisified;

function callbackify(original) {
  if (typeof original !== 'function') throw invalidArgument('original', 'of type function', original);
  return function (...args) {
    const callback = args.pop();
    original.apply(this, args).then((value) => callback(null, value), (error) => callback(error ?? new Error('rejected')));
  };
}

function inherits(constructor, parent) {
  Object.defineProperty(constructor, 'super_', { value: parent, writable: true, configurable: true });
  Object.setPrototypeOf(constructor.prototype, parent.prototype);
}

function deprecate(original, message) {
  let warned = false;
  const deprecated = function (...args) {
    if (!warned) console.debug(`deprecated: ${message}`);
    warned = true;
    return new.target === undefined ? original.apply(this, args) : Reflect.construct(original, args, new.target);
  };
  if (original.prototype !== undefined) deprecated.prototype = original.prototype;
  return Object.setPrototypeOf(deprecated, original);
}

const tag = (value) => Object.prototype.toString.call(value).slice(8, -1);
const isTyped = (value) => ArrayBuffer.isView(value) && !(value instanceof DataView);

const types = {
  isAnyArrayBuffer: (value) => value instanceof ArrayBuffer,
  isArrayBuffer: (value) => value instanceof ArrayBuffer,
  isArrayBufferView: (value) => ArrayBuffer.isView(value),
  isAsyncFunction: (value) => tag(value) === 'AsyncFunction',
  isBoxedPrimitive: (value) => ['Number', 'String', 'Boolean', 'BigInt', 'Symbol'].includes(tag(value)) && typeof value === 'object',
  isDataView: (value) => value instanceof DataView,
  isDate: (value) => value instanceof Date,
  isGeneratorFunction: (value) => tag(value) === 'GeneratorFunction',
  isGeneratorObject: (value) => tag(value) === 'Generator',
  isMap: (value) => value instanceof Map,
  isNativeError: (value) => value instanceof Error,
  isPromise: (value) => value instanceof Promise,
  isProxy: () => false,
  isRegExp: (value) => value instanceof RegExp,
  isSet: (value) => value instanceof Set,
  isSharedArrayBuffer: () => false,
  isTypedArray: isTyped,
  isUint8Array: (value) => value instanceof Uint8Array,
  isWeakMap: (value) => value instanceof WeakMap,
  isWeakSet: (value) => value instanceof WeakSet,
};

// Equality of contents, as `assert.deepStrictEqual` has it; `loose` compares primitives with ==.
function isDeepEqual(a, b, loose = false, seen = []) {
  if (Object.is(a, b)) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) {
    // eslint-disable-next-line eqeqeq
    return loose && (a == b || (a !== a && b !== b));
  }
  if (!loose && Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false;
  if (tag(a) !== tag(b) || Array.isArray(a) !== Array.isArray(b)) return false;
  if (seen.some(([x, y]) => x === a && y === b)) return true;
  const inner = [...seen, [a, b]];
  const same = (x, y) => isDeepEqual(x, y, loose, inner);
  if (a instanceof Date) {
    if (!Object.is(a.getTime(), b.getTime())) return false;
  } else if (a instanceof RegExp) {
    if (String(a) !== String(b) || a.lastIndex !== b.lastIndex) return false;
  } else if (a instanceof Error) {
    if (a.message !== b.message || a.name !== b.name) return false;
  } else if (isTyped(a)) {
    return a.length === b.length && a.every((item, index) => Object.is(item, b[index]));
  } else if (a instanceof Map) {
    if (a.size !== b.size) return false;
    for (const [key, value] of a) {
      const match = b.has(key) ? [key, b.get(key)] : [...b].find(([other]) => typeof other === 'object' && same(key, other));
      if (match === undefined || !same(value, match[1])) return false;
    }
  } else if (a instanceof Set) {
    if (a.size !== b.size) return false;
    for (const item of a) if (!b.has(item) && ![...b].some((other) => same(item, other))) return false;
  } else if (types.isBoxedPrimitive(a) && !Object.is(a.valueOf(), b.valueOf())) {
    return false;
  }
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && same(a[key], b[key]));
}

const noDebug = Object.assign(() => {}, { enabled: false });

module.exports = {
  TextDecoder,
  TextEncoder,
  callbackify,
  debug: () => noDebug,
  debuglog: () => noDebug,
  deprecate,
  format: (...args) => format(args),
  inherits,
  inspect,
  isDeepEqual,
  isDeepStrictEqual: (a, b) => isDeepEqual(a, b),
  parseArgs,
  promisify,
  stripVTControlCharacters: (text) => String(text).replace(/\u001b\[[0-9;]*[A-Za-z]/g, ''),
  toUSVString: (text) => String(text).toWellFormed(),
  types,
  // Long deprecated, and still called.
  _extend: (target, source) => Object.assign(target, source),
  isArray: Array.isArray,
  isBoolean: (value) => typeof value === 'boolean',
  isBuffer: (value) => Buffer.isBuffer(value),
  isDate: types.isDate,
  isError: types.isNativeError,
  isFunction: (value) => typeof value === 'function',
  isNull: (value) => value === null,
  isNullOrUndefined: (value) => value === null || value === undefined,
  isNumber: (value) => typeof value === 'number',
  isObject: (value) => typeof value === 'object' && value !== null,
  isPrimitive: (value) => (typeof value !== 'object' && typeof value !== 'function') || value === null,
  isRegExp: types.isRegExp,
  isString: (value) => typeof value === 'string',
  isSymbol: (value) => typeof value === 'symbol',
  isUndefined: (value) => value === undefined,
};
