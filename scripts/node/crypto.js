// `crypto`: hashes, MACs, key derivation and random numbers. The sums are the runtime's, computed when they are asked for.
const { Transform } = require('readable-stream');
const { coded, unsupported } = require('./errors.js');
const { natives } = require('lockstep:host');

const { hash: digest, hmac, pbkdf2: derive, equal } = natives('digest');
const random = globalThis.crypto;

const HASHES = { md5: 'md5', sha1: 'sha1', sha256: 'sha256', sha384: 'sha384', sha512: 'sha512', 'rsa-sha1': 'sha1', 'rsa-sha256': 'sha256', 'rsa-sha512': 'sha512' };

function algorithm(name) {
  const found = HASHES[String(name).toLowerCase().replace(/^sha-/, 'sha')];
  if (found === undefined) throw coded('ERR_OSSL_EVP_UNSUPPORTED', `Digest method not supported: ${name}`);
  return found;
}

function bytesOf(data, encoding) {
  if (typeof data === 'string') return Buffer.from(data, encoding === 'buffer' ? 'utf8' : encoding);
  if (data instanceof ArrayBuffer) return Buffer.from(data);
  if (ArrayBuffer.isView(data)) return Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  if (data instanceof KeyObject) return data.export();
  const error = new TypeError('The "data" argument must be of type string or an instance of Buffer, TypedArray, or DataView');
  throw Object.assign(error, { code: 'ERR_INVALID_ARG_TYPE' });
}

// The part of a buffer that a view shows, as a native takes it.
const plain = (buffer) => buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.byteLength);
const encoded = (buffer, encoding) => (encoding === undefined || encoding === 'buffer' ? buffer : buffer.toString(encoding));

// Both are streams too: written to and then read, they give their sum.
class Sum extends Transform {
  #compute;
  #chunks;
  #done = false;
  constructor(compute, chunks = []) {
    super();
    this.#compute = compute;
    this.#chunks = chunks;
  }
  update(data, encoding) {
    if (this.#done) throw coded('ERR_CRYPTO_HASH_FINALIZED', 'Digest already called');
    // Copied: the caller may reuse its buffer.
    this.#chunks.push(Buffer.from(bytesOf(data, encoding)));
    return this;
  }
  digest(encoding) {
    if (this.#done) throw coded('ERR_CRYPTO_HASH_FINALIZED', 'Digest already called');
    this.#done = true;
    return encoded(Buffer.from(this.#compute(plain(Buffer.concat(this.#chunks)))), encoding);
  }
  copy() {
    if (this.#done) throw coded('ERR_CRYPTO_HASH_FINALIZED', 'Digest already called');
    return new Sum(this.#compute, [...this.#chunks]);
  }
  _transform(chunk, encoding, callback) {
    this.update(chunk, encoding);
    callback();
  }
  _flush(callback) {
    this.push(this.digest());
    callback();
  }
}

class KeyObject {
  #bytes;
  type = 'secret';
  constructor(bytes) {
    this.#bytes = bytes;
  }
  export() {
    return this.#bytes;
  }
}

function createHash(name) {
  const hash = algorithm(name);
  return new Sum((data) => digest(hash, data));
}

function createHmac(name, key, options) {
  const hash = algorithm(name);
  const secret = plain(bytesOf(key, options?.encoding));
  return new Sum((data) => hmac(hash, secret, data));
}

function pbkdf2Sync(password, salt, iterations, length, name = 'sha1') {
  return Buffer.from(derive(algorithm(name), plain(bytesOf(password)), plain(bytesOf(salt)), iterations, length));
}

function timingSafeEqual(a, b) {
  const [left, right] = [bytesOf(a), bytesOf(b)];
  if (left.length !== right.length) {
    const error = new RangeError('Input buffers must have the same byte length');
    throw Object.assign(error, { code: 'ERR_CRYPTO_TIMING_SAFE_EQUAL_LENGTH' });
  }
  return equal(plain(left), plain(right));
}

// Gives the value, or hands it to a callback later.
function deliver(callback, make) {
  if (callback === undefined) return make();
  let outcome;
  try {
    outcome = [null, make()];
  } catch (error) {
    outcome = [error];
  }
  setImmediate(() => callback(...outcome));
  return undefined;
}

const refused = Object.fromEntries(
  ['createCipheriv', 'createDecipheriv', 'createSign', 'createVerify', 'createPublicKey', 'createPrivateKey', 'createDiffieHellman', 'createECDH',
    'generateKeyPair', 'generateKeyPairSync', 'publicEncrypt', 'privateDecrypt', 'scrypt', 'scryptSync', 'sign', 'verify']
    .map((name) => [name, () => {
      throw unsupported(`crypto.${name}`);
    }]),
);

function fill(array) {
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength).set(random.randomBytes(array.byteLength));
  return array;
}

module.exports = {
  ...refused,
  constants: {},
  webcrypto: random,
  KeyObject,
  Hash: Sum,
  Hmac: Sum,
  createHash,
  createHmac,
  createSecretKey: (key, encoding) => new KeyObject(bytesOf(key, encoding)),
  getCiphers: () => [],
  getHashes: () => ['md5', 'sha1', 'sha256', 'sha384', 'sha512'],
  getRandomValues: (array) => random.getRandomValues(array),
  hash: (name, data, encoding = 'hex') => createHash(name).update(data).digest(encoding),
  pbkdf2: (password, salt, iterations, length, name, callback) => deliver(callback, () => pbkdf2Sync(password, salt, iterations, length, name)),
  pbkdf2Sync,
  pseudoRandomBytes: (count, callback) => deliver(callback, () => random.randomBytes(count)),
  randomBytes: (count, callback) => deliver(callback, () => random.randomBytes(count)),
  randomFillSync: fill,
  randomFill: (array, callback) => deliver(callback, () => fill(array)),
  randomInt(min, max, callback) {
    if (typeof max === 'function') [max, callback] = [undefined, max];
    return deliver(callback, () => random.randomInt(min, max));
  },
  randomUUID: () => random.randomUUID(),
  timingSafeEqual,
};
