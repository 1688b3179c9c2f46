// `http.Agent`. Connections are the engine's and shared there; an agent is where packages hook into a request.
const EventEmitter = require('events/');

function Agent(options = {}) {
  if (!(this instanceof Agent)) return new Agent(options);
  EventEmitter.call(this);
  this.options = { path: null, ...options };
  this.requests = {};
  this.sockets = {};
  this.freeSockets = {};
  this.keepAlive = options.keepAlive ?? false;
  this.keepAliveMsecs = options.keepAliveMsecs ?? 1000;
  this.maxSockets = options.maxSockets ?? Infinity;
  this.maxFreeSockets = options.maxFreeSockets ?? 256;
  this.defaultPort = 80;
  this.protocol = 'http:';
}
Object.setPrototypeOf(Agent, EventEmitter);
Agent.defaultMaxSockets = Infinity;
Agent.prototype = Object.assign(Object.create(EventEmitter.prototype, { constructor: { value: Agent, writable: true, configurable: true } }), {
  addRequest(request, options) {
    request.onSocket(new Connection(options));
  },
  getName: ({ host = 'localhost', port = '', localAddress = '' } = {}) => `${host}:${port}:${localAddress}`,
  destroy() {},
});

// What stands for the socket of a request: time-outs and errors go through it.
class Connection extends EventEmitter {
  constructor({ protocol, host, port } = {}) {
    super();
    this.encrypted = protocol === 'https:';
    this.authorized = this.encrypted;
    this.connecting = false;
    this.destroyed = false;
    this.readable = true;
    this.writable = true;
    this.remotePort = port;
    this.host = host;
  }
  setTimeout(ms, listener) {
    clearTimeout(this.timer);
    if (listener !== undefined && ms > 0) this.once('timeout', listener);
    if (ms > 0) this.timer = setTimeout(() => this.emit('timeout'), ms);
    return this;
  }
  setKeepAlive() {
    return this;
  }
  setNoDelay() {
    return this;
  }
  ref() {
    return this;
  }
  unref() {
    return this;
  }
  address() {
    return {};
  }
  end() {
    this.destroy();
  }
  destroy(error) {
    if (this.destroyed) return this;
    this.destroyed = true;
    clearTimeout(this.timer);
    this.request?.destroy(error);
    this.emit('close', Boolean(error));
    return this;
  }
}

module.exports = { Agent, Connection };
