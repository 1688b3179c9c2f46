// `http.ClientRequest`: gathers a request and hands it to the engine when it ends. Redirects are the caller's business, as in Node.
const { Writable } = require('readable-stream');
const { Agent, Connection } = require('./agent.js');
const { IncomingMessage } = require('./incoming.js');
const { coded, networkError, unsupported } = require('../errors.js');
const { fetch } = require('lockstep:host');

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
// What the engine gives a request that names no time of its own.
const ENGINE_TIMEOUT = 60_000;

const wrong = (code, message) => Object.assign(new TypeError(message), { code });

function validateHeaderName(name) {
  if (typeof name !== 'string' || !TOKEN.test(name)) throw wrong('ERR_INVALID_HTTP_TOKEN', `Header name must be a valid HTTP token ["${name}"]`);
}

function validateHeaderValue(name, value) {
  if (value === undefined) throw wrong('ERR_HTTP_INVALID_HEADER_VALUE', `Invalid value "${value}" for header "${name}"`);
  if (/[^\t\x20-\x7e\x80-\xff]/.test(String(value))) throw wrong('ERR_INVALID_CHAR', `Invalid character in header content ["${name}"]`);
}

function check({ protocol, path, method, socketPath, rejectUnauthorized, agent }) {
  if (protocol !== 'http:' && protocol !== 'https:') throw wrong('ERR_INVALID_PROTOCOL', `Protocol "${protocol}" not supported. Expected "http:"`);
  if (/[\0-\x20]/.test(path)) throw wrong('ERR_UNESCAPED_CHARACTERS', 'Request path contains unescaped characters');
  if (!TOKEN.test(method)) throw wrong('ERR_INVALID_HTTP_TOKEN', `Method must be a valid HTTP token ["${method}"]`);
  if (String(method).toUpperCase() === 'CONNECT') throw unsupported('a tunnel through a proxy (CONNECT)');
  if (socketPath) throw unsupported('a local socket');
  if (rejectUnauthorized === false || agent?.options?.rejectUnauthorized === false) {
    throw unsupported('TLS without checking the certificate (rejectUnauthorized: false)');
  }
  // Sent all the same, it would go past the proxy or tunnel that the agent stands for.
  if (agent && !(agent instanceof Agent)) throw unsupported('an HTTP agent that makes its own connections, such as a proxy agent');
}

class ClientRequest extends Writable {
  #headers = new Map();
  #chunks = [];
  #stop = new AbortController();
  constructor(options, listener) {
    super({ autoDestroy: false, emitClose: true, decodeStrings: true });
    const { protocol, agent, defaultAgent, method = 'GET', path = '/', headers, auth, timeout, signal, setHost = true } = options;
    check({ ...options, method, path });
    const port = Number(options.port || options.defaultPort);
    Object.assign(this, {
      protocol,
      method: String(method).toUpperCase(),
      path,
      host: String(options.hostname || options.host || 'localhost'),
      port,
      agent: agent === false ? undefined : agent ?? defaultAgent,
      res: null, aborted: false, socket: null, connection: null, reusedSocket: false, maxHeadersCount: null, shouldKeepAlive: true,
      // What agents that meddle with a request look at.
      _header: null, _headerSent: false, outputData: [], outputSize: 0,
    });
    if (Array.isArray(headers)) {
      const pairs = Array.isArray(headers[0]) ? headers : headers.flatMap((name, at) => (at % 2 === 0 ? [[name, headers[at + 1]]] : []));
      for (const [name, value] of pairs) this.appendHeader(name, value);
    } else {
      for (const [name, value] of Object.entries(headers ?? {})) if (value !== undefined) this.setHeader(name, value);
    }
    const literal = this.host.includes(':') && !this.host.startsWith('[') ? `[${this.host}]` : this.host;
    this.authority = port === (protocol === 'https:' ? 443 : 80) ? literal : `${literal}:${port}`;
    if (setHost && !this.hasHeader('host')) this.setHeader('Host', this.authority);
    if (auth && !this.hasHeader('authorization')) this.setHeader('Authorization', `Basic ${Buffer.from(auth).toString('base64')}`);
    if (listener !== undefined) this.once('response', listener);
    if (timeout > 0) this.setTimeout(timeout);
    if (signal) this.#follow(signal);
    const target = { ...options, host: this.host, port, path };
    if (this.agent === undefined) this.onSocket(new Connection(target));
    else this.agent.addRequest(this, target);
  }

