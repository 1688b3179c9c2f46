// `Date` and `performance` on the script's clock, which moves only with entries.
(function (host, { part }) {
  const NativeDate = host.natives('date');
  const { now } = host;
  const { prototype } = NativeDate;
  const DAY = 86_400_000;

  // How far UTC is ahead of local time.
  const ahead = (at) => new NativeDate(at).getTimezoneOffset() * 60_000;

  // The time at which the clock shows `local`: the first of two; of a time that is left out, that by the clock before the change
  // (ECMA-262, 21.4.1.26). QuickJS takes a time within hours of the change for one on the other side of it.
  function timeOf(local) {
    const before = ahead(local - DAY);
    const after = ahead(local + DAY);
    return local + (ahead(local + before) !== before && ahead(local + after) === after ? after : before);
  }

  const NAMES_ZONE = /[T\d]\s*Z\s*$|\b(?:GMT|UTC?|[ECMP][DS]T)\b|:\d\d\S*(?:\s*[ap]m)?\s*[+-]\d\d:?\d\d\s*(?:\(.*\)\s*)?$/i;

  function parse(text) {
    text = String(text);
    const at = NativeDate.parse(text);
    // Apart from changes of the clock it is right.
    if (Number.isNaN(at) || ahead(at - 2 * DAY) === ahead(at + 2 * DAY) || NAMES_ZONE.test(text)) return at;
    if (/^\s*[+-]?\d{4,6}(-\d\d){0,2}\s*$/.test(text)) return at;
    const local = NativeDate.parse(/\dT\d/.test(text) ? `${text}Z` : `${text} GMT`);
    return Number.isNaN(local) ? at : timeOf(local);
  }

  function timeFrom(args) {
    if (args.length === 0) return [now()];
    if (args.length === 1) return typeof args[0] === 'string' ? [parse(args[0])] : args;
    return [timeOf(NativeDate.UTC(...args))];
  }

  function ScriptDate(...args) {
    if (new.target === undefined) return new NativeDate(now()).toString();
    return Reflect.construct(NativeDate, timeFrom(args), new.target);
  }
  Object.defineProperties(ScriptDate, {
    name: { value: 'Date', configurable: true },
    length: { value: 7, configurable: true },
    prototype: { value: prototype, writable: false },
    now: { value: now, writable: true, configurable: true },
    parse: { value: parse, writable: true, configurable: true },
    UTC: { value: NativeDate.UTC, writable: true, configurable: true },
  });

  const method = (name, value) => Object.defineProperty(prototype, name, { value, writable: true, configurable: true });
  method('constructor', ScriptDate);
  for (const field of ['Date', 'FullYear', 'Hours', 'Milliseconds', 'Minutes', 'Month', 'Seconds']) {
    // QuickJS's own leaves the date as it is where the result is none.
    const native = prototype[`setUTC${field}`];
    const setters = {
      [`set${field}`](...args) {
        const at = this.getTime();
        const local = new NativeDate(at - ahead(at));
        return this.setTime(timeOf(Reflect.apply(native, local, args)));
      },
      [`setUTC${field}`](...args) {
        return this.setTime(Reflect.apply(native, this, args));
      },
    };
    for (const name in setters) method(name, setters[name]);
  }
  for (const [name, made] of [['toLocaleString', 'dateTime'], ['toLocaleDateString', 'date'], ['toLocaleTimeString', 'time']]) {
    const shown = {
      [name](locales, options) {
        return part('locale')[made](this, locales, options);
      },
    };
    method(name, shown[name]);
  }

  const { startedAt } = host;
  const performance = {
    now: () => now() - startedAt(),
    get timeOrigin() {
      return startedAt();
    },
  };
  return { Date: ScriptDate, performance };
})
