// Jobs: runs that are written down before they begin and until they have ended.
(function (host, runtime) {
  function text(name, value) {
    if (typeof value !== 'string' && typeof value !== 'number') {
      throw new TypeError(`cxJob.add: \`${name}\` must be a string, got ${value === null ? 'null' : typeof value}`);
    }
    return String(value);
  }

  function json(operation, value) {
    const written = JSON.stringify(value === undefined ? null : value);
    if (written === undefined) throw new TypeError(`cxJob.${operation}: the value cannot be written as JSON, got ${typeof value}`);
    return written;
  }

  const USED = ['attempts', 'backoff_ms', 'delay', 'delay_ms', 'priority', 'queue', 'timeout_ms'];
  // What Bull and BullMQ have beside these.
  const UNUSED = [
    'continueParentOnFailure', 'de', 'debounce', 'deduplication', 'failParentOnFailure', 'ignoreDependencyOnFailure', 'jobId', 'keepLogs', 'lifo',
    'parent', 'parentKey', 'preventParsingData', 'prevMillis', 'rateLimiterKey', 'removeDependencyOnFailure', 'removeOnComplete', 'removeOnFail',
    'repeat', 'repeatJobKey', 'sizeLimit', 'stackTraceLimit', 'telemetry', 'timeout', 'timestamp', 'tm', 'waitChildrenKey',
  ];

  function check(options) {
    const isKnown = (name) => USED.includes(name) || UNUSED.includes(name) || options[name] === undefined;
    const unknown = Object.keys(options).find((name) => !isKnown(name));
    if (unknown !== undefined) throw new TypeError(`cxJob.add: unknown option \`${unknown}\``);
    // JSON would make nothing of them.
    const endless = USED.find((name) => typeof options[name] === 'number' && !Number.isFinite(options[name]));
    if (endless !== undefined) throw new RangeError(`cxJob.add: \`${endless}\` must be a finite number, got ${options[endless]}`);
    return options;
  }

  function named(fn) {
    if (fn === undefined || fn === null) return null;
    const name = text('fn', fn);
    if (name === '') throw new TypeError('cxJob.add: `fn` must be the name of a function, got an empty string');
    return name;
  }

  // BullMQ's back-off may be an object.
  function options(given) {
    if (given === undefined || given === null) return {};
    if (typeof given !== 'object') throw new TypeError(`cxJob.add: the options must be an object, got ${typeof given}`);
    const { backoff, ...others } = given;
    const delay = typeof backoff === 'object' && backoff !== null ? backoff.delay : backoff;
    return delay === undefined ? others : { ...others, backoff_ms: delay };
  }

  // Waited for only when somebody asks: most who add a job never do.
  class Job {
    #result;
    constructor(id) {
      this.id = id;
    }
    get result() {
      return this.#result ??= ended(this.id);
    }
    // The job as it is now; `null` once it is forgotten.
    state() {
      return host('jobs', 'get', [this.id]);
    }
  }

  async function ended(id) {
    // A run that is over does not wait for what may never come; a test is no such run, and its jobs end in its own time.
    const listens = runtime.parts['test/suite'] === undefined;
    const job = await host('jobs', 'result', [id], undefined, { listens });
    if (job.state === 'failed') throw Object.assign(new Error(job.error ?? 'the job failed'), { name: 'JobFailed', job });
    return job.result;
  }

  async function added(script, fn, data, shaped) {
    return new Job(await host('jobs', 'add', () => [text('scriptId', script), named(fn), json('add', data), shaped()]));
  }

  const cxJob = {
    add: (script, fn, data, opts) => added(script, fn, data, () => check(options(opts))),
    // Old scripts pass what they like.
    scriptForge: (script, data, opts) => added(script, null, data, () => options(opts)),
    get: (id) => host('jobs', 'get', () => [Number(id)]),
    setProgress: (progress) => host('jobs', 'setProgress', () => [json('setProgress', progress)]),
    setData: (data) => host('jobs', 'setData', () => [json('setData', data)]),
  };
  return cxJob;
})
