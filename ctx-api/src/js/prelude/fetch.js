// `fetch` and its classes. The request itself is an operation of the engine; bodies are whole: a stream of one has one chunk.
(function (host, { part }) {
  const { issue } = part('ops');
  const encoder = new TextEncoder();
  const NO_BODY_STATUS = [101, 103, 204, 205, 304];
  // Octets of a body, as many as the engine takes of one that is not packed.
  const MAX_BODY = 8 << 20;
  const SCHEMES = ['http:', 'https:', 'data:'];

  function normalized(name) {
    name = String(name);
    if (!/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(name)) throw new TypeError(`Headers: '${name}' is not a header name`);
    return name.toLowerCase();
  }

  function fieldValue(value) {
    value = String(value).replace(/^[\t\n\r ]+|[\t\n\r ]+$/g, '');
    if (/[\0\r\n]/.test(value)) throw new TypeError('Headers: a value may not hold CR, LF or NUL');
    return value;
  }

  class Headers {
    #list = [];
    constructor(init) {
      if (init === undefined || init === null) return;
      const pairs = typeof init[Symbol.iterator] === 'function' ? init : Object.entries(init);
      for (const [name, value] of pairs) this.append(name, value);
    }
    append(name, value) {
      this.#list.push([normalized(name), fieldValue(value)]);
    }
    delete(name) {
      name = normalized(name);
      this.#list = this.#list.filter(([key]) => key !== name);
    }
    get(name) {
      name = normalized(name);
      const values = this.#list.filter(([key]) => key === name).map(([, value]) => value);
      return values.length === 0 ? null : values.join(', ');
    }
    getSetCookie() {
      return this.#list.filter(([key]) => key === 'set-cookie').map(([, value]) => value);
    }
    has(name) {
      name = normalized(name);
      return this.#list.some(([key]) => key === name);
    }
    set(name, value) {
      this.delete(name);
      this.append(name, value);
    }
    forEach(callback, self) {
      for (const [name, value] of this) callback.call(self, value, name, this);
    }
    *entries() {
      const names = [...new Set(this.#list.map(([name]) => name))].sort();
      for (const name of names) {
        if (name === 'set-cookie') for (const value of this.getSetCookie()) yield [name, value];
        else yield [name, this.get(name)];
      }
    }
    *keys() {
      for (const [name] of this) yield name;
    }
    *values() {
      for (const [, value] of this) yield value;
    }
    [Symbol.iterator]() {
      return this.entries();
    }
  }

  // A body as bytes, and the type it suggests.
  function extract(body) {
    if (body === undefined || body === null) return { bytes: undefined, type: undefined };
    if (typeof body === 'string') return { bytes: encoder.encode(body), type: 'text/plain;charset=UTF-8' };
    if (body instanceof URLSearchParams) {
      return { bytes: encoder.encode(body.toString()), type: 'application/x-www-form-urlencoded;charset=UTF-8' };
    }
    if (body instanceof ArrayBuffer) return { bytes: new Uint8Array(body.slice(0)), type: undefined };
    if (ArrayBuffer.isView(body)) {
      return { bytes: new Uint8Array(body.buffer, body.byteOffset, body.byteLength).slice(), type: undefined };
    }
    if (body instanceof BodyStream) return { bytes: drain(body), type: undefined };
    if (typeof body.getReader === 'function' || typeof body[Symbol.asyncIterator] === 'function') {
      throw new TypeError('fetch: of streams, only those of other bodies can be sent; read it, and give its octets');
    }
    return { bytes: encoder.encode(String(body)), type: 'text/plain;charset=UTF-8' };
  }

  // What `body` is: a `ReadableStream` as far as it is read from.
  class BodyStream {
    #take;
    #isLocked = false;
    constructor(take) {
      this.#take = take;
    }
    get locked() {
      return this.#isLocked;
    }
    #lock() {
      if (this.#isLocked) throw new TypeError('Invalid state: ReadableStream is locked');
      this.#isLocked = true;
    }
    // All of it at once.
    static drain(stream) {
      stream.#lock();
      return stream.#take();
    }
    getReader() {
      this.#lock();
      const chunks = this.#chunks();
      const stop = async () => void (await chunks.return());
      return {
        read: () => chunks.next(),
        cancel: stop,
        releaseLock: () => {
          this.#isLocked = false;
        },
      };
    }
    async cancel() {
      if (this.#isLocked) throw new TypeError('Invalid state: ReadableStream is locked');
      this.#take();
    }
    tee() {
      const bytes = drain(this);
      return [bytes, bytes].map((left) => new BodyStream(() => {
        const taken = left;
        left = new Uint8Array(0);
        return taken;
      }));
    }
    values() {
      this.#lock();
      return this.#chunks();
    }
    [Symbol.asyncIterator]() {
      return this.values();
    }
    async *#chunks() {
      const bytes = this.#take();
      if (bytes.length > 0) yield bytes.slice();
    }
  }

  const { drain } = BodyStream;
  delete BodyStream.drain;

  class Body {
    #bytes;
    #used = false;
    #stream;
    constructor(bytes) {
      this.#bytes = bytes;
    }
    get body() {
      if (this.#bytes === undefined) return null;
      return this.#stream ??= new BodyStream(() => this.#give());
    }
    get bodyUsed() {
      return this.#used;
    }
    static peek(body) {
      return body.#bytes;
    }
    // At once, so that what fails is the script's line.
    #take() {
      if (this.#stream?.locked) throw new TypeError('Body is unusable: its stream is locked');
      return this.#give();
    }
    #give() {
      if (this.#used) throw new TypeError('Body is unusable: it has already been read');
      this.#used = this.#bytes !== undefined;
      return this.#bytes ?? new Uint8Array(0);
    }
    async bytes() {
      return this.#take().slice();
    }
    async arrayBuffer() {
      return (await this.bytes()).buffer;
    }
    async text() {
      return new TextDecoder().decode(this.#take());
    }
    async json() {
      return JSON.parse(new TextDecoder().decode(this.#take()));
    }
  }
  const { peek } = Body;
  delete Body.peek;

  class Request extends Body {
    constructor(input, given) {
      const init = given ?? {};
      const from = input instanceof Request ? input : undefined;
      const { bytes, type } = init.body === undefined && from !== undefined ? { bytes: peek(from) } : extract(init.body);
      super(bytes);
      const url = new URL(from === undefined ? String(input) : from.url);
      if (!SCHEMES.includes(url.protocol)) throw new TypeError(`fetch: '${url.protocol}' is not http, https or data`);
      if (url.username !== '' || url.password !== '') throw new TypeError('fetch: a URL with credentials is refused; send an Authorization header');
      const method = String(init.method ?? from?.method ?? 'GET');
      if (!/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(method)) throw new TypeError(`fetch: '${method}' is not a method`);
      // They lead past what is checked, or show the caller its own credentials (Fetch standard, forbidden methods).
      if (/^(connect|trace|track)$/i.test(method)) throw new TypeError(`fetch: the method '${method}' is forbidden`);
      this.url = url.href;
      this.method = /^(delete|get|head|options|post|put)$/i.test(method) ? method.toUpperCase() : method;
      this.headers = new Headers(init.headers ?? from?.headers);
      this.redirect = init.redirect ?? from?.redirect ?? 'follow';
      this.signal = init.signal ?? from?.signal;
      if (bytes !== undefined && (this.method === 'GET' || this.method === 'HEAD')) {
        throw new TypeError('fetch: a GET or HEAD request has no body');
      }
      if (type !== undefined && !this.headers.has('content-type')) this.headers.set('content-type', type);
    }
    clone() {
      return new Request(this);
    }
  }

  class Response extends Body {
    constructor(body = null, init) {
      const { status = 200, statusText = '', headers } = init ?? {};
      const { bytes, type } = extract(body);
      super(bytes);
      if (!Number.isInteger(status) || status < 200 || status > 599) throw new RangeError(`Response: ${String(status)} is not a status`);
      if (bytes !== undefined && NO_BODY_STATUS.includes(status)) throw new TypeError(`Response: a ${status} has no body`);
      this.status = status;
      this.statusText = String(statusText);
      this.headers = new Headers(headers);
      this.url = '';
      this.redirected = false;
      this.type = 'default';
      if (type !== undefined && !this.headers.has('content-type')) this.headers.set('content-type', type);
    }
    get ok() {
      return this.status >= 200 && this.status <= 299;
    }
    clone() {
      if (this.bodyUsed || this.body?.locked) throw new TypeError('Response: a body that was read cannot be cloned');
      const { status, statusText, headers } = this;
      return Object.assign(new Response(peek(this), { status, statusText, headers }), { url: this.url, redirected: this.redirected });
    }
    static json(data, init) {
      const headers = new Headers(init?.headers);
      if (!headers.has('content-type')) headers.set('content-type', 'application/json');
      return new Response(JSON.stringify(data), { ...init, headers });
    }
    static error() {
      return Object.assign(new Response(), { type: 'error', status: 0 });
    }
    static redirect(url, status = 302) {
      return new Response(null, { status, headers: { location: new URL(url).href } });
    }
  }

  // What Node calls a failure of the network.
  const CODES = [
    [/invalid HTTP/, 'HPE_INVALID_CONSTANT'],
    [/connection refused/i, 'ECONNREFUSED'],
    [/connection reset|reset by peer|broken pipe/i, 'ECONNRESET'],
    [/dns|lookup|name or service|resolve|no address/i, 'ENOTFOUND'],
    [/not a public address/, 'EACCES'],
    [/certificate|tls|handshake/i, 'ERR_TLS_CERT'],
    [/unreachable/i, 'EHOSTUNREACH'],
    [/closed before|connection closed|unexpected eof|end of file|incomplete/i, 'ECONNRESET'],
  ];
  // Tests have a request fail by a code of Node's.
  const NAMED = /\bE(?:CONN[A-Z]+|NOTFOUND|TIMEDOUT|HOSTUNREACH|NETUNREACH|PIPE|AI_AGAIN|ACCES)\b/;

  function networkCode(error) {
    if (error?.name === 'TimeoutError') return 'ETIMEDOUT';
    if (error?.name === 'LimitError') return 'ERR_LIMIT';
    const text = String(error?.message ?? error);
    return NAMED.exec(text)?.[0] ?? CODES.find(([pattern]) => pattern.test(text))?.[1] ?? 'ECONNRESET';
  }

  // A body without its content codings (RFC 9110, 8.4), as far as it goes; one with a coding that is not known here stays as it is.
  function decoded(body, headers) {
    const codings = (headers.get('content-encoding') ?? '').toLowerCase().split(',').map((coding) => coding.trim().replace(/^x-/, ''));
    if (body.byteLength === 0 || !codings.every((coding) => coding === 'gzip' || coding === 'deflate')) return body;
    const { decompress } = host.natives('zlib');
    for (const coding of codings.reverse()) {
      let answer = decompress(coding === 'gzip' ? 'gzip' : 'zlib', body, MAX_BODY, true);
      // Some servers leave the zlib header out.
      if (answer.output === undefined && coding === 'deflate') answer = decompress('raw', body, MAX_BODY, true);
      if (answer.output === undefined) {
        const message = answer.failure === 'too large' ? `fetch: the body is larger than ${MAX_BODY} bytes` : `fetch: ${coding}: ${answer.failure}`;
        const code = answer.failure === 'too large' ? 'ERR_LIMIT' : 'Z_DATA_ERROR';
        throw new TypeError('fetch failed', { cause: Object.assign(new Error(message), { code }) });
      }
      body = answer.output;
    }
    return body;
  }

  // What a URL itself holds: nobody is asked.
  function held({ method, url, signal }) {
    signal?.throwIfAborted();
    const data = host.natives('data_url').read(url);
    if (data === undefined || data.body.byteLength > MAX_BODY) {
      const [why, code] = data === undefined ? ['the data: URL is malformed', 'ERR_INVALID_URL'] : [`the data: URL holds more than ${MAX_BODY} bytes`, 'ERR_LIMIT'];
      throw new TypeError('fetch failed', { cause: Object.assign(new Error(`fetch: ${why}`), { code }) });
    }
    const response = new Response(method === 'HEAD' ? null : data.body, { statusText: 'OK', headers: { 'content-type': data.type } });
    return Object.assign(response, { url: url.replace(/#.*/, ''), type: 'basic' });
  }

  async function fetch(input, init) {
    const request = new Request(input, init);
    const { method, url, redirect, signal } = request;
    if (url.startsWith('data:')) return held(request);
    const bytes = peek(request);
    const body = bytes?.byteLength === bytes?.buffer.byteLength ? bytes?.buffer : bytes.slice().buffer;
    const headers = [...request.headers];
    let answer;
    try {
      answer = await issue('fetch', [{ method, url, headers, body, redirect, signal }], 'fetch');
    } catch (error) {
      if (error?.name !== 'NetworkError') throw error;
      error.code ??= networkCode(error);
      const failed = new TypeError('fetch failed', { cause: error });
      // The line that asked for it; where this error was made is the runtime's own.
      failed.stack = error.stack;
      throw failed;
    }
    const hasBody = !NO_BODY_STATUS.includes(answer.status) && method !== 'HEAD';
    // A status outside 200 to 599 is not a script's to make, but may come.
    const fields = new Headers(answer.headers);
    const response = new Response(hasBody ? decoded(answer.body, fields) : null, { statusText: answer.statusText });
    response.headers = fields;
    return Object.assign(response, { status: answer.status, url: answer.url, redirected: answer.redirected, type: 'basic' });
  }

  return { fetch, Headers, Request, Response, networkCode };
})
