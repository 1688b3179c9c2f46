// `tls`: certificates are always checked, against the roots of the web and the host's name.
const net = require('./net.js');
const { coded, unsupported } = require('./errors.js');

class TLSSocket extends net.Socket {
  secureConnectEvent = 'secureConnect';
  constructor(socket, options = {}) {
    super(options);
    this.encrypted = true;
    this.authorized = false;
    this.authorizationError = null;
    this.once('connect', () => {
      this.authorized = true;
      this.emit('secureConnect');
    });
    if (socket !== undefined) this.#upgrade(socket, options);
  }
  connect(...args) {
    const [options, listener] = net.connectArguments(args);
    if (listener !== undefined) this.once('secureConnect', listener);
    const host = options.host ?? 'localhost';
    const name = options.servername || host;
    this.open('connectTls', [String(host), Number(options.port), String(name)], { host, port: options.port });
    return this;
  }
  // STARTTLS and its like: the plain socket hands its connection over.
  #upgrade(socket, { servername, host }) {
    const start = () => {
      const handle = socket.take();
      if (handle === undefined) {
        this.destroy(coded('ECONNRESET', 'The socket under TLS was closed'));
        return;
      }
      this.open('startTls', [handle, String(servername || host || socket.remoteAddress)], {});
    };
    this.once('close', () => socket.destroy());
    this.connecting = true;
    if (socket.connecting) socket.once('connect', start);
    else start();
  }
  getPeerCertificate() {
    return {};
  }
  getCipher() {
    return { name: 'TLS', standardName: 'TLS', version: this.getProtocol() };
  }
  getProtocol() {
    return 'TLSv1.3';
  }
  getSession() {
    return undefined;
  }
  isSessionReused() {
    return false;
  }
  setServername() {}
}

function refuseUnchecked(options) {
  if (options.rejectUnauthorized === false) throw unsupported('TLS without checking the certificate (rejectUnauthorized: false)');
}

function connect(...args) {
  const [options, listener] = net.connectArguments(args);
  const all = typeof args[1] === 'object' && args[1] !== null ? { ...options, ...args[1] } : typeof args[2] === 'object' && args[2] !== null ? { ...options, ...args[2] } : options;
  refuseUnchecked(all);
  const socket = new TLSSocket(all.socket, all);
  if (all.socket === undefined) return socket.connect(all, ...(listener === undefined ? [] : [listener]));
  if (listener !== undefined) socket.once('secureConnect', listener);
  return socket;
}

module.exports = {
  TLSSocket,
  connect,
  createSecureContext: (options = {}) => ({ context: options }),
  checkServerIdentity: () => undefined,
  createServer() {
    throw unsupported('tls.createServer');
  },
  rootCertificates: [],
  DEFAULT_MIN_VERSION: 'TLSv1.2',
  DEFAULT_MAX_VERSION: 'TLSv1.3',
};
