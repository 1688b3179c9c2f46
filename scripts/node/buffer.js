// `buffer`: the runtime's own Buffer, so that what a package makes is what its script tests with `Buffer.isBuffer`.
const { Buffer, atob, btoa } = globalThis;

const kMaxLength = 2 ** 31 - 1;

module.exports = {
  Buffer,
  SlowBuffer: (size) => Buffer.alloc(size),
  INSPECT_MAX_BYTES: 50,
  kMaxLength,
  kStringMaxLength: 2 ** 29 - 24,
  constants: { MAX_LENGTH: kMaxLength, MAX_STRING_LENGTH: 2 ** 29 - 24 },
  atob,
  btoa,
};
