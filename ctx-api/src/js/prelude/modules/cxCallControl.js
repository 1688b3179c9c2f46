// Calls and registrations of the engine, seen and steered from any script.
(function (host, runtime) {
  const { text, optionalText } = runtime.part('arguments');

  function removeAt(list, index) {
    if (index >= 0) list.splice(index, 1);
  }

  // As Node's.
  class Emitter {
    #listeners = { __proto__: null };

    #add(event, listener, once) {
      if (typeof listener !== 'function') throw new TypeError(`on('${String(event)}'): expected a function`);
      (this.#listeners[event] ??= []).push({ listener, once });
      return this;
    }

    on(event, listener) {
      return this.#add(event, listener, false);
    }

    addListener(event, listener) {
      return this.on(event, listener);
    }

    once(event, listener) {
      return this.#add(event, listener, true);
    }

    off(event, listener) {
      const list = this.#listeners[event] ?? [];
      removeAt(list, list.findLastIndex((entry) => entry.listener === listener));
      return this;
    }

    removeListener(event, listener) {
      return this.off(event, listener);
    }

    emit(event, ...args) {
      const listeners = this.#listeners[event];
      if (!listeners?.length) return false;
      for (const entry of [...listeners]) {
        if (entry.once) removeAt(listeners, listeners.indexOf(entry));
        try {
          entry.listener.call(this, ...args);
        } catch (error) {
          // The script's own: it fails the run, and is nothing that happened to the call.
          Promise.reject(error);
        }
      }
      return true;
    }
  }

  function wantedCall(destination, cli, extension) {
    const label = 'C5().originate';
    if (typeof destination !== 'object' || destination === null) {
      return { to: text(label, 'destination', destination), from: optionalText(label, 'cli', cli), destination: text(label, 'extension', extension) };
    }
    const { to, from, destination: extensionOf } = destination;
    return { ...destination, to: text(label, 'to', to), from: optionalText(label, 'from', from), destination: text(label, 'destination', extensionOf) };
  }

  async function follow(emitter, args) {
    let { id, seen } = await host('telephony', 'originate', () => [wantedCall(...args)]);
    emitter.id = id;
    emitter.emit('originated', { call_id: id });
    for (;;) {
      const { seq, event, ...facts } = await host('telephony', 'next', () => [id, seen], undefined, { listens: true });
      seen = seq;
      if (event !== 'new' && event !== 'ended') emitter.emit(event, { call_id: id, ...facts });
      if (event === 'hangup') return;
    }
  }

  function C5() {
    return {
      originate(...args) {
        const emitter = new Emitter();
        follow(emitter, args).catch((error) => {
          if (!emitter.emit('error', error)) throw error;
        });
        return emitter;
      },
      calls: () => host('telephony', 'calls'),
      hangup: (id) => host('telephony', 'hangup', () => [text('C5().hangup', 'id', id)]),
      transfer: (id, destination) => host('telephony', 'transfer', () => [text('C5().transfer', 'id', id), text('C5().transfer', 'destination', destination)]),
    };
  }

  function C4() {
    return {
      registrations: (user) => host('telephony', 'registrations', () => [optionalText('C4().registrations', 'user', user)]),
      dialogs: () => host('telephony', 'calls'),
    };
  }

  return { C4, C5 };
})
