// `async_hooks`, as far as it can be had without following promises: a store lasts for the synchronous part of `run`.
class AsyncResource {
  constructor(type) {
    this.type = type;
  }
  runInAsyncScope(callback, self, ...args) {
    return callback.apply(self, args);
  }
  bind(callback) {
    return callback;
  }
  emitDestroy() {
    return this;
  }
  static bind(callback) {
    return callback;
  }
}

class AsyncLocalStorage {
  #store;
  getStore() {
    return this.#store;
  }
  run(store, callback, ...args) {
    const before = this.#store;
    this.#store = store;
    try {
      return callback(...args);
    } finally {
      this.#store = before;
    }
  }
  enterWith(store) {
    this.#store = store;
  }
  exit(callback, ...args) {
    return this.run(undefined, callback, ...args);
  }
  disable() {
    this.#store = undefined;
  }
}

module.exports = { AsyncResource, AsyncLocalStorage };
