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

  // The WebSocket of this run, as scripts see it.
  function socket() {
    const listeners = { __proto__: null };
    let closed;
    let end;
    const over = new Promise((resolve) => { end = resolve; });

    function on(event, listener) {
      if (typeof listener !== 'function') throw new TypeError('ws.on: the listener must be a function');
      // What `ws` of npm calls a message has always been `data` here.
      (listeners[event === 'message' ? 'data' : String(event)] ??= []).push(listener);
      return ws;
    }

    async function emit(event, ...args) {
      for (const listener of [...(listeners[event] ?? [])]) await listener.call(ws, ...args);
    }

    function send(message) {
      if (message instanceof ArrayBuffer || ArrayBuffer.isView(message)) return callHost('channel', 'send', [], message);
      const text = typeof message === 'string' ? message : JSON.stringify(message);
      if (text === undefined) throw new TypeError(`ws.send: the message must be text, bytes or JSON, got ${typeof message}`);
      return callHost('channel', 'send', [text]);
    }

    // Hands messages over in their order, until either side has closed.
    async function serve() {
      while (closed === undefined) {
        const next = await callHost('channel', 'next', [], undefined, { listens: true });
        const message = next.body === undefined ? next : { type: 'binary', data: Buffer.from(next.body) };
        if (message.type === 'close') closed = { code: message.code, reason: message.reason };
        else await emit('data', message.data);
      }
      await emit('close', closed.code, closed.reason);
      end(closed);
    }

    const ws = {
      on,
      addListener: on,
      send,
      close: (code, reason) => callHost('channel', 'close', [code, reason]),
      waitForClose: () => over,
    };
    return { ws, serve };
  }

  return {
    // Old: `main(_, ws)`; new: an exported `onData(data)`. It stays open until either side closes.
    websocket(find) {
      const [main, onData] = ['main', 'onData'].map(onOwner(find));
      if (main === undefined && onData === undefined) throw runtime.part('failures').lacking(`${host.entry} serves no WebSocket: it exports neither onData nor main`);
      return async (data) => {
        const { ws, serve } = socket();
        runtime.socket = ws;
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
        let last;
        if (onMessage !== undefined) {
          const { subscribe } = runtime.builtIn('cxPubSub');
          last = Promise.resolve();
          subscribe(`worker:${host.env().SCRIPTFORGE_NAME}`, (message) => {
            last = last.then(() => onMessage(message)).catch(host.fail);
          });
        }
        await main?.(data);
        // It stays until it is stopped: timers and subscriptions go on.
        return new Promise(() => {});
      };
    },
  };
})
