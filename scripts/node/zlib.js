// `zlib`: deflate, zlib and gzip. A stream gathers what is written and does the work when it ends; what comes out is bounded,
// so that a small bomb of an archive does not become a large one.
const { Transform } = require('readable-stream');
const { coded } = require('./errors.js');
const { natives } = require('lockstep:host');

const { compress, decompress, crc32 } = natives('zlib');

const MAX_OUTPUT = 64 * 1024 * 1024;
const CHUNK = 64 * 1024;

const codes = {
  Z_OK: 0, Z_STREAM_END: 1, Z_NEED_DICT: 2, Z_ERRNO: -1, Z_STREAM_ERROR: -2, Z_DATA_ERROR: -3, Z_MEM_ERROR: -4, Z_BUF_ERROR: -5, Z_VERSION_ERROR: -6,
};
const constants = {
  ...codes,
  Z_NO_FLUSH: 0, Z_PARTIAL_FLUSH: 1, Z_SYNC_FLUSH: 2, Z_FULL_FLUSH: 3, Z_FINISH: 4, Z_BLOCK: 5, Z_TREES: 6,
  Z_NO_COMPRESSION: 0, Z_BEST_SPEED: 1, Z_BEST_COMPRESSION: 9, Z_DEFAULT_COMPRESSION: -1,
  Z_FILTERED: 1, Z_HUFFMAN_ONLY: 2, Z_RLE: 3, Z_FIXED: 4, Z_DEFAULT_STRATEGY: 0,
  Z_MIN_WINDOWBITS: 8, Z_MAX_WINDOWBITS: 15, Z_DEFAULT_WINDOWBITS: 15, Z_MIN_CHUNK: 64, Z_MAX_CHUNK: Infinity, Z_DEFAULT_CHUNK: 16384,
  Z_MIN_MEMLEVEL: 1, Z_MAX_MEMLEVEL: 9, Z_DEFAULT_MEMLEVEL: 8, Z_MIN_LEVEL: -1, Z_MAX_LEVEL: 9, Z_DEFAULT_LEVEL: -1,
};

// Class, function, and the native's name of the format.
const KINDS = {
  Deflate: ['deflate', true, 'zlib'],
  DeflateRaw: ['deflateRaw', true, 'raw'],
  Gzip: ['gzip', true, 'gzip'],
  Inflate: ['inflate', false, 'zlib'],
  InflateRaw: ['inflateRaw', false, 'raw'],
  Gunzip: ['gunzip', false, 'gzip'],
  Unzip: ['unzip', false, 'auto'],
};

function bytesOf(data) {
  if (typeof data === 'string') return Buffer.from(data);
  if (data instanceof ArrayBuffer) return Buffer.from(data);
  if (ArrayBuffer.isView(data)) return Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  const error = new TypeError('The "buffer" argument must be of type string or an instance of Buffer, TypedArray, DataView, or ArrayBuffer');
  throw Object.assign(error, { code: 'ERR_INVALID_ARG_TYPE' });
}

function work(packs, format, data, options = {}) {
  if (options.dictionary !== undefined) throw coded('ERR_FEATURE_UNAVAILABLE_ON_PLATFORM', 'zlib dictionaries are not available to scripts');
  const buffer = bytesOf(data);
  const input = buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.byteLength);
  if (packs) return Buffer.from(compress(format, input, options.level ?? -1));
  const limit = Math.min(options.maxOutputLength ?? MAX_OUTPUT, MAX_OUTPUT);
  // With Z_SYNC_FLUSH at the end, as HTTP clients ask for, what there is of a cut-off body counts.
  const lenient = options.finishFlush === constants.Z_SYNC_FLUSH;
  const { output, failure } = decompress(format, input, limit, lenient);
  if (failure === undefined) return Buffer.from(output);
  if (failure === 'too large') {
    throw Object.assign(new RangeError(`Cannot create a Buffer larger than ${limit} bytes`), { code: 'ERR_BUFFER_TOO_LARGE' });
  }
  const code = failure === 'unexpected end of file' ? 'Z_BUF_ERROR' : 'Z_DATA_ERROR';
  throw coded(code, failure, { errno: codes[code] });
}

class ZlibStream extends Transform {
  #chunks = [];
  #work;
  constructor(packs, format, options = {}) {
    super({ highWaterMark: options.highWaterMark });
    this.#work = (data) => work(packs, format, data, options);
    this.bytesWritten = 0;
  }
  _transform(chunk, encoding, callback) {
    this.#chunks.push(chunk);
    this.bytesWritten += chunk.length;
    callback();
  }
  _flush(callback) {
    let output;
    try {
      output = this.#work(Buffer.concat(this.#chunks));
    } catch (error) {
      callback(error);
      return;
    }
    this.#chunks = [];
    for (let at = 0; at < output.length; at += CHUNK) this.push(output.subarray(at, at + CHUNK));
    callback();
  }
  flush(kind, callback = kind) {
    if (typeof callback === 'function') setImmediate(callback);
  }
  close(callback) {
    if (callback !== undefined) this.once('close', callback);
    this.destroy();
  }
  reset() {
    this.#chunks = [];
  }
}

const zlib = { constants, codes, ...constants, crc32: (data, start = 0) => {
  const buffer = bytesOf(data);
  return crc32(buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.byteLength), start);
} };

for (const [className, [name, packs, format]] of Object.entries(KINDS)) {
  const make = function (options) {
    return new ZlibStream(packs, format, options);
  };
  make.prototype = ZlibStream.prototype;
  zlib[className] = make;
  zlib[`create${className}`] = (options) => make(options);
  zlib[`${name}Sync`] = (data, options) => work(packs, format, data, options);
  zlib[name] = (data, options, callback = options) => {
    let outcome;
    try {
      outcome = [null, work(packs, format, data, typeof options === 'object' ? options : {})];
    } catch (error) {
      outcome = [error];
    }
    setImmediate(() => callback(...outcome));
  };
}

module.exports = zlib;
