// Entries that are not one call of one function: a WebSocket's and a worker's. `find` finds an exported function.
(function (host, runtime) {
  const { callHost } = runtime.part('ops');

  // Calls what `find` finds on the object that exports it.
  const onOwner = (find) => (name) => {
    const found = find(name);
    const { owner } = runtime;
    runtime.owner = undefined;
    return found !== undefined && owner !== undefined ? (...args) => owner[name](...args) : found;
  };

  // What waits for handlers before no more is read: messages, and their length.
  const MAX_WAITING = 256;
  const MAX_LENGTH = 1 << 20;
  // As `ws` of npm has them.
  const STATES = { CONNECTING: 0, OPEN: 1, CLOSING: 2, CLOSED: 3 };

  // The WebSocket of this run, as scripts see it, and what serves it.
  function socket() {
    const listeners = { __proto__: null };
    const waiting = [];
    let length = 0;
    // A close was asked for.
    let closing = false;
    let closed;
    let end;
    const over = new Promise((resolve) => { end = resolve; });
    let change = () => {};
    const changed = () => new Promise((resolve) => { change = resolve; });

    // What `ws` of npm calls a message has always been `data` here.
    const named = (event) => (event === 'message' ? 'data' : String(event));

    function add(event, listener, once) {
      if (typeof listener !== 'function') throw new TypeError('ws.on: the listener must be a function');
      (listeners[named(event)] ??= []).push({ listener, once });
      return ws;
    }

    const on = (event, listener) => add(event, listener, false);

    function off(event, listener) {
      const list = listeners[named(event)] ?? [];
      const index = list.findLastIndex((entry) => entry.listener === listener);
      if (index >= 0) list.splice(index, 1);
      return ws;
    }

    async function emit(event, ...args) {
      const list = listeners[event] ?? [];
      for (const entry of [...list]) {
        if (entry.once) {
          // Another listener may have taken it off.
          const index = list.indexOf(entry);
          if (index >= 0) list.splice(index, 1);
        }
        await entry.listener.call(ws, ...args);
      }
    }

    function transmit(message) {
      if (closing) {
        const refused = Promise.reject(runtime.part('failures').named('InvalidState', 'ws.send: the WebSocket is closed'));
        // As with `ws` of npm, only those learn of it who look.
        refused.catch(() => {});
        return refused;
      }
      if (message instanceof ArrayBuffer || ArrayBuffer.isView(message)) return callHost('channel', 'send', [], message);
      const text = typeof message === 'string' ? message : JSON.stringify(message);
      if (text === undefined) throw new TypeError(`ws.send: the message must be text, bytes or JSON, got ${typeof message}`);
      return callHost('channel', 'send', [text]);
    }

    function send(message, ...rest) {
      const callback = rest.find((arg) => typeof arg === 'function');
      const sent = transmit(message);
      if (callback !== undefined) sent.then(() => callback(), callback);
      return sent;
    }

    function close(code, reason) {
      if (closing) return Promise.resolve();
      closing = true;
      return callHost('channel', 'close', [code, reason]).catch((error) => {
        closing = false;
        throw error;
      });
    }

    // Reads on while a handler runs: it may be waiting for the close.
    async function read() {
      while (closed === undefined) {
        while (waiting.length >= MAX_WAITING || length >= MAX_LENGTH) await changed();
        const next = await callHost('channel', 'next', [], undefined, { listens: true });
        const message = next.body === undefined ? next : { type: 'binary', data: Buffer.from(next.body) };
        if (message.type === 'close') {
          closed = { code: message.code, reason: message.reason };
          end(closed);
        } else {
          length += message.data.length;
          waiting.push(message.data);
        }
        change();
      }
    }

    // Hands messages over in their order, until either side has closed.
    async function handle() {
      while (closed === undefined || waiting.length > 0) {
        if (waiting.length === 0) {
          await changed();
        } else {
          const message = waiting.shift();
          length -= message.length;
          change();
          await emit('data', message);
        }
      }
      await emit('close', closed.code, closed.reason);
    }

    const ws = {
      ...STATES,
      get readyState() {
        if (closed !== undefined) return STATES.CLOSED;
        return closing ? STATES.CLOSING : STATES.OPEN;
      },
      on,
      addListener: on,
      once: (event, listener) => add(event, listener, true),
      off,
      removeListener: off,
      send,
      close,
      terminate: () => close(),
      waitForClose: () => over,
    };
    return { ws, serve: () => Promise.all([read(), handle()]) };
  }

  // Gives a worker's messages to `onMessage`, one after another: the next one comes when it has settled.
  async function attend(onMessage) {
    let settled = null;
    for (;;) {
      const { number, payload, dropped } = await callHost('messages', 'next', [settled], undefined, { listens: true });
      if (dropped > 0) console.warn(`${dropped} messages of this worker came too fast and were dropped`);
      try {
        await onMessage(JSON.parse(payload));
      } catch (error) {
        // That is an end of it, too: the next start is not given it again.
        callHost('messages', 'settle', [number]);
        throw error;
      }
      settled = number;
    }
  }

  const entries = {
    __proto__: null,

    // Old: `main(_, ws)`; new: an exported `onData(data)`. It stays open until either side closes.
    websocket(find) {
      const [main, onData] = ['main', 'onData'].map(onOwner(find));
      if (main === undefined && onData === undefined) throw runtime.part('failures').lacking(`${host.entry} serves no WebSocket: it exports neither onData nor main`);
      return async (data) => {
        const { ws, serve } = runtime.socket;
        if (onData !== undefined) ws.on('data', (message) => onData(message, ws));
        const served = serve();
        // `main` may wait for the end of the connection, and its failure ends it.
        await Promise.all([served, onData === undefined || main !== undefined ? main?.(data, ws) : undefined]);
        return null;
      };
    },

    // `main` once, then `onMessage` for what comes, one message after another.
    worker(find) {
      const [main, onMessage] = ['main', 'onMessage'].map(onOwner(find));
      if (main === undefined && onMessage === undefined) throw runtime.part('failures').lacking(`${host.entry} is no worker: it has neither onMessage nor main`);
      return async (data) => {
        // A text of the worker before this one may have had it.
        if (onMessage === undefined) callHost('messages', 'none').catch(() => {});
        else attend(onMessage).catch(host.fail);
        await main?.(data);
        // It stays until it is stopped: timers and subscriptions go on.
        return new Promise(() => {});
      };
    },
  };

  return { entries, socket };
})
