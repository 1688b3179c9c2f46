// Calls and registrations of the engine, seen and steered from any script.
(function (host) {
  class Emitter {
    #listeners = { __proto__: null };

    on(event, listener) {
      if (typeof listener !== 'function') throw new TypeError(`on('${String(event)}'): expected a function`);
      (this.#listeners[event] ??= []).push(listener);
      return this;
    }

    once(event, listener) {
      const wrapped = (...args) => {
        this.off(event, wrapped);
        listener(...args);
      };
      return this.on(event, wrapped);
    }

    off(event, listener) {
      this.#listeners[event] = this.#listeners[event]?.filter((known) => known !== listener);
      return this;
    }

    emit(event, ...args) {
      const listeners = this.#listeners[event];
      if (!listeners?.length) return false;
      for (const listener of [...listeners]) listener(...args);
      return true;
    }
  }

  function wantedCall(destination, cli, extension) {
    const given = typeof destination === 'object' && destination !== null ? destination : { to: destination, from: cli, destination: extension };
    const from = given.from === undefined || given.from === null ? null : String(given.from);
    return { ...given, to: String(given.to), from, destination: String(given.destination) };
  }

  async function follow(emitter, wanted) {
    let { id, seen } = await host('telephony', 'originate', () => [wanted]);
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
        follow(emitter, wantedCall(...args)).catch((error) => {
          if (!emitter.emit('error', error)) throw error;
        });
        return emitter;
      },
      calls: () => host('telephony', 'calls'),
      hangup: (id) => host('telephony', 'hangup', () => [String(id)]),
      transfer: (id, destination) => host('telephony', 'transfer', () => [String(id), String(destination)]),
    };
  }

  function C4() {
    return {
      registrations: (user) => host('telephony', 'registrations', () => [user === undefined || user === null ? null : String(user)]),
      dialogs: () => host('telephony', 'calls'),
    };
  }

  return { C4, C5 };
})
