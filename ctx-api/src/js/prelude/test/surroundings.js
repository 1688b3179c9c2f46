// What surrounds the engine in a test: HTTP, speech, time; and scripts that are run outside calls.
(function (host, runtime) {
  const { ms, optionsOf, pattern, step, tell } = runtime.part('test/steps');
  const inspect = (value) => runtime.part('inspect').inspect(value, 4);

  function answerFor(said, method, url) {
    const lay = (reply, options) => {
      const given = optionsOf(said, options, ['headers', 'delay_ms', 'times']);
      tell(said, 'http', () => [{ method, url: pattern(url) }, reply, { delay_ms: given.delay_ms, times: given.times }]);
    };
    return {
      reply(status, body, options) {
        if (typeof status === 'object' && status !== null) [status, body, options] = [status.status ?? 200, status.json ?? status.body, { headers: status.headers, delay_ms: status.delay_ms, times: status.times }];
        if (!Number.isInteger(status) || status < 200 || status > 599) throw new RangeError(`http.reply: expected a status from 200 to 599, got ${inspect(status)}`);
        const headers = { ...options?.headers };
        const isText = typeof body === 'string' || body === undefined || body === null;
        const named = Object.keys(headers).some((name) => name.toLowerCase() === 'content-type');
        if (!isText && !named) headers['content-type'] = 'application/json';
        lay({ status, headers: Object.entries(headers).map(([name, value]) => [name, String(value)]), body: isText ? (body ?? '') : JSON.stringify(body) }, options);
      },
      /** The connection breaks. */
      fail(message = 'connection refused', options) { lay({ failure: String(message) }, options); },
      /** Nobody answers. */
      never(options) { lay({ nothing: true }, options); },
    };
  }

  const http = {
    /** What requests get: `http.on('https://…')`, `http.on('POST https://…')`, `http.on(/pattern/)`. */
    on(url) {
      const said = `http.on(${inspect(url)})`;
      if (url instanceof RegExp) return answerFor(said, undefined, url);
      const [, method, address] = /^(?:([A-Za-z]+)\s+)?(\S+)$/.exec(String(url)) ?? [];
      if (address === undefined || !/^https?:\/\//.test(address)) throw new TypeError(`${said}: expected an http or https URL, or a pattern`);
      return answerFor(said, method?.toUpperCase(), address);
    },
    /** Requests that scripts have made so far: {method, url, headers, body}. */
    requests() { return step('http.requests()', 'requests', []); },
  };

  const tts = {
    /** Speech fails from now on. */
    fails(message = 'no speech today') { tell('tts.fails()', 'speech', () => [String(message)]); },
    /** Speech works again. */
    works() { tell('tts.works()', 'speech', () => [null]); },
    /** Texts that were spoken so far. */
    spoken() { return step('tts.spoken()', 'spoken', []); },
  };

  /** Recordings that have ended: {file, channels, duration_ms}. */
  const recordings = () => step('recordings()', 'recordings', []);

  const time = {
    now: () => Date.now(),
    advance(time) { return step(`time.advance(${inspect(time)})`, 'advance', () => [ms('time.advance', time)]); },
  };

  // Data travels as text, in which its members keep their order.
  const runStep = (said, kind, script, fn, data = {}) =>
    step(said, 'run', () => [kind, script === undefined ? null : String(script), fn ?? null, JSON.stringify(data) ?? 'null']);

  /** Runs the Class 4 hook of a script on a routing object. */
  const class4 = (data, options) => runStep('class4()', 'hook', optionsOf('class4', options, ['script']).script, undefined, data);
  /** Calls a function of a driver. */
  const driver = (script, fn, data) => runStep(`driver(${inspect(script)}, ${inspect(fn)})`, 'driver', script, String(fn), data);
  /** Sends a form to a script. */
  const form = (script, fields) => runStep(`form(${inspect(script)})`, 'form', script, undefined, fields);
  /** Runs any exported function of a script, outside a call. */
  const run = (script, fn, data) => runStep(`run(${inspect(script)})`, 'api', script, fn === undefined ? undefined : String(fn), data);

  /** The script of a recorded call, or `script`, asks for what it asked for then: `lockstep test --from-journal` writes the file. */
  const replays = (file, options) => step(`replays(${inspect(file)})`, 'replays', () => [String(file), optionsOf('replays', options, ['script']).script ?? null]);

  return { class4, driver, form, http, recordings, replays, run, time, tts };
})