  #follow(signal) {
    const stop = () => this.destroy(coded('ABORT_ERR', 'The operation was aborted', { name: 'AbortError', cause: signal.reason }));
    if (signal.aborted) process.nextTick(stop);
    else signal.addEventListener('abort', stop, { once: true });
  }

  onSocket(socket, error) {
    process.nextTick(() => {
      if (error) this.destroy(error);
      if (this.destroyed) return;
      this.socket = this.connection = socket;
      socket.request = this;
      socket.on('timeout', () => this.emit('timeout'));
      if (this.timeout > 0) socket.setTimeout(this.timeout);
      this.emit('socket', socket);
      socket.emit('connect');
      if (socket.encrypted) socket.emit('secureConnect');
    });
  }

  setHeader(name, value) {
    if (this._headerSent) throw coded('ERR_HTTP_HEADERS_SENT', 'Cannot set headers after they are sent to the client');
    validateHeaderName(name);
    for (const one of [value].flat()) validateHeaderValue(name, one);
    this.#headers.set(name.toLowerCase(), [name, value]);
    return this;
  }
  setHeaders(headers) {
    for (const [name, value] of headers) this.setHeader(name, value);
    return this;
  }
  appendHeader(name, value) {
    const before = this.getHeader(name);
    return this.setHeader(name, before === undefined ? value : [before, value].flat());
  }
  getHeader(name) {
    return this.#headers.get(String(name).toLowerCase())?.[1];
  }
  getHeaders() {
    return Object.fromEntries([...this.#headers].map(([name, [, value]]) => [name, value]));
  }
  getHeaderNames() {
    return [...this.#headers.keys()];
  }
  getRawHeaderNames() {
    return [...this.#headers.values()].map(([name]) => name);
  }
  hasHeader(name) {
    return this.#headers.has(String(name).toLowerCase());
  }
  removeHeader(name) {
    this.#headers.delete(String(name).toLowerCase());
  }
  flushHeaders() {}
  get headersSent() {
    return this._headerSent;
  }
  get finished() {
    return this.writableEnded;
  }

  // Each header field as it is sent.
  #fields() {
    return [...this.#headers.values()].flatMap(([name, value]) => [value].flat().map((one) => [name, String(one)]));
  }
  // Agents add to the headers by overriding this.
  _implicitHeader() {
    this._header = `${this.method} ${this.path} HTTP/1.1\r\n${this.#fields().map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`;
  }
  _onPendingData() {}

  _write(chunk, encoding, callback) {
    this.#chunks.push(chunk);
    callback();
  }
  _final(callback) {
    callback();
    // After what the caller still does in this turn: listeners, agents, a change of mind.
    process.nextTick(() => {
      if (!this.destroyed) this.#send();
    });
  }

  #send() {
    if (this._header === null) this._implicitHeader();
    if (this.destroyed) return;
    this._headerSent = true;
    const body = this.#chunks.length === 0 ? undefined : Buffer.concat(this.#chunks).buffer;
    this.#chunks = [];
    const absolute = /^https?:\/\//i.test(this.path);
    const url = absolute ? this.path : `${this.protocol}//${this.authority}${this.path.startsWith('/') ? '' : '/'}${this.path}`;
    const request = { method: this.method, url, headers: this.#fields(), body, redirect: 'manual', signal: this.#stop.signal };
    if (this.timeout > ENGINE_TIMEOUT) request.timeout_ms = this.timeout;
    fetch(request).then((answer) => this.#respond(answer), (error) => {
      if (!this.destroyed) this.destroy(networkError(error, 'connect', { host: this.host, port: this.port }));
    });
  }

  #respond(answer) {
    if (this.destroyed) return;
    this.socket?.setTimeout(0);
    const response = new IncomingMessage(this.socket);
    response.fill(answer);
    response.req = this;
    this.res = response;
    response.once('close', () => this.destroy());
    // A response that nobody takes is thrown away.
    if (!this.emit('response', response)) response.resume();
  }

  _destroy(error, callback) {
    if (this.res === null) {
      error ??= coded('ECONNRESET', 'socket hang up');
      this.#stop.abort(error);
    } else if (!this.res.destroyed) {
      this.res.destroy(error ?? undefined);
    }
    this.socket?.destroy();
    callback(error);
  }

  abort() {
    if (this.aborted) return;
    this.aborted = true;
    process.nextTick(() => this.emit('abort'));
    this.destroy();
  }

  setTimeout(ms, listener) {
    this.timeout = ms;
    if (listener !== undefined && ms > 0) this.once('timeout', listener);
    if (this.socket !== null) this.socket.setTimeout(ms);
    return this;
  }
  setNoDelay() {}
  setSocketKeepAlive() {}
}

module.exports = { ClientRequest, validateHeaderName, validateHeaderValue };
