// `expect(value)`: what a test claims, by the names of Jest.
(function (host, runtime) {
  const { ownFrames } = runtime.part('failures');
  const { AssertionError, at, Step, unawaited } = runtime.part('test/steps');
  const inspect = (value) => runtime.part('inspect').inspect(value, 4);

  const isObject = (value) => typeof value === 'object' && value !== null;

  class Like {
    constructor(said, fits) {
      this.said = said;
      this.fits = fits;
    }
    toJSON() { return this.said; }
  }

  // As Jest means it: `undefined` members do not count unless `strict`.
  function equal(actual, wanted, strict = false, seen = []) {
    if (wanted instanceof Like) return wanted.fits(actual);
    if (Object.is(actual, wanted)) return true;
    if (!isObject(actual) || !isObject(wanted)) return false;
    if (seen.some(([one, other]) => one === actual && other === wanted)) return true;
    const within = [...seen, [actual, wanted]];
    if (Array.isArray(actual) !== Array.isArray(wanted)) return false;
    if (wanted instanceof Date) return actual instanceof Date && Object.is(actual.getTime(), wanted.getTime());
    if (wanted instanceof RegExp) return actual instanceof RegExp && String(actual) === String(wanted);
    if (wanted instanceof Error) return actual instanceof Error && actual.message === wanted.message;
    if (wanted instanceof Map || wanted instanceof Set) {
      if (actual.constructor !== wanted.constructor || actual.size !== wanted.size) return false;
      return equal([...actual], [...wanted], strict, within);
    }
    if (Array.isArray(wanted) && actual.length !== wanted.length) return false;
    if (strict && Object.getPrototypeOf(actual) !== Object.getPrototypeOf(wanted)) return false;
    const keys = (object) => Object.keys(object).filter((key) => strict || object[key] !== undefined);
    const names = new Set([...keys(actual), ...keys(wanted)]);
    return [...names].every((key) => (!strict || (key in actual && key in wanted)) && equal(actual[key], wanted[key], strict, within));
  }

  function contains(actual, wanted) {
    if (wanted instanceof Like || !isObject(wanted) || Array.isArray(wanted)) return equal(actual, wanted);
    return isObject(actual) && Object.keys(wanted).every((key) => contains(actual[key], wanted[key]));
  }

  function number(said, value) {
    if (typeof value !== 'number' && typeof value !== 'bigint') throw new TypeError(`${said}: expected a number, got ${inspect(value)}`);
    return value;
  }

  function fitsError(error, wanted) {
    const message = isObject(error) && 'message' in error ? String(error.message) : String(error);
    if (wanted === undefined) return true;
    if (wanted instanceof RegExp) return wanted.test(message);
    if (typeof wanted === 'string') return message.includes(wanted);
    if (typeof wanted === 'function') return error instanceof wanted;
    return contains(error, wanted instanceof Error ? { message: wanted.message } : wanted);
  }

  // name → (actual, ...arguments) → holds, or {holds, say}
  const MATCHERS = {
    toBe: (actual, wanted) => Object.is(actual, wanted),
    toEqual: (actual, wanted) => equal(actual, wanted),
    toStrictEqual: (actual, wanted) => equal(actual, wanted, true),
    toMatch: (actual, wanted) => {
      if (typeof actual !== 'string') throw new TypeError(`toMatch: expected a string, got ${inspect(actual)}`);
      return wanted instanceof RegExp ? new RegExp(wanted.source, wanted.flags.replace('g', '')).test(actual) : actual.includes(String(wanted));
    },
    toMatchObject: (actual, wanted) => contains(actual, wanted),
    toContain: (actual, wanted) => {
      if (typeof actual === 'string') return actual.includes(String(wanted));
      if (actual === null || actual === undefined || typeof actual[Symbol.iterator] !== 'function') throw new TypeError(`toContain: expected a string or a list, got ${inspect(actual)}`);
      return [...actual].some((member) => Object.is(member, wanted));
    },
    toContainEqual: (actual, wanted) => [...actual].some((member) => equal(member, wanted)),
    toHaveLength: (actual, wanted) => actual?.length === wanted,
    toHaveProperty: (actual, path, ...wanted) => {
      const found = at(actual, path);
      return wanted.length === 0 ? found !== undefined : equal(found, wanted[0]);
    },
    toBeLessThan: (actual, wanted) => number('toBeLessThan', actual) < number('toBeLessThan', wanted),
    toBeLessThanOrEqual: (actual, wanted) => number('toBeLessThanOrEqual', actual) <= number('toBeLessThanOrEqual', wanted),
    toBeGreaterThan: (actual, wanted) => number('toBeGreaterThan', actual) > number('toBeGreaterThan', wanted),
    toBeGreaterThanOrEqual: (actual, wanted) => number('toBeGreaterThanOrEqual', actual) >= number('toBeGreaterThanOrEqual', wanted),
    toBeCloseTo: (actual, wanted, digits = 2) => Math.abs(number('toBeCloseTo', actual) - number('toBeCloseTo', wanted)) < 0.5 * 10 ** -digits,
    toBeTruthy: (actual) => Boolean(actual),
    toBeFalsy: (actual) => !actual,
    toBeNull: (actual) => actual === null,
    toBeUndefined: (actual) => actual === undefined,
    toBeDefined: (actual) => actual !== undefined,
    toBeNaN: (actual) => Number.isNaN(actual),
    toBeInstanceOf: (actual, wanted) => actual instanceof wanted,
    toThrow: (actual, wanted) => {
      if (typeof actual !== 'function') throw new TypeError(`toThrow: expected a function to call, got ${inspect(actual)}; for a promise: await expect(promise).rejects.toThrow(…)`);
      try {
        const value = actual();
        return { holds: false, say: `it returned ${inspect(value)}` };
      } catch (error) {
        return { holds: fitsError(error, wanted), say: `it threw ${inspect(error)}` };
      }
    },
  };

  function expectation(actual, negated, site) {
    const made = {};
    for (const [name, matcher] of Object.entries(MATCHERS)) {
      made[name] = (...args) => check(name, matcher, actual, args, negated);
    }
    if (!negated) Object.defineProperty(made, 'not', { get: () => expectation(actual, true, site) });
    const settled = (wantsRejection) => {
      const later = {};
      const methods = (isNegated) => Object.fromEntries(Object.entries(MATCHERS).map(([name, matcher]) => [name, (...args) => {
        const where = ownFrames(runtime.callSite());
        const made = new Step((resolve, reject) => {
          outcome(actual, wantsRejection).then((value) => {
            const asThrown = wantsRejection && name === 'toThrow';
            const test = asThrown ? (error, wanted) => ({ holds: fitsError(error, wanted), say: `it rejected with ${inspect(error)}` }) : matcher;
            check(name, test, value, args, isNegated);
            resolve();
          }).catch((error) => {
            if (isObject(error)) Object.defineProperty(error, 'stack', { value: where, configurable: true, writable: true });
            reject(error);
          });
        });
        made.said = `expect(…).${wantsRejection ? 'rejects' : 'resolves'}.${name}()`;
        made.site = where;
        unawaited.add(made);
        return made;
      }]));
      Object.assign(later, methods(negated));
      later.not = methods(!negated);
      return later;
    };
    Object.defineProperty(made, 'resolves', { get: () => settled(false) });
    Object.defineProperty(made, 'rejects', { get: () => settled(true) });
    return made;
  }

  async function outcome(promise, wantsRejection) {
    if (!isObject(promise) || typeof promise.then !== 'function') throw new TypeError(`expect(…).${wantsRejection ? 'rejects' : 'resolves'}: expected a promise, got ${inspect(promise)}`);
    let value;
    try {
      value = await promise;
    } catch (error) {
      if (wantsRejection) return error;
      throw new AssertionError(`expected the promise to resolve; it rejected with ${inspect(error)}`);
    }
    if (wantsRejection) throw new AssertionError(`expected the promise to reject; it resolved with ${inspect(value)}`);
    return value;
  }

  function check(name, matcher, actual, args, negated) {
    if (isObject(actual) && typeof actual.then === 'function') {
      throw new TypeError(`expect(…).${name}: got a promise; await it, or use expect(…).resolves.${name}(…)`);
    }
    const verdict = matcher(actual, ...args);
    const { holds, say } = typeof verdict === 'object' ? verdict : { holds: verdict };
    if (holds !== negated) return;
    const wanted = args.map((arg) => (arg instanceof Like ? arg.said : inspect(arg))).join(', ');
    const lines = [`expect(${inspect(actual)})${negated ? '.not' : ''}.${name}(${wanted})`];
    if (say !== undefined) lines.push(`  ${say}`);
    else if (args.length > 0) lines.push(`  expected: ${negated ? 'not ' : ''}${wanted}`, `  received: ${inspect(actual)}`);
    const error = new AssertionError(lines.join('\n'));
    Object.defineProperty(error, 'stack', { value: ownFrames(runtime.callSite()), configurable: true, writable: true });
    throw error;
  }

  const expect = (...args) => {
    if (args.length === 0) throw new TypeError('expect: expected a value');
    return expectation(args[0], false);
  };
  const TYPES = new Map([[String, 'string'], [Number, 'number'], [Boolean, 'boolean'], [Function, 'function'], [Object, 'object']]);
  expect.anything = () => new Like('anything', (value) => value !== null && value !== undefined);
  expect.any = (type) => new Like(`any ${type.name}`, (value) => (TYPES.has(type) ? typeof value === TYPES.get(type) : value instanceof type));
  expect.objectContaining = (wanted) => new Like(`an object with ${inspect(wanted)}`, (value) => contains(value, wanted));
  expect.arrayContaining = (wanted) => new Like(`a list with ${inspect(wanted)}`, (value) => Array.isArray(value) && wanted.every((member) => value.some((own) => equal(own, member))));
  expect.stringContaining = (wanted) => new Like(`a string with ${inspect(wanted)}`, (value) => typeof value === 'string' && value.includes(wanted));
  expect.stringMatching = (wanted) => new Like(`a string like ${inspect(wanted)}`, (value) => typeof value === 'string' && new RegExp(wanted).test(value));

  return { expect };
})
