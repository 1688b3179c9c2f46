// `fs`: the run's scratch folder, with callbacks, with promises, and as streams.
const constants = require('./constants.js');
const sync = require('./sync.js');
const { invalidArgument, unsupported } = require('../errors.js');

const CALLBACKS = [
  'access', 'appendFile', 'chmod', 'chown', 'close', 'copyFile', 'fchmod', 'fchown', 'fdatasync', 'fstat', 'fsync', 'ftruncate', 'futimes', 'lchown', 'lstat',
  'mkdir', 'mkdtemp', 'open', 'readFile', 'readdir', 'readlink', 'realpath', 'rename', 'rm', 'rmdir', 'stat', 'symlink', 'truncate', 'unlink', 'utimes', 'writeFile',
];
const BY_DESCRIPTOR = ['close', 'fchmod', 'fchown', 'fdatasync', 'fstat', 'fsync', 'ftruncate', 'futimes', 'open'];

const fs = { constants, ...sync, F_OK: 0, X_OK: 1, W_OK: 2, R_OK: 4 };

// Callbacks come later, as everywhere in Node, even though the result is there at once.
function later(callback, action) {
  if (typeof callback !== 'function') throw invalidArgument('cb', 'of type function', callback);
  let results;
  try {
    results = [null, ...action()];
  } catch (error) {
    if (error instanceof TypeError && error.code !== undefined) throw error;
    results = [error];
  }
  setImmediate(() => callback(...results));
}

for (const name of CALLBACKS) {
  fs[name] = { [name](...args) {
    later(args.pop(), () => [sync[`${name}Sync`](...args)]);
  } }[name];
}
for (const name of ['read', 'write']) {
  fs[name] = { [name](fd, data, ...rest) {
    later(rest.pop(), () => [sync[`${name}Sync`](fd, data, ...rest), data]);
  } }[name];
}
fs.exists = (name, callback) => setImmediate(() => callback(sync.existsSync(name)));
fs.realpath.native = fs.realpath;
fs.realpathSync.native = fs.realpathSync;
for (const name of ['watch', 'watchFile', 'unwatchFile', 'createServer']) {
  fs[name] = () => {
    throw unsupported(`fs.${name}`);
  };
}

class FileHandle {
  constructor(fd) {
    this.fd = fd;
  }
  async read(buffer, ...where) {
    return { bytesRead: sync.readSync(this.fd, buffer, ...where), buffer };
  }
  async write(buffer, ...where) {
    return { bytesWritten: sync.writeSync(this.fd, buffer, ...where), buffer };
  }
  async readFile(options) {
    return sync.readFileSync(this.fd, options);
  }
  async writeFile(data, options) {
    sync.writeFileSync(this.fd, data, options);
  }
  async stat() {
    return sync.fstatSync(this.fd);
  }
  async truncate(size) {
    sync.ftruncateSync(this.fd, size);
  }
  async close() {
    sync.closeSync(this.fd);
  }
}

const promises = { constants, open: async (...args) => new FileHandle(sync.openSync(...args)) };
for (const name of CALLBACKS.filter((name) => !BY_DESCRIPTOR.includes(name))) {
  promises[name] = async (...args) => sync[`${name}Sync`](...args);
}
fs.promises = promises;

const stream = (name) => ({
  configurable: true,
  enumerable: true,
  get: () => require('./streams.js')[name],
});
Object.defineProperties(fs, {
  ReadStream: stream('ReadStream'),
  WriteStream: stream('WriteStream'),
  FileReadStream: stream('ReadStream'),
  FileWriteStream: stream('WriteStream'),
  createReadStream: stream('createReadStream'),
  createWriteStream: stream('createWriteStream'),
});

module.exports = fs;
