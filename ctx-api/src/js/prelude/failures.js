// What operations and the run itself fail with: loaded when the first one does.
(function (host, runtime) {
  function abortError(operation, signal) {
    // What fetch rejects with is fixed by the web; operations follow Node's way.
    if (operation === 'fetch') return signal.reason;
    return named('AbortError', `${operation} was aborted`, { cause: signal.reason });
  }

  function named(name, message, options) {
    const error = name === 'TypeError' ? new TypeError(message, options)
      : name === 'RangeError' ? new RangeError(message, options)
      : new Error(message, options);
    if (error.name !== name) Object.defineProperty(error, 'name', { value: name, writable: true, configurable: true });
    return error;
  }

  // The error of an operation that was issued.
  function failed(entry, name, message, place, cause) {
    let error;
    if (name === 'AbortError' && entry.signal !== undefined && entry.signal.aborted) {
      error = abortError(entry.operation, entry.signal);
    } else {
      error = named(name, message, cause === undefined ? undefined : { cause });
    }
    // The error is made when the outcome comes, but belongs to the line that asked for the operation.
    if (place !== undefined && error instanceof Error) {
      const stack = `    at ${entry.called} (${place})\n`;
      Object.defineProperty(error, 'stack', { value: stack, writable: true, configurable: true });
    }
    return error;
  }

  // A stack without the frames of the runtime: they have no file.
  function ownFrames(stack) {
    return stack.split('\n').filter((line) => !line.includes('(<null>') && !line.endsWith('(native)')).join('\n');
  }

  function refused(error) {
    if (typeof error?.stack === 'string') error.stack = ownFrames(error.stack);
    return error;
  }

  // By its code those who asked are told that there is no such thing, rather than that it failed.
  function lacking(message) {
    return Object.assign(new Error(message), { code: 'NO_FUNCTION' });
  }

  function withoutFunction(name, exported) {
    const others = exported.length > 0 ? `; it exports ${exported.join(', ')}` : '';
    return lacking(`${host.entry} has no function '${name}'${others}`);
  }

  function unprintable(error) {
    const why = typeof error === 'object' && error !== null ? error.message : String(error);
    return new TypeError(`the result cannot be written as JSON: ${why}`);
  }

  function notSynchronous(what = 'main returned a promise') {
    return new Error(`${what}, but a script of type 'script' is synchronous; make it type 'app'`);
  }

  return { abortError, lacking, withoutFunction, unprintable, notSynchronous, named, failed, ownFrames, refused };
})
