// A subset of `crypto`, fed from the run's journaled seed.
(function (host) {
  const { bytes } = host.natives('random');
  // What the web allows.
  const MAX_VALUES = 65_536;

  function getRandomValues(array) {
    if (!ArrayBuffer.isView(array) || array instanceof DataView || array instanceof Float32Array || array instanceof Float64Array) {
      throw new TypeError('crypto.getRandomValues: an integer array is needed');
    }
    if (array.byteLength > MAX_VALUES) {
      throw new DOMException(`crypto.getRandomValues: at most ${MAX_VALUES} bytes at once`, 'QuotaExceededError');
    }
    new Uint8Array(array.buffer, array.byteOffset, array.byteLength).set(new Uint8Array(bytes(array.byteLength)));
    return array;
  }

  function randomUUID() {
    const random = new Uint8Array(bytes(16));
    random[6] = (random[6] & 0x0f) | 0x40;
    random[8] = (random[8] & 0x3f) | 0x80;
    const hex = Array.from(random, (byte) => byte.toString(16).padStart(2, '0')).join('');
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
  }

  // As Node's: an integer of at least `min`, below `max`.
  function randomInt(min, max) {
    if (max === undefined) [min, max] = [0, min];
    const range = max - min;
    if (!Number.isSafeInteger(min) || !Number.isSafeInteger(max) || range <= 0 || range > 2 ** 47) {
      throw new RangeError('crypto.randomInt: `max` must be above `min`, by at most 2^47');
    }
    const limit = 2 ** 48 - (2 ** 48 % range);
    for (;;) {
      const value = new Uint8Array(bytes(6)).reduce((sum, byte) => sum * 256 + byte, 0);
      if (value < limit) return min + (value % range);
    }
  }

  return {
    crypto: { getRandomValues, randomUUID, randomInt, randomBytes: (count) => Buffer.from(bytes(count)) },
  };
})
