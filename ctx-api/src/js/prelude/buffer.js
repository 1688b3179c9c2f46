// A subset of Node's `Buffer`, and `atob`/`btoa`.
(function (host, { part }) {
  const { encode, decode } = host.natives('text');
  const ENCODINGS = {
    utf8: 'utf8', 'utf-8': 'utf8', latin1: 'latin1', binary: 'latin1', ascii: 'ascii', hex: 'hex',
    base64: 'base64', base64url: 'base64url', utf16le: 'utf16le', 'utf-16le': 'utf16le', ucs2: 'utf16le', 'ucs-2': 'utf16le',
  };

  // Octets of a buffer, in Node's words.
  const MAX_SIZE = 2 ** 32;

  function encodingOf(name = 'utf8') {
    const encoding = ENCODINGS[String(name).toLowerCase()];
    if (encoding === undefined) throw Object.assign(new TypeError(`Unknown encoding: ${name}`), { code: 'ERR_UNKNOWN_ENCODING' });
    return encoding;
  }

  // Both alphabets are read, and ASCII is written like Latin-1.
  function bytesOf(string, name) {
    const encoding = encodingOf(name);
    // Half of a surrogate pair is a unit like any other; the host is given strings as UTF-8, which has none.
    if ((encoding === 'utf16le' || encoding === 'latin1') && !String(string).isWellFormed()) {
      const units = Uint16Array.from({ length: string.length }, (_, at) => string.charCodeAt(at));
      return encoding === 'utf16le' ? units.buffer : Uint8Array.from(units).buffer;
    }
    return encode(string, encoding === 'base64url' ? 'base64' : encoding === 'ascii' ? 'latin1' : encoding);
  }

  // Callable without `new`, and with a string, as old packages do: which a class is not.
  function Buffer(value, encodingOrOffset, length) {
    const first = typeof value === 'string' ? [bytesOf(value, encodingOrOffset)] : [value, encodingOrOffset, length];
    return Reflect.construct(Uint8Array, first, new.target ?? Buffer);
  }

  function wrongType(name, expected, value) {
    const message = `The "${name}" argument must be ${expected}. Received ${value === null ? 'null' : typeof value}`;
    return Object.assign(new TypeError(message), { code: 'ERR_INVALID_ARG_TYPE' });
  }

  function outOfRange(name, expected, value) {
    const message = `The value of "${name}" is out of range. It must be ${expected}. Received ${String(value)}`;
    return Object.assign(new RangeError(message), { code: 'ERR_OUT_OF_RANGE' });
  }

  function inRange(name, value, most) {
    if (typeof value !== 'number') throw wrongType(name, 'of type number', value);
    if (!Number.isInteger(value)) throw outOfRange(name, 'an integer', value);
    if (value < 0 || value > most) throw outOfRange(name, `>= 0 && <= ${most}`, value);
  }

  function view(buffer, offset, size) {
    if (!Number.isInteger(offset) || offset < 0 || offset + size > buffer.length) {
      throw outOfRange('offset', `>= 0 and <= ${buffer.length - size}`, offset);
    }
    return new DataView(buffer.buffer, buffer.byteOffset + offset, size);
  }

  class Statics {
    static from(value, encodingOrOffset, length) {
      if (typeof value === 'string') return new Buffer(bytesOf(value, encodingOrOffset));
      if (value instanceof ArrayBuffer) return new Buffer(value, encodingOrOffset, length);
      if (value instanceof Uint8Array) return new Buffer(value);
      if (value instanceof String) return Buffer.from(String(value), encodingOrOffset);
      if (value?.type === 'Buffer' && Array.isArray(value.data)) return Buffer.from(value.data);
      if (typeof value === 'object' && value !== null && (typeof value.length === 'number' || typeof value[Symbol.iterator] === 'function')) {
        const items = Array.from(value);
        const buffer = new Buffer(items.length);
        buffer.set(items.map((item) => item & 0xff));
        return buffer;
      }
      throw wrongType('first', 'of type string or an instance of Buffer, ArrayBuffer, or Array or an Array-like Object', value);
    }
    static alloc(size, fill = 0, encoding) {
      return new Buffer(checkedSize(size)).fill(fill, 0, size, encoding);
    }
    static allocUnsafe(size) {
      return new Buffer(checkedSize(size));
    }
    static allocUnsafeSlow(size) {
      return new Buffer(checkedSize(size));
    }
    static byteLength(value, encoding) {
      return typeof value === 'string' ? bytesOf(value, encoding).byteLength : value.byteLength;
    }
    static concat(list, total = list.reduce((sum, item) => sum + item.length, 0)) {
      const joined = new Buffer(total);
      let at = 0;
      for (const item of list) {
        if (at >= total) break;
        joined.set(item.subarray(0, total - at), at);
        at += item.length;
      }
      return joined;
    }
    static compare(a, b) {
      for (let at = 0; at < Math.min(a.length, b.length); at++) {
        if (a[at] !== b[at]) return a[at] < b[at] ? -1 : 1;
      }
      return Math.sign(a.length - b.length);
    }
    static isBuffer(value) {
      return value instanceof Buffer;
    }
    static isEncoding(name) {
      return Object.hasOwn(ENCODINGS, String(name).toLowerCase());
    }
  }

  class Methods extends Uint8Array {
    toString(encoding, start = 0, end = this.length) {
      const from = Math.max(0, start);
      const to = Math.min(this.length, end);
      return to <= from ? '' : decode(this.buffer, this.byteOffset + from, to - from, encodingOf(encoding));
    }
    toLocaleString(encoding, start, end) {
      return this.toString(encoding, start, end);
    }
    toJSON() {
      return { type: 'Buffer', data: Array.from(this) };
    }
    equals(other) {
      return Buffer.compare(this, other) === 0;
    }
    compare(target, targetStart = 0, targetEnd, sourceStart = 0, sourceEnd = this.length) {
      if (!(target instanceof Uint8Array)) throw wrongType('target', 'an instance of Buffer or Uint8Array', target);
      targetEnd ??= target.length;
      inRange('targetStart', targetStart, MAX_SIZE);
      inRange('targetEnd', targetEnd, target.length);
      inRange('sourceStart', sourceStart, MAX_SIZE);
      inRange('sourceEnd', sourceEnd, this.length);
      return Buffer.compare(this.subarray(sourceStart, sourceEnd), target.subarray(targetStart, targetEnd));
    }
    // Unlike a typed array's, a Buffer's slice is a view.
    slice(start, end) {
      return this.subarray(start, end);
    }
    copy(target, targetStart = 0, start = 0, end = this.length) {
      const part = this.subarray(start, Math.min(end, start + target.length - targetStart));
      target.set(part, targetStart);
      return part.length;
    }
    write(string, offset = 0, length = this.length - offset, encoding = 'utf8') {
      if (typeof offset === 'string') [offset, length, encoding] = [0, this.length, offset];
      else if (typeof length === 'string') [length, encoding] = [this.length - offset, length];
      const bytes = new Uint8Array(bytesOf(String(string), encoding)).subarray(0, Math.min(length, this.length - offset));
      this.set(bytes, offset);
      return bytes.length;
    }
    fill(value, start = 0, end = this.length, encoding) {
      if (typeof start === 'string') [start, end, encoding] = [0, this.length, start];
      else if (typeof end === 'string') [end, encoding] = [this.length, end];
      if (typeof value !== 'string' && !(value instanceof Uint8Array)) return super.fill(value & 0xff, start, end);
      const bytes = typeof value === 'string' ? new Uint8Array(bytesOf(value, encoding)) : value;
      if (bytes.length === 0) return super.fill(0, start, end);
      for (let at = start; at < end; at++) this[at] = bytes[(at - start) % bytes.length];
      return this;
    }
    indexOf(value, from = 0, encoding) {
      if (typeof value === 'number') return super.indexOf(value & 0xff, from);
      if (typeof from === 'string') [from, encoding] = [0, from];
      const wanted = typeof value === 'string' ? new Uint8Array(bytesOf(value, encoding)) : value;
      for (let at = Math.max(0, from < 0 ? this.length + from : from); at <= this.length - wanted.length; at++) {
        if (matches(this, at, wanted)) return at;
      }
      return -1;
    }
    lastIndexOf(value, from = this.length, encoding) {
      if (typeof value === 'number') return super.lastIndexOf(value & 0xff, from);
      const wanted = typeof value === 'string' ? new Uint8Array(bytesOf(value, encoding)) : value;
      for (let at = Math.min(this.length - wanted.length, from < 0 ? this.length + from : from); at >= 0; at--) {
        if (matches(this, at, wanted)) return at;
      }
      return -1;
    }
    includes(value, from, encoding) {
      return this.indexOf(value, from, encoding) >= 0;
    }
    swap(size) {
      if (this.length % size !== 0) throw new RangeError(`Buffer size must be a multiple of ${size * 8}-bits`);
      for (let at = 0; at < this.length; at += size) super.subarray(at, at + size).reverse();
      return this;
    }
    swap16() {
      return this.swap(2);
    }
    swap32() {
      return this.swap(4);
    }
    swap64() {
      return this.swap(8);
    }
  }

  function matches(buffer, at, wanted) {
    let same = 0;
    while (same < wanted.length && buffer[at + same] === wanted[same]) same++;
    return same === wanted.length;
  }

  // Whole numbers of so many octets; of eight they are of type BigInt.
  function bounds(isSigned, size) {
    const all = size === 8 ? 2n ** 64n : 2 ** (8 * size);
    const [half, one] = size === 8 ? [all / 2n, 1n] : [all / 2, 1];
    return isSigned ? [-half, half - one] : [all - all, all - one];
  }

  function checkedValue(value, [least, most]) {
    if (value < least || value > most) throw outOfRange('value', `>= ${least} and <= ${most}`, value);
    return value;
  }

  // Numbers of a fixed size, and `read…(offset, byteLength)` of one to six bytes.
  function numbers() {
    const kinds = { UInt8: 1, Int8: 1, UInt16: 2, Int16: 2, UInt32: 4, Int32: 4, Float: 4, Double: 8, BigInt64: 8, BigUInt64: 8 };
    const methods = { UInt8: 'Uint8', UInt16: 'Uint16', UInt32: 'Uint32', Float: 'Float32', Double: 'Float64', BigUInt64: 'BigUint64' };
    const add = (name, method) => {
      for (const spelling of [name, name.replace('UInt', 'Uint')]) {
        Object.defineProperty(Methods.prototype, spelling, { value: method, writable: true, configurable: true });
      }
    };
    for (const [name, size] of Object.entries(kinds)) {
      const method = methods[name] ?? name;
      const limits = name === 'Float' || name === 'Double' ? undefined : bounds(!name.includes('U'), size);
      for (const [suffix, little] of size === 1 ? [['', true]] : [['LE', true], ['BE', false]]) {
        add(`read${name}${suffix}`, function (offset = 0) {
          return view(this, offset, size)[`get${method}`](0, little);
        });
        add(`write${name}${suffix}`, function (value, offset = 0) {
          view(this, offset, size)[`set${method}`](0, limits === undefined ? value : checkedValue(value, limits), little);
          return offset + size;
        });
      }
    }
    for (const [suffix, little] of [['LE', true], ['BE', false]]) {
      // Places of the bytes, the least first.
      const places = (length) => Array.from({ length }, (_, place) => (little ? place : length - 1 - place));
      const read = (buffer, offset, length) => {
        const bytes = view(buffer, offset, length);
        return places(length).reduce((sum, place, power) => sum + bytes.getUint8(place) * 2 ** (8 * power), 0);
      };
      add(`readUInt${suffix}`, function (offset, length) {
        return read(this, offset, length);
      });
      add(`readInt${suffix}`, function (offset, length) {
        const value = read(this, offset, length);
        return value >= 2 ** (8 * length - 1) ? value - 2 ** (8 * length) : value;
      });
      const writing = (isSigned) => function (value, offset, length) {
        const bytes = view(this, offset, length);
        checkedValue(value, bounds(isSigned, length));
        places(length).forEach((place, power) => bytes.setUint8(place, Math.floor(value / 2 ** (8 * power)) & 0xff));
        return offset + length;
      };
      add(`writeUInt${suffix}`, writing(false));
      add(`writeInt${suffix}`, writing(true));
    }
  }
  numbers();

  // Ways past `toString` and `write` that old packages take.
  for (const encoding of ['utf8', 'latin1', 'ascii', 'hex', 'base64', 'ucs2']) {
    const methods = {
      [`${encoding}Slice`](start, end) {
        return this.toString(encoding, start, end);
      },
      [`${encoding}Write`](string, offset, length) {
        return this.write(string, offset, length, encoding);
      },
    };
    for (const [name, value] of Object.entries(methods)) {
      Object.defineProperty(Methods.prototype, name, { value, writable: true, configurable: true });
    }
  }

  Object.setPrototypeOf(Buffer, Uint8Array);
  for (const name of Object.getOwnPropertyNames(Statics)) {
    if (typeof Statics[name] === 'function') Object.defineProperty(Buffer, name, { value: Statics[name], writable: true, configurable: true });
  }
  Buffer.poolSize = 8192;
  Buffer.prototype = Methods.prototype;
  Object.defineProperty(Buffer.prototype, 'constructor', { value: Buffer, writable: true, configurable: true });

  function checkedSize(size) {
    if (typeof size !== 'number') throw wrongType('size', 'of type number', size);
    if (!(size >= 0) || size > MAX_SIZE) throw outOfRange('size', `>= 0 && <= ${MAX_SIZE}`, size);
    return size;
  }

  function invalidCharacter() {
    const { DOMException } = part('abort');
    return new DOMException('The string contains characters outside of the Latin1 range, or is not base64', 'InvalidCharacterError');
  }

  function btoa(data) {
    const string = String(data);
    if (/[^\0-\xff]/.test(string)) throw invalidCharacter();
    return Buffer.from(string, 'latin1').toString('base64');
  }

  function atob(data) {
    let string = String(data).replace(/[\t\n\f\r ]/g, '');
    if (string.length % 4 === 0) string = string.replace(/={1,2}$/, '');
    if (/[^A-Za-z0-9+/]/.test(string) || string.length % 4 === 1) throw invalidCharacter();
    return Buffer.from(string, 'base64').toString('latin1');
  }

  return { Buffer, atob, btoa };
})
