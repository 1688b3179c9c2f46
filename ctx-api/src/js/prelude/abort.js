// `Event`, `EventTarget`, `AbortController` and `AbortSignal`, as far as scripts use them.
(function (host, { part }) {
  const CODES = {
    __proto__: null, IndexSizeError: 1, HierarchyRequestError: 3, WrongDocumentError: 4, InvalidCharacterError: 5,
    NoModificationAllowedError: 7, NotFoundError: 8, NotSupportedError: 9, InUseAttributeError: 10, InvalidStateError: 11, SyntaxError: 12,
    InvalidModificationError: 13, NamespaceError: 14, InvalidAccessError: 15, TypeMismatchError: 17, SecurityError: 18, NetworkError: 19,
    AbortError: 20, URLMismatchError: 21, QuotaExceededError: 22, TimeoutError: 23, InvalidNodeTypeError: 24, DataCloneError: 25,
  };

  class DOMException extends Error {
    #name;
    constructor(message = '', options = 'Error') {
      super(message, typeof options === 'object' && 'cause' in options ? { cause: options.cause } : undefined);
      this.#name = typeof options === 'string' ? options : options.name ?? 'Error';
    }
    get name() {
      return this.#name;
    }
    get code() {
      return CODES[this.#name] ?? 0;
    }
  }

  class Event {
    #stopped = false;
    constructor(type, { cancelable = false, bubbles = false } = {}) {
      this.type = String(type);
      this.cancelable = cancelable;
      this.bubbles = bubbles;
      this.defaultPrevented = false;
      this.target = null;
      this.currentTarget = null;
      this.timeStamp = host.now();
    }
    preventDefault() {
      if (this.cancelable) this.defaultPrevented = true;
    }
    stopPropagation() {}
    stopImmediatePropagation() {
      this.#stopped = true;
    }
    static stopped(event) {
      return #stopped in event && event.#stopped;
    }
  }
  const { stopped } = Event;
  delete Event.stopped;

  class EventTarget {
    #listeners = [];
    addEventListener(type, listener, options) {
      if (typeof listener !== 'function' && typeof listener?.handleEvent !== 'function') return;
      if (options?.signal?.aborted) return;
      if (this.#listeners.some((entry) => entry.type === type && entry.listener === listener)) return;
      const entry = { type, listener, once: options?.once === true };
      this.#listeners.push(entry);
      options?.signal?.addEventListener('abort', () => this.removeEventListener(type, listener));
    }
    removeEventListener(type, listener) {
      this.#listeners = this.#listeners.filter((entry) => entry.type !== type || entry.listener !== listener);
    }
    dispatchEvent(event) {
      event.target = this;
      event.currentTarget = this;
      const handler = this[`on${event.type}`];
      if (typeof handler === 'function') call(handler, this, event);
      for (const entry of [...this.#listeners]) {
        if (stopped(event)) break;
        if (entry.type !== event.type || !this.#listeners.includes(entry)) continue;
        if (entry.once) this.removeEventListener(entry.type, entry.listener);
        if (typeof entry.listener === 'function') call(entry.listener, this, event);
        else call(entry.listener.handleEvent, entry.listener, event);
      }
      return !event.defaultPrevented;
    }
    static listens(target, type) {
      return target.#listeners.some((entry) => entry.type === type);
    }
  }
  const { listens } = EventTarget;
  delete EventTarget.listens;

  // One listener's error does not keep the event from the others.
  function call(listener, self, event) {
    try {
      listener.call(self, event);
    } catch (error) {
      host.fail(error);
    }
  }

  const CREATE = Symbol('create');
  // How many signals were aborted so far.
  let aborts = 0;

  class AbortSignal extends EventTarget {
    #aborted = false;
    #reason = undefined;
    // Which of all it was; one that follows others has the place of the one that it followed.
    #turn = Infinity;
    #onabort = null;
    // Of one that `any` made. While nobody listens to it, it looks at them when it is asked: they would keep it as long as they live.
    #sources = [];
    #relay = undefined;
    constructor(token) {
      super();
      if (token !== CREATE) throw new TypeError('Illegal constructor');
    }
    get aborted() {
      this.#look();
      return this.#aborted;
    }
    get reason() {
      this.#look();
      return this.#reason;
    }
    get onabort() {
      return this.#onabort;
    }
    set onabort(handler) {
      this.#onabort = typeof handler === 'function' ? handler : null;
      this.#follow();
    }
    throwIfAborted() {
      if (this.aborted) throw this.#reason;
    }
    addEventListener(...args) {
      super.addEventListener(...args);
      this.#follow();
    }
    removeEventListener(...args) {
      super.removeEventListener(...args);
      this.#follow();
    }
    #look() {
      if (this.#aborted) return;
      // Several may have been since it was asked: the first of them counts.
      let first;
      for (const source of this.#sources) {
        if (source.aborted && (first === undefined || turnOf(source) < turnOf(first))) first = source;
      }
      if (first !== undefined) trigger(this, first.reason, turnOf(first));
    }
    #follow() {
      const follows = !this.#aborted && (this.#onabort !== null || listens(this, 'abort'));
      if (follows === (this.#relay !== undefined)) return;
      const relay = this.#relay ?? (() => this.#look());
      this.#relay = follows ? relay : undefined;
      for (const source of this.#sources) {
        if (follows) source.addEventListener('abort', relay);
        else source.removeEventListener('abort', relay);
      }
    }
    static abort(reason) {
      const signal = new AbortSignal(CREATE);
      trigger(signal, reason);
      return signal;
    }
    static timeout(ms) {
      const delay = Number(ms);
      if (!(delay >= 0 && delay < Infinity)) throw new RangeError(`AbortSignal.timeout: ${String(ms)} is no time`);
      const signal = new AbortSignal(CREATE);
      const expire = () => trigger(signal, new DOMException('The operation was aborted due to timeout', 'TimeoutError'));
      // What does not fit a timer is as good as never.
      if (delay <= 0x7fffffff) part('timers').addTimer('AbortSignal.timeout', expire, Math.max(delay, 1), [], false, false);
      return signal;
    }
    static any(signals) {
      const any = new AbortSignal(CREATE);
      const sources = [...signals];
      const aborted = sources.find((signal) => signal.aborted);
      if (aborted !== undefined) {
        trigger(any, aborted.reason, turnOf(aborted));
        return any;
      }
      any.#sources = sources;
      return any;
    }
    static turnOf(signal) {
      return #turn in signal ? signal.#turn : Infinity;
    }
    static trigger(signal, reason, turn = aborts++) {
      if (signal.#aborted) return;
      signal.#aborted = true;
      signal.#turn = turn;
      signal.#reason = reason === undefined ? new DOMException('This operation was aborted', 'AbortError') : reason;
      signal.dispatchEvent(new Event('abort'));
      signal.#follow();
      signal.#sources = [];
    }
  }
  const { trigger, turnOf } = AbortSignal;
  delete AbortSignal.trigger;
  delete AbortSignal.turnOf;

  class AbortController {
    #signal = new AbortSignal(CREATE);
    get signal() {
      return this.#signal;
    }
    abort(reason) {
      trigger(this.#signal, reason);
    }
  }

  return { AbortController, AbortSignal, DOMException, Event, EventTarget };
})
