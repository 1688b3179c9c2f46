// `TextEncoder` and `TextDecoder`.
(function (host) {
  const { encode, decode } = host.natives('text');
  const LABELS = {
    'utf-8': 'utf8', utf8: 'utf8', 'unicode-1-1-utf-8': 'utf8',
    'utf-16le': 'utf16le', 'utf-16': 'utf16le',
    latin1: 'latin1', 'iso-8859-1': 'latin1', ascii: 'latin1', 'us-ascii': 'latin1', 'windows-1252': 'latin1',
  };
  const NAMES = { utf8: 'utf-8', utf16le: 'utf-16le', latin1: 'windows-1252' };

  class TextEncoder {
    get encoding() {
      return 'utf-8';
    }
    encode(string = '') {
      return new Uint8Array(encode(String(string), 'utf8'));
    }
    encodeInto(string, target) {
      let read = 0;
      let written = 0;
      for (const character of String(string)) {
        const bytes = this.encode(character);
        if (written + bytes.length > target.length) break;
        target.set(bytes, written);
        written += bytes.length;
        read += character.length;
      }
      return { read, written };
    }
  }

  class TextDecoder {
    #encoding;
    #fatal;
    #ignoreBOM;
    #held = new Uint8Array(0);
    // A byte order mark is one at the beginning only.
    #begun = false;
    constructor(label = 'utf-8', { fatal = false, ignoreBOM = false } = {}) {
      this.#encoding = LABELS[String(label).trim().toLowerCase()];
      if (this.#encoding === undefined) throw new RangeError(`The "${label}" encoding is not supported`);
      this.#fatal = fatal;
      this.#ignoreBOM = ignoreBOM;
    }
    get encoding() {
      return NAMES[this.#encoding];
    }
    get fatal() {
      return this.#fatal;
    }
    get ignoreBOM() {
      return this.#ignoreBOM;
    }
    decode(input = new Uint8Array(0), { stream = false } = {}) {
      let bytes = ArrayBuffer.isView(input)
        ? new Uint8Array(input.buffer, input.byteOffset, input.byteLength)
        : new Uint8Array(input);
      if (this.#held.length > 0) {
        const joined = new Uint8Array(this.#held.length + bytes.length);
        joined.set(this.#held);
        joined.set(bytes, this.#held.length);
        bytes = joined;
      }
      const whole = stream ? complete(bytes, this.#encoding) : bytes.length;
      this.#held = bytes.slice(whole);
      const encoding = this.#fatal && this.#encoding === 'utf8' ? 'utf8-fatal' : this.#encoding;
      const text = decode(bytes.buffer, bytes.byteOffset, whole, encoding);
      if (text === undefined) throw new TypeError('The encoded data was not valid for encoding utf-8');
      const isMarked = !this.#begun && !this.#ignoreBOM && text.startsWith('\ufeff');
      this.#begun = stream && (this.#begun || text !== '');
      return isMarked ? text.slice(1) : text;
    }
  }

  // How many of the bytes end with a whole character.
  function complete(bytes, encoding) {
    if (encoding === 'latin1') return bytes.length;
    if (encoding === 'utf16le') return bytes.length - (bytes.length % 2);
    for (let back = 1; back <= Math.min(3, bytes.length); back++) {
      const byte = bytes[bytes.length - back];
      if (byte < 0x80) break;
      if (byte >= 0xc0) {
        const needed = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
        return needed > back ? bytes.length - back : bytes.length;
      }
    }
    return bytes.length;
  }

  return { TextEncoder, TextDecoder };
})
