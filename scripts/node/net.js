// `net`: TCP by way of the engine, within its egress policy. Reading is asked for; nothing is pushed.
const { Duplex } = require('readable-stream');
const { coded, networkError, unsupported } = require('./errors.js');
const { call, read } = require('lockstep:host');

const V4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}$/;

function isIPv6(text) {
  try {
    return !/[^0-9a-f:.]/i.test(text) && new URL(`http://[${text}]/`).hostname !== '';
  } catch {
    return false;
  }
}

const isIPv4 = (text) => V4.test(String(text));
const isIP = (text) => (isIPv4(text) ? 4 : isIPv6(String(text)) ? 6 : 0);

// `(options, cb)`, `(port, host, cb)`, `(port, cb)`.
function connectArguments(args) {
  const rest = [...args];
  const listener = typeof rest.at(-1) === 'function' ? rest.pop() : undefined;
  const [first, host] = rest;
  const options = typeof first === 'object' && first !== null ? first : { port: first, host };
  return [options, listener];
}

class Socket extends Duplex {
  #handle;
  #timeout = 0;
  #timer;
  #reading = false;
  constructor(options = {}) {
    super({ allowHalfOpen: options.allowHalfOpen ?? false, autoDestroy: true, emitClose: false });
    this.connecting = false;
    this.bytesRead = 0;
    this.bytesWritten = 0;
    this.encrypted = false;
    this.on('end', () => {
      if (!this.allowHalfOpen) this.end();
    });
  }
  // Whose connection this is from now on: `tls` takes it over from a plain socket.
  get handle() {
    return this.#handle;
  }
  take() {
    const handle = this.#handle;
    this.#handle = undefined;
    return handle;
  }
  get pending() {
    return this.#handle === undefined;
  }
  get readyState() {
    if (this.connecting) return 'opening';
    if (this.#handle === undefined) return 'closed';
    return this.writableEnded ? 'readOnly' : this.readableEnded ? 'writeOnly' : 'open';
  }
  connect(...args) {
    const [options, listener] = connectArguments(args);
    const port = Number(options.port);
    const host = options.host ?? options.hostname ?? 'localhost';
    if (options.path !== undefined) throw unsupported('a local socket');
    if (!Number.isInteger(port) || port < 0 || port > 65535) {
      throw Object.assign(new RangeError(`Port should be >= 0 and < 65536. Received ${options.port}.`), { code: 'ERR_SOCKET_BAD_PORT' });
    }
    if (listener !== undefined) this.once(this.secureConnectEvent ?? 'connect', listener);
    if (typeof options.timeout === 'number') this.setTimeout(options.timeout);
    this.connecting = true;
    this.open('connect', [String(host), port], { host, port });
    return this;
  }
  open(operation, args, target) {
    this.connecting = true;
    this.touch();
    call('net', operation, args).then(({ handle, local, remote }) => {
      if (this.destroyed) {
        call('net', 'close', [handle]).catch(() => {});
        return;
      }
      this.#handle = handle;
      this.connecting = false;
      [this.localAddress, this.localPort] = local;
      [this.remoteAddress, this.remotePort] = remote;
      this.remoteFamily = isIPv6(remote[0]) ? 'IPv6' : 'IPv4';
      this.touch();
      this.emit('connect');
      this.emit('ready');
      if (this.#reading) this.#pull();
    }, (error) => this.destroy(networkError(error, 'connect', target)));
  }
  // Runs now, or once there is a connection.
  #connected(action, callback) {
    if (!this.connecting) {
      action();
      return;
    }
    const connected = () => {
      this.off('close', closed);
      action();
    };
    const closed = () => {
      this.off('connect', connected);
      callback(coded('ECONNRESET', 'The socket was closed before it was connected'));
    };
    this.once('connect', connected);
    this.once('close', closed);
  }
  _read() {
    this.#reading = true;
    if (this.#handle !== undefined) this.#pull();
  }
  async #pull() {
    if (!this.#reading) return;
    this.#reading = false;
    const handle = this.#handle;
    try {
      const { body } = await read(handle);
      if (this.#handle !== handle) return;
      this.touch();
      this.bytesRead += body.byteLength;
      this.push(body.byteLength === 0 ? null : Buffer.from(body));
    } catch (error) {
      if (this.#handle === handle) this.destroy(networkError(error, 'read'));
    }
  }
  _write(chunk, encoding, callback) {
    this.#connected(() => this.#send(chunk, callback), callback);
  }
  _writev(chunks, callback) {
    this.#connected(() => this.#send(Buffer.concat(chunks.map(({ chunk }) => chunk)), callback), callback);
  }
  #send(chunk, callback) {
    if (this.#handle === undefined) {
      callback(coded('EPIPE', 'This socket has been ended'));
      return;
    }
    const bytes = chunk.buffer.slice(chunk.byteOffset, chunk.byteOffset + chunk.byteLength);
    this.bytesWritten += chunk.byteLength;
    call('net', 'write', [this.#handle], bytes).then(() => {
      this.touch();
      callback();
    }, (error) => callback(networkError(error, 'write')));
  }
  _final(callback) {
    this.#connected(() => {
      if (this.#handle === undefined) callback();
      else call('net', 'end', [this.#handle]).then(() => callback(), () => callback());
    }, callback);
  }
  _destroy(error, callback) {
    clearTimeout(this.#timer);
    this.connecting = false;
    const handle = this.take();
    if (handle !== undefined) call('net', 'close', [handle]).catch(() => {});
    callback(error);
    // An error comes before the close, and both after the caller is done.
    setImmediate(() => this.emit('close', Boolean(error)));
  }
  destroySoon() {
    if (this.writable) this.end();
    if (this.writableFinished) this.destroy();
    else this.once('finish', () => this.destroy());
  }
  resetAndDestroy() {
    return this.destroy();
  }
  // Something has happened: the time-out begins anew.
  touch() {
    clearTimeout(this.#timer);
    if (this.#timeout > 0 && !this.destroyed) this.#timer = setTimeout(() => this.emit('timeout'), this.#timeout);
  }
  setTimeout(ms, listener) {
    this.#timeout = ms;
    this.timeout = ms;
    if (listener !== undefined) {
      if (ms > 0) this.once('timeout', listener);
      else this.removeListener('timeout', listener);
    }
    this.touch();
    return this;
  }
  setNoDelay() {
    return this;
  }
  setKeepAlive() {
    return this;
  }
  ref() {
    return this;
  }
  unref() {
    return this;
  }
  address() {
    return this.localAddress === undefined ? {} : { address: this.localAddress, port: this.localPort, family: isIPv6(this.localAddress) ? 'IPv6' : 'IPv4' };
  }
}

function connect(...args) {
  const [options] = connectArguments(args);
  return new Socket(options).connect(...args);
}

class Server {
  constructor() {
    throw unsupported('net.Server');
  }
}

module.exports = { Socket, Stream: Socket, Server, connect, createConnection: connect, createServer: () => new Server(), isIP, isIPv4, isIPv6, connectArguments };
