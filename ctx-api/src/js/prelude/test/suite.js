// Tests, suites and hooks: what a test file registers is listed, or one test of it is run, as the runner asks.
(function (host, runtime) {
  const { callHost } = runtime.part('ops');
  const { ownFrames } = runtime.part('failures');
  const { at, failures, ms, optionsOf, seedOf, unawaited } = runtime.part('test/steps');
  const { network, registrations } = runtime.part('test/phones');
  const inspect = (value) => runtime.part('inspect').inspect(value, 4);
  const isObject = (value) => typeof value === 'object' && value !== null;

  const newSuite = (name, parent, modifiers = {}) => ({ name, parent, beforeAll: [], beforeEach: [], afterEach: [], afterAll: [], ...modifiers });
  const root = newSuite('', undefined);
  let suite = root;
  let registered = [];
  let started = false;

  const TEST = ['network', 'timeout', 'seed', 'at'];

  function add(name, given, modifiers) {
    if (typeof name !== 'string' || name === '') throw new TypeError(`test: expected a name, got ${inspect(name)}`);
    if (started) throw new Error(`test(${inspect(name)}): tests are registered before the first one runs, not within one`);
    const options = given.length > 1 || typeof given[0] !== 'function' ? given[0] : {};
    const fn = given.length > 1 ? given[1] : given.find((arg) => typeof arg === 'function');
    if (typeof fn !== 'function' && !modifiers.todo) throw new TypeError(`test(${inspect(name)}): expected a function`);
    const checked = optionsOf(`test(${inspect(name)})`, options, TEST);
    if (checked.network !== undefined) checked.network = network(checked.network);
    seedOf(`test(${inspect(name)})`, checked.seed);
    if (checked.timeout !== undefined) ms(`test(${inspect(name)}): timeout`, checked.timeout);
    if (checked.at !== undefined) {
      const at = new Date(checked.at).getTime();
      if (Number.isNaN(at)) throw new TypeError(`test(${inspect(name)}): \`at\` is no date: ${inspect(checked.at)}`);
      checked.at = at;
    }
    registered.push({ name, suite, options: checked, fn, ...modifiers });
  }

  function title(name, row, index) {
    const values = Array.isArray(row) ? [...row] : [row];
    const filled = name.replace(/%[sdijop%#]/g, (mark) => {
      if (mark === '%%') return '%';
      if (mark === '%#') return String(index);
      if (values.length === 0) return mark;
      const value = values.shift();
      return mark === '%s' ? String(value) : mark === '%d' || mark === '%i' ? String(Number(value)) : mark === '%j' ? JSON.stringify(value) : inspect(value);
    });
    if (!isObject(row) || Array.isArray(row)) return filled;
    return filled.replace(/\$([A-Za-z_][\w.]*)/g, (mark, path) => { const found = at(row, path); return found === undefined ? mark : typeof found === 'string' ? found : inspect(found); });
  }

  function each(register) {
    return (rows) => {
      if (rows === undefined || rows === null || typeof rows[Symbol.iterator] !== 'function') throw new TypeError(`test.each: expected a list of rows, got ${inspect(rows)}`);
      return (name, ...given) => {
        const fn = given[given.length - 1];
        if (typeof fn !== 'function') throw new TypeError(`test.each: ${inspect(name)} has no function`);
        [...rows].forEach((row, index) => {
          const bound = () => (Array.isArray(row) ? fn(...row) : fn(row));
          register(title(String(name), row, index), ...given.slice(0, -1), bound);
        });
      };
    };
  }

  function makeTest(modifiers) {
    const made = (name, ...given) => add(name, given, modifiers);
    made.each = each(made);
    return made;
  }

  const test = makeTest({});
  test.only = makeTest({ only: true });
  test.skip = makeTest({ skip: true });
  test.todo = (name) => add(name, [], { skip: true, todo: true });

  function makeDescribe(modifiers) {
    const made = (name, fn) => {
      if (typeof fn !== 'function') throw new TypeError(`describe(${inspect(name)}): expected a function`);
      const before = suite;
      suite = newSuite(String(name), before, modifiers);
      try {
        const result = fn();
        if (isObject(result) && typeof result.then === 'function') throw new TypeError(`describe(${inspect(name)}): the function must not be async; tests may be`);
      } finally {
        suite = before;
      }
    };
    made.each = each(made);
    return made;
  }

  const describe = makeDescribe({});
  describe.only = makeDescribe({ only: true });
  describe.skip = makeDescribe({ skip: true });

  const hook = (kind) => (fn) => {
    if (typeof fn !== 'function') throw new TypeError(`${kind}: expected a function`);
    suite[kind].push(fn);
  };
  const beforeAll = hook('beforeAll');
  const beforeEach = hook('beforeEach');
  const afterEach = hook('afterEach');
  const afterAll = hook('afterAll');

  const ancestors = (from) => (from === undefined ? [] : [...ancestors(from.parent), from]);
  const marked = (one, mark) => Boolean(one[mark]) || ancestors(one.suite).some((suite) => suite[mark]);

  function list() {
    const onlySome = registered.some((one) => marked(one, 'only'));
    const listed = registered.map((one) => ({
      path: [...ancestors(one.suite).map((suite) => suite.name).filter((name) => name !== ''), one.name],
      skip: marked(one, 'skip') || (onlySome && !marked(one, 'only')),
      todo: Boolean(one.todo),
      options: one.options,
    }));
    return callHost('test', 'listed', () => [listed]);
  }

  function told(error) {
    if (isObject(error) && typeof error.message === 'string') {
      return { name: String(error.name ?? 'Error'), message: error.message, stack: ownFrames(String(error.stack ?? '')) };
    }
    return { name: 'Error', message: `it threw ${inspect(error)}`, stack: '' };
  }

  async function perform(one) {
    const suites = ancestors(one.suite);
    const errors = [];
    try {
      for (const kind of ['beforeAll', 'beforeEach']) for (const within of suites) for (const fn of within[kind]) await fn();
      // A phone that is registered before the call is dialled is found by it.
      await one.fn();
      await settleRegistrations();
    } catch (error) {
      errors.push(error);
    }
    for (const kind of ['afterEach', 'afterAll']) {
      for (const within of [...suites].reverse()) {
        for (const fn of within[kind]) {
          try {
            await fn();
          } catch (error) {
            errors.push(error);
          }
        }
      }
    }
    errors.push(...failures.splice(0));
    const forgotten = errors.length === 0 ? [...unawaited] : [];
    for (const made of forgotten) {
      const error = new Error(`${made.said} was not awaited`);
      error.stack = made.site;
      errors.push(error);
    }
    return errors.map(told);
  }

  async function settleRegistrations() {
    for (const asked of registrations) await Promise.prototype.then.call(asked, undefined, () => undefined);
  }

  function begin() {
    started = true;
    const { mode, index } = runtime.input ?? {};
    if (mode === 'list') return list();
    const one = registered[index];
    if (mode !== 'run' || one === undefined) throw new Error('lockstep:test works in `lockstep test` only');
    return perform(one).then((errors) => callHost('test', 'finished', () => [errors]));
  }

  // Once the test file has been evaluated.
  setTimeout(begin, 0);

  return { afterAll, afterEach, beforeAll, beforeEach, describe, it: test, test };
})
