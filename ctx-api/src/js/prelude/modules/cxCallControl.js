// Calls and registrations of the engine, seen and steered from any script.
(function (host, runtime) {
  const { text, optionalText } = runtime.part('arguments');

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
