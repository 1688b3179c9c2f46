// Errors as Node makes them: packages tell them apart by `code`.

const { networkCode } = require('lockstep:host');

// POSIX errors: number on Linux, and the sentence.
const SYSTEM = {
  EACCES: [13, 'permission denied'],
  EBADF: [9, 'bad file descriptor'],
  ECONNREFUSED: [111, 'connect ECONNREFUSED'],
  ECONNRESET: [104, 'read ECONNRESET'],
  EEXIST: [17, 'file already exists'],
  EINVAL: [22, 'invalid argument'],
  EISDIR: [21, 'illegal operation on a directory'],
  EMFILE: [24, 'too many open files'],
  ENOENT: [2, 'no such file or directory'],
  ENOSPC: [28, 'no space left on device'],
  ENOTDIR: [20, 'not a directory'],
  ENOTEMPTY: [39, 'directory not empty'],
  EPERM: [1, 'operation not permitted'],
};

// What a file operation fails with: `ENOENT: no such file or directory, open '/x'`.
function fileError(code, syscall, path, dest) {
  const [errno, sentence] = SYSTEM[code];
  const to = dest === undefined ? '' : ` -> '${dest}'`;
  const at = path === undefined ? '' : ` '${path}'`;
  const error = new Error(`${code}: ${sentence}, ${syscall}${at}${to}`);
  Object.assign(error, { errno: -errno, code, syscall });
  if (path !== undefined) error.path = path;
  if (dest !== undefined) error.dest = dest;
  return error;
}

function coded(code, message, properties) {
  return Object.assign(new Error(message), { code }, properties);
}

function invalidArgument(name, expected, value) {
  const error = new TypeError(`The "${name}" argument must be ${expected}. Received ${value === null ? 'null' : typeof value}`);
  return Object.assign(error, { code: 'ERR_INVALID_ARG_TYPE' });
}

function unsupported(what) {
  return coded('ERR_FEATURE_UNAVAILABLE_ON_PLATFORM', `${what} is not available to scripts`);
}

// The error of a host operation that reached for the network, with the code Node would give it.
function networkError(error, syscall, { host, port } = {}) {
  const text = String(error?.message ?? error);
  const code = networkCode(error);
  const made = coded(code, `${syscall} ${code}: ${text}`, { syscall });
  if (host !== undefined) made.hostname = host;
  if (port !== undefined) made.port = port;
  made.cause = error;
  return made;
}

module.exports = { fileError, coded, invalidArgument, unsupported, networkError };
