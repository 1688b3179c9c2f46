// `http.IncomingMessage`: a response, which has come whole.
const { Readable } = require('readable-stream');

// Of these only the first counts; all others are joined.
const SINGLE = new Set([
  'age', 'authorization', 'content-length', 'content-type', 'etag', 'expires', 'from', 'host', 'if-modified-since', 'if-unmodified-since',
  'last-modified', 'location', 'max-forwards', 'proxy-authorization', 'referer', 'retry-after', 'server', 'user-agent',
]);
const CHUNK = 64 * 1024;

function headersOf(list) {
  const headers = {};
  for (const [given, value] of list) {
    const name = given.toLowerCase();
    if (name === 'set-cookie') (headers[name] ??= []).push(value);
    else if (headers[name] === undefined) headers[name] = value;
    else if (!SINGLE.has(name)) headers[name] += `${name === 'cookie' ? '; ' : ', '}${value}`;
  }
  return headers;
}

class IncomingMessage extends Readable {
  #body = Buffer.alloc(0);
  #at = 0;
  constructor(socket) {
    super({ autoDestroy: true });
    Object.assign(this, {
      socket, connection: socket, httpVersion: '1.1', httpVersionMajor: 1, httpVersionMinor: 1, complete: false, aborted: false,
      headers: {}, rawHeaders: [], trailers: {}, rawTrailers: [], statusCode: null, statusMessage: null, method: null, url: '',
    });
  }
  fill({ status, statusText, headers, body }) {
    this.statusCode = status;
    this.statusMessage = statusText;
    this.headers = headersOf(headers);
    this.rawHeaders = headers.flat();
    this.#body = Buffer.from(body);
  }
  get headersDistinct() {
    const distinct = {};
    for (let at = 0; at < this.rawHeaders.length; at += 2) (distinct[this.rawHeaders[at].toLowerCase()] ??= []).push(this.rawHeaders[at + 1]);
    return distinct;
  }
  _read() {
    if (this.#at >= this.#body.length) {
      this.complete = true;
      this.push(null);
      return;
    }
    const chunk = this.#body.subarray(this.#at, this.#at + CHUNK);
    this.#at += chunk.length;
    this.push(chunk);
  }
  setTimeout(ms, listener) {
    this.socket?.setTimeout(ms, listener);
    return this;
  }
}

module.exports = { IncomingMessage };
