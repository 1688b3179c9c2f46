// `Date` and `performance` on the script's clock, which moves only with entries.
(function (host) {
  const NativeDate = host.natives('date');
  const { now } = host;

  function ScriptDate(...args) {
    if (new.target === undefined) return new NativeDate(now()).toString();
    return Reflect.construct(NativeDate, args.length === 0 ? [now()] : args, new.target);
  }
  Object.defineProperties(ScriptDate, {
    name: { value: 'Date', configurable: true },
    length: { value: 7, configurable: true },
    prototype: { value: NativeDate.prototype, writable: false },
    now: { value: now, writable: true, configurable: true },
    parse: { value: NativeDate.parse, writable: true, configurable: true },
    UTC: { value: NativeDate.UTC, writable: true, configurable: true },
  });
  Object.defineProperty(NativeDate.prototype, 'constructor', { value: ScriptDate, writable: true, configurable: true });

  const { startedAt } = host;
  const performance = {
    now: () => now() - startedAt(),
    get timeOrigin() {
      return startedAt();
    },
  };
  return { Date: ScriptDate, performance };
})
