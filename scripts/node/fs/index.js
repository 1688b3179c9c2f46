// `fs`: the run's scratch folder, with callbacks, with promises, and as streams.
const constants = require('./constants.js');
const sync = require('./sync.js');
const { fetched, unfetched } = require('./uploads.js');
const { invalidArgument, unsupported } = require('../errors.js');

const CALLBACKS = [
  'access', 'appendFile', 'chmod', 'chown', 'close', 'copyFile', 'fchmod', 'fchown', 'fdatasync', 'fstat', 'fsync', 'ftruncate', 'futimes', 'lchown', 'lstat',
  'mkdir', 'mkdtemp', 'open', 'readFile', 'readdir', 'readlink', 'realpath', 'rename', 'rm', 'rmdir', 'stat', 'symlink', 'truncate', 'unlink', 'utimes', 'writeFile',
];
const BY_DESCRIPTOR = ['close', 'fchmod', 'fchown', 'fdatasync', 'fstat', 'fsync', 'ftruncate', 'futimes', 'open'];

const fs = { constants, ...sync, F_OK: 0, X_OK: 1, W_OK: 2, R_OK: 4 };

for (const name of Object.keys(sync).filter((name) => name.endsWith('Sync'))) {
  fs[name] = { [name](...args) {
    try {
      return sync[name](...args);
    } catch (error) {
      throw unfetched(args[0], error);
    }
  } }[name];
}

// Callbacks come later, as everywhere in Node, even though the result is there at once.
function later(callback, name, action) {
  if (typeof callback !== 'function') throw invalidArgument('cb', 'of type function', callback);
  const answer = (...results) => setImmediate(() => callback(...results));
  try {
    answer(null, ...action());
  } catch (error) {
    if (error instanceof TypeError && error.code !== undefined) throw error;
    again(name, action, error).then((results) => answer(null, ...results), answer);
  }
}

// What failed because the file is still with the engine is done once more; anything else has failed.
async function again(name, action, error) {
  if (!(await fetched(name, error))) throw error;
  return action();
}

for (const name of CALLBACKS) {
  fs[name] = { [name](...args) {
    later(args.pop(), args[0], () => [sync[`${name}Sync`](...args)]);
  } }[name];
}
for (const name of ['read', 'write']) {
  fs[name] = { [name](fd, data, ...rest) {
    later(rest.pop(), fd, () => [sync[`${name}Sync`](fd, data, ...rest), data]);
  } }[name];
}
fs.exists = (name, callback) => fs.access(name, (error) => callback(error === null));
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

async function attempt(name, action) {
  try {
    return action();
  } catch (error) {
    return again(name, action, error);
  }
}

const promises = { constants, open: async (...args) => new FileHandle(await attempt(args[0], () => sync.openSync(...args))) };
for (const name of CALLBACKS.filter((name) => !BY_DESCRIPTOR.includes(name))) {
  promises[name] = (...args) => attempt(args[0], () => sync[`${name}Sync`](...args));
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
