// The parts of `ctx` that live wholly in the worker: listeners, waiting for digits, and the stream of events.
(function (host, runtime) {
  const { callSite, OpPromise, markPromise, isIssued, signalOf, release, LOCAL } = runtime;
  const { unawaited } = host.natives('call');
  const DEFAULT_TIMEOUT_S = 60;
  // What says that there is no condition to quit by.
  const NONE = [undefined, null, false, ''];

  // Objects and arrays, not maps and sets: most runs never name those, and then do without them.
  const listeners = { __proto__: null };
  const streams = [];
  const waiters = [];
  const EVENTS = ['dtmf', 'hangup', 'hold', 'unhold', 'speech', 'transcription', 'bridge', 'unbridge', 'transfer', 'media_timeout'];

  function listen(event, listener, once) {
    if (!EVENTS.includes(event)) throw new TypeError(`ctx.on: unknown event '${String(event)}'; events are ${EVENTS.join(', ')}`);
    if (typeof listener !== 'function') throw new TypeError('ctx.on: the listener must be a function');
    (listeners[event] ??= []).push({ listener, once });
  }

  // Whether it was there.
  function remove(list, item) {
    const index = list.indexOf(item);
    if (index >= 0) list.splice(index, 1);
    return index >= 0;
  }

  function unlisten(event, listener) {
    const list = listeners[event];
    if (list === undefined) return;
    const index = listener === undefined ? -1 : list.findLastIndex((entry) => entry.listener === listener);
    if (listener === undefined) list.length = 0;
    else if (index >= 0) list.splice(index, 1);
  }

  function emit(event) {
    for (const stream of [...streams]) stream.push(event);
    const list = listeners[event.type];
    if (list === undefined) return;
    for (const entry of [...list]) {
      if (entry.once) remove(list, entry);
      try {
        entry.listener.call(runtime.ctx, event);
      } catch (error) {
        host.fail(error);
      }
    }
  }

  function expression(name, text) {
    try {
      return new RegExp(text);
    } catch (error) {
      // `*`, `*9`: nobody means anything but the keys.
      if (/^[0-9*#]+$/.test(text)) return new RegExp(text.replaceAll('*', '\\*'));
      throw new TypeError(`ctx.waitFor: \`${name}\` is no regular expression: ${error.message}, got '${text}'`);
    }
  }

  // A condition over the digits collected so far: what it found, or a falsy value.
  function condition(name, value) {
    if (typeof value === 'function') return value;
    let pattern;
    if (typeof value === 'string' || typeof value === 'number') pattern = expression(name, String(value));
    else if (value instanceof RegExp) pattern = new RegExp(value.source, value.flags.replace(/[gy]/g, ''));
    else throw new TypeError(`ctx.waitFor: \`${name}\` must be a string, a RegExp or a function`);
    return (digits) => {
      const found = pattern.exec(digits);
      return found === null ? undefined : found[0];
    };
  }

  function timeoutMs(timeout) {
    if (timeout === undefined || timeout === null || timeout === '') return DEFAULT_TIMEOUT_S * 1000;
    const given = Number(timeout);
    if (!(given > 0)) throw new RangeError(`ctx.waitFor: \`timeout\` must be more than 0, got ${String(timeout)}`);
    // Seconds, as it always was; nobody waits a quarter of an hour for a digit.
    return given >= 1000 ? given : given * 1000;
  }

  function waitFor(match, quit, timeout, options) {
    const site = callSite();
    // Made when the wait ends, but it belongs to the line that asked for it.
    function failure(name, message, detail) {
      const { named, ownFrames } = runtime.part('failures');
      return Object.defineProperty(named(name, message, detail), 'stack', { value: ownFrames(site), writable: true, configurable: true });
    }
    let waits = false;
    const promise = new OpPromise((resolve, reject) => {
      const matches = condition('match', match);
      const quits = NONE.includes(quit) ? undefined : condition('quit', quit);
      const limit = timeoutMs(timeout);
      const signal = signalOf('waitFor', options);
      if (signal?.aborted) throw failure('AbortError', 'waitFor was aborted', { cause: signal.reason });
      if (runtime.endCause !== undefined) throw ended('the call is over');

      let digits = '';
      let timer;
      const aborted = () => settle(reject, failure('AbortError', 'waitFor was aborted', { cause: signal.reason }));
      function settle(how, value) {
        if (!remove(waiters, waiter)) return;
        if (timer !== undefined) runtime.part('timers').clearTimer(timer);
        if (signal !== undefined) release({ signal, listener: aborted });
        if (isIssued(promise)) unawaited('waitFor', site, how === reject, value);
        how(value);
      }
      function ended(message) {
        return failure('CallEnded', message, { cause: runtime.endCause });
      }
      function test(check, found) {
        const result = check(digits);
        if (typeof result?.then === 'function') {
          result.then((value) => value && found(value), (error) => settle(reject, error));
        } else if (result) {
          found(result);
        }
      }
      const waiter = {
        digit(digit) {
          digits += digit;
          try {
            test(matches, (value) => settle(resolve, value));
            if (quits !== undefined && waiters.includes(waiter)) {
              test(quits, () => settle(reject, failure('QuitError', `waitFor: '${digits}' asked to quit`)));
            }
          } catch (error) {
            settle(reject, error);
          }
        },
        ended: (message) => settle(reject, ended(message)),
      };
      signal?.addEventListener('abort', aborted);
      waiters.push(waiter);
      // What does not fit a timer is as good as never.
      if (limit <= 0x7fffffff) {
        const expire = () => settle(reject, failure('TimeoutError', `waitFor: no match within ${limit / 1000} s`));
        timer = runtime.part('timers').addTimer('waitFor', expire, limit, [], false, false);
      }
      waits = true;
    });
    // One that was refused is spoken of as any refused operation is.
    if (waits) markPromise(promise, LOCAL);
    return promise;
  }

  // Every event from the call to `events()` on, until the call is over.
  function events() {
    const queue = [];
    const takers = [];
    const stream = {
      done: runtime.endCause !== undefined,
      push(event) {
        const taker = takers.shift();
        if (taker === undefined) queue.push(event);
        else taker({ value: event, done: false });
      },
      end() {
        stream.done = true;
        remove(streams, stream);
        for (const taker of takers.splice(0)) taker({ value: undefined, done: true });
      },
    };
    if (!stream.done) streams.push(stream);
    return {
      next() {
        if (queue.length > 0) return Promise.resolve({ value: queue.shift(), done: false });
        if (stream.done) return Promise.resolve({ value: undefined, done: true });
        return new Promise((resolve) => takers.push(resolve));
      },
      return(value) {
        queue.length = 0;
        stream.end();
        return Promise.resolve({ value, done: true });
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  }

  function recording(key, started) {
    const handle = { file: started.file };
    for (const action of ['pause', 'resume', 'stop']) {
      Object.defineProperty(handle, action, { value: () => runtime.part('ops').issue(`record.${action}`, [key]) });
    }
    return handle;
  }

  runtime.heard = (event) => {
    if (event.type === 'dtmf') {
      for (const waiter of [...waiters]) waiter.digit(event.digit);
    }
    emit(event);
  };
  runtime.waitsEnd = (message) => {
    for (const waiter of [...waiters]) waiter.ended(message);
  };
  runtime.streamsEnd = () => {
    for (const stream of [...streams]) stream.end();
  };

  return { waitFor, events, listen, unlisten, recording };
})
