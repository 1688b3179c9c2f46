// Timers: they live here, and the engine knows the next deadline.
(function (host, runtime) {
  const { now } = host;

  // Sorted by deadline, then by age: the first one is the next to fire.
  const timers = [];
  let timerCount = 0;

  class Timeout {
    #timer;
    constructor(timer) {
      this.id = timer.id;
      this.#timer = timer;
    }
    // Begins anew, also where it has fired; not where it has been cleared.
    refresh() {
      const timer = this.#timer;
      if (!timer.isCleared) {
        disarm(timer.id);
        arm(timer, timer.delay);
      }
      return this;
    }
    close() {
      this.#timer.isCleared = true;
      clear(this.id);
      return this;
    }
    ref() {
      this.#timer.keepsAlive = true;
      return this;
    }
    unref() {
      this.#timer.keepsAlive = false;
      return this;
    }
    hasRef() {
      return this.#timer.keepsAlive;
    }
    [Symbol.toPrimitive]() {
      return this.id;
    }
    [Symbol.dispose]() {
      this.close();
    }
  }

  function arm(timer, delay) {
    timer.due = now() + delay;
    let index = timers.length;
    while (index > 0 && timers[index - 1].due > timer.due) index--;
    timers.splice(index, 0, timer);
  }

  function addTimer(name, callback, delay, args, repeat, keepsAlive) {
    if (typeof callback !== 'function') throw new TypeError(`${name}: the callback must be a function`);
    delay = Math.trunc(Number(delay));
    // As in Node: what does not fit a 32-bit timer is due at once.
    if (!(delay >= 1 && delay <= 0x7fffffff)) delay = name === 'setImmediate' ? 0 : 1;
    const period = repeat ? delay : undefined;
    const timer = { id: ++timerCount, callback, args, delay, period, due: 0, keepsAlive, isLate: host.hasEnded(), isCleared: false };
    arm(timer, delay);
    return new Timeout(timer);
  }

  function clearTimer(handle) {
    if (handle instanceof Timeout) handle.close();
    else if (typeof handle === 'number' || typeof handle === 'string') clear(Number(handle));
  }

  function clear(id) {
    const timer = disarm(id) ?? firing;
    if (timer?.id !== id) return;
    timer.isCleared = true;
    timer.period = undefined;
  }

  // The timer, if it was to fire.
  function disarm(id) {
    const index = timers.findIndex((timer) => timer.id === id);
    return index >= 0 ? timers.splice(index, 1)[0] : undefined;
  }

  let firing;

  // Runs the first timer that is due at `deadline`; false when there is none.
  function fire(deadline) {
    const timer = timers[0];
    if (timer === undefined || timer.due > deadline) return false;
    timers.shift();
    firing = timer;
    try {
      timer.callback(...timer.args);
    } catch (error) {
      host.fail(error);
    } finally {
      firing = undefined;
    }
    if (timer.period !== undefined) {
      disarm(timer.id);
      arm(timer, timer.period);
    }
    return true;
  }

  runtime.nextDeadline = () => (timers.length > 0 ? timers[0].due : undefined);
  runtime.clockSet = (by) => {
    for (const timer of timers) timer.due += by;
  };
  runtime.busyTimers = () => timers.some((timer) => timer.keepsAlive && (timer.period === undefined || !host.hasCall));
  // Code that runs after the end of the call waits for something.
  runtime.lingers = () => timers.some((timer) => timer.keepsAlive && timer.isLate && timer.period === undefined);
  runtime.dispatch.fire = fire;

  const set = (name, repeat) => ({
    [name](callback, delay, ...args) {
      if (host.type === 'script') throw new Error(`a script of type 'script' is synchronous and has no ${name}; make it type 'app'`);
      return addTimer(name, callback, delay, args, repeat, true);
    },
  });

  const { setTimeout } = set('setTimeout', false);
  const { setImmediate: immediate } = set('setImmediate', false);
  const setImmediate = (callback, ...args) => immediate(callback, 0, ...args);

  const clearing = (name) => ({ [name]: (handle) => clearTimer(handle) })[name];

  // What `util.promisify` makes of a function whose callback comes first.
  const promisified = Symbol.for('nodejs.util.promisify.custom');
  const promising = (start) => ({ value: start, configurable: true });
  Object.defineProperty(setTimeout, promisified, promising((delay, value) => new Promise((resolve) => setTimeout(resolve, delay, value))));
  Object.defineProperty(setImmediate, promisified, promising((value) => new Promise((resolve) => setImmediate(resolve, value))));

  return {
    addTimer,
    clearTimer,
    setTimeout,
    ...set('setInterval', true),
    setImmediate,
    clearTimeout: clearing('clearTimeout'),
    clearInterval: clearing('clearInterval'),
    clearImmediate: clearing('clearImmediate'),
  };
})
