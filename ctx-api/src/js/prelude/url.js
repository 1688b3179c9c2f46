// `URL` and `URLSearchParams`; the host parses by the WHATWG standard.
(function (host) {
  const natives = host.natives('url');
  const decoder = new TextDecoder();
  const encoder = new TextEncoder();

  // application/x-www-form-urlencoded, percent-decoded by octets.
  function decode(text) {
    const bytes = [];
    const octets = encoder.encode(text.replaceAll('+', ' '));
    for (let at = 0; at < octets.length; at++) {
      const hex = octets[at] === 0x25 ? String.fromCharCode(octets[at + 1], octets[at + 2]) : '';
      if (/^[0-9a-fA-F]{2}$/.test(hex)) {
        bytes.push(parseInt(hex, 16));
        at += 2;
      } else {
        bytes.push(octets[at]);
      }
    }
    return decoder.decode(new Uint8Array(bytes));
  }

  function encode(text) {
    return encodeURIComponent(text.toWellFormed())
      .replace(/[!'()~]/g, (found) => `%${found.charCodeAt(0).toString(16).toUpperCase()}`)
      .replaceAll('%20', '+');
  }

  class URLSearchParams {
    #list = [];
    #changed;

    constructor(init = '') {
      if (typeof init === 'object' && init !== null) {
        const pairs = typeof init[Symbol.iterator] === 'function' ? init : Object.entries(init);
        for (const pair of pairs) {
          const [name, value, ...rest] = pair;
          if (value === undefined || rest.length > 0) throw new TypeError('Each query pair must be an iterable [name, value] tuple');
          this.#list.push([String(name), String(value)]);
        }
      } else {
        this.#parse(String(init));
      }
    }

    static of(search, changed) {
      const params = new URLSearchParams(search);
      params.#changed = changed;
      return params;
    }

    static refresh(params, search) {
      params.#list = [];
      params.#parse(search);
    }

    #parse(query) {
      for (const part of query.replace(/^\?/, '').split('&')) {
        if (part === '') continue;
        const at = part.indexOf('=');
        this.#list.push(at < 0 ? [decode(part), ''] : [decode(part.slice(0, at)), decode(part.slice(at + 1))]);
      }
    }

    #update() {
      if (this.#changed !== undefined) this.#changed(this.toString());
    }

    get size() {
      return this.#list.length;
    }
    append(name, value) {
      this.#list.push([String(name), String(value)]);
      this.#update();
    }
    delete(name, value) {
      this.#list = this.#list.filter(([key, item]) => key !== String(name) || (value !== undefined && item !== String(value)));
      this.#update();
    }
    get(name) {
      return this.#list.find(([key]) => key === String(name))?.[1] ?? null;
    }
    getAll(name) {
      return this.#list.filter(([key]) => key === String(name)).map(([, value]) => value);
    }
    has(name, value) {
      return this.#list.some(([key, item]) => key === String(name) && (value === undefined || item === String(value)));
    }
    set(name, value) {
      const first = this.#list.findIndex(([key]) => key === String(name));
      if (first < 0) {
        this.#list.push([String(name), String(value)]);
      } else {
        this.#list[first] = [String(name), String(value)];
        this.#list = this.#list.filter(([key], at) => at <= first || key !== String(name));
      }
      this.#update();
    }
    sort() {
      this.#list.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
      this.#update();
    }
    forEach(callback, self) {
      for (const [name, value] of this) callback.call(self, value, name, this);
    }
    keys() {
      return this.#list.map(([name]) => name).values();
    }
    values() {
      return this.#list.map(([, value]) => value).values();
    }
    entries() {
      return this.#list.map((pair) => [...pair]).values();
    }
    [Symbol.iterator]() {
      return this.entries();
    }
    toString() {
      return this.#list.map(([name, value]) => `${encode(name)}=${encode(value)}`).join('&');
    }
    get [Symbol.toStringTag]() {
      return 'URLSearchParams';
    }
  }
  const { of, refresh } = URLSearchParams;
  delete URLSearchParams.of;
  delete URLSearchParams.refresh;

  class URL {
    #parts;
    #params;

    constructor(url, base) {
      this.#parts = natives.parse(String(url), base === undefined ? undefined : String(base));
      if (this.#parts === undefined) {
        throw Object.assign(new TypeError('Invalid URL'), { code: 'ERR_INVALID_URL', input: String(url) });
      }
    }
    static canParse(url, base) {
      return URL.parse(url, base) !== null;
    }
    static parse(url, base) {
      try {
        return new URL(url, base);
      } catch {
        return null;
      }
    }
    static part(url, name) {
      return url.#parts[name];
    }
    static change(url, name, value) {
      url.#parts = natives.with(url.#parts.href, name, String(value));
      if (url.#params !== undefined) refresh(url.#params, url.#parts.search);
    }
    get href() {
      return this.#parts.href;
    }
    set href(value) {
      const parts = natives.parse(String(value));
      if (parts === undefined) throw new TypeError('Invalid URL');
      this.#parts = parts;
      if (this.#params !== undefined) refresh(this.#params, parts.search);
    }
    get origin() {
      return this.#parts.origin;
    }
    get searchParams() {
      this.#params ??= of(this.#parts.search, (search) => {
        this.#parts = natives.with(this.#parts.href, 'search', search);
      });
      return this.#params;
    }
    toString() {
      return this.#parts.href;
    }
    toJSON() {
      return this.#parts.href;
    }
    get [Symbol.toStringTag]() {
      return 'URL';
    }
  }
  const { part, change } = URL;
  delete URL.part;
  delete URL.change;
  for (const name of ['protocol', 'username', 'password', 'host', 'hostname', 'port', 'pathname', 'search', 'hash']) {
    Object.defineProperty(URL.prototype, name, {
      configurable: true,
      enumerable: true,
      get() {
        return part(this, name);
      },
      set(value) {
        change(this, name, value);
      },
    });
  }

  return { URL, URLSearchParams };
})
