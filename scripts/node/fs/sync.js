// The synchronous half of `fs`; the rest is made of it.
const path = require('path-browserify');
const constants = require('./constants.js');
const { coded, fileError } = require('../errors.js');
const { File, Directory, nameOf, find, get, add, remove, free, parentOf } = require('./volume.js');

const { O_RDONLY, O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_TRUNC, O_APPEND } = constants;
const MAX_OPEN = 256;
const FLAGS = {
  r: O_RDONLY, 'r+': O_RDWR, rs: O_RDONLY, 'rs+': O_RDWR,
  w: O_WRONLY | O_CREAT | O_TRUNC, wx: O_WRONLY | O_CREAT | O_TRUNC | O_EXCL,
  'w+': O_RDWR | O_CREAT | O_TRUNC, 'wx+': O_RDWR | O_CREAT | O_TRUNC | O_EXCL,
  a: O_WRONLY | O_CREAT | O_APPEND, ax: O_WRONLY | O_CREAT | O_APPEND | O_EXCL,
  'a+': O_RDWR | O_CREAT | O_APPEND, 'ax+': O_RDWR | O_CREAT | O_APPEND | O_EXCL,
};

const open = new Map();

class Stats {
  constructor(node) {
    Object.assign(this, {
      dev: 1, ino: node.ino, mode: node.mode, nlink: node.links, uid: 1000, gid: 1000, rdev: 0,
      size: node.size, blksize: 4096, blocks: Math.ceil(node.size / 512),
    });
    for (const time of ['atime', 'mtime', 'ctime', 'birthtime']) {
      this[`${time}Ms`] = node[time];
      this[time] = new Date(node[time]);
    }
  }
  #is(type) {
    return (this.mode & constants.S_IFMT) === type;
  }
  isFile() {
    return this.#is(constants.S_IFREG);
  }
  isDirectory() {
    return this.#is(constants.S_IFDIR);
  }
  isSymbolicLink() {
    return false;
  }
  isFIFO() {
    return false;
  }
  isSocket() {
    return false;
  }
  isBlockDevice() {
    return false;
  }
  isCharacterDevice() {
    return false;
  }
}

class Dirent {
  constructor(name, parentPath, node) {
    Object.assign(this, { name, parentPath, path: parentPath });
    Object.defineProperty(this, 'node', { value: node });
  }
  isFile() {
    return !this.node.isDirectory;
  }
  isDirectory() {
    return this.node.isDirectory;
  }
  isSymbolicLink() {
    return false;
  }
}

function flagsOf(flags = 'r') {
  const bits = typeof flags === 'number' ? flags : FLAGS[flags];
  if (bits === undefined) throw coded('ERR_INVALID_ARG_VALUE', `The argument 'flags' is invalid. Received '${flags}'`);
  return bits;
}

function openSync(name, flags, mode = 0o666) {
  const bits = flagsOf(flags);
  if (open.size >= MAX_OPEN) throw fileError('EMFILE', 'open', String(name));
  let node = find(name, 'open');
  const writes = (bits & 3) !== O_RDONLY;
  if (node === undefined) {
    if ((bits & O_CREAT) === 0) throw fileError('ENOENT', 'open', String(name));
    parentOf(name, 'open');
    node = add(name, new File(mode, 'open', String(name)), 'open');
  } else if ((bits & O_EXCL) !== 0) {
    throw fileError('EEXIST', 'open', String(name));
  } else if (node.isDirectory && writes) {
    throw fileError('EISDIR', 'open', String(name));
  } else if ((bits & O_TRUNC) !== 0 && writes) {
    node.resize(0, 'open', String(name));
  }
  let fd = 3;
  while (open.has(fd)) fd += 1;
  open.set(fd, { node, position: 0, reads: (bits & 3) !== O_WRONLY, writes, appends: (bits & O_APPEND) !== 0 });
  return fd;
}

function descriptor(fd, syscall, right) {
  const found = open.get(fd);
  if (found === undefined || (right !== undefined && !found[right])) throw fileError('EBADF', syscall);
  if (right !== undefined && found.node.isDirectory) throw fileError('EISDIR', syscall);
  return found;
}

function closeSync(fd) {
  const { node } = descriptor(fd, 'close');
  open.delete(fd);
  release(node);
}

// What has neither a name nor an open descriptor is gone.
function release(node) {
  if (node.links === 0 && ![...open.values()].some((entry) => entry.node === node)) free(node);
}

function bytesOf(data, encoding) {
  if (typeof data === 'string') return Buffer.from(data, encoding ?? 'utf8');
  if (ArrayBuffer.isView(data)) return Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  throw Object.assign(new TypeError('The "data" argument must be of type string or an instance of Buffer, TypedArray, or DataView'), { code: 'ERR_INVALID_ARG_TYPE' });
}

// `(fd, buffer, offset, length, position)` or `(fd, buffer, {offset, length, position})`.
function window(buffer, offset, length, position) {
  if (typeof offset === 'object' && offset !== null) ({ offset, length, position } = offset);
  offset ??= 0;
  length ??= buffer.byteLength - offset;
  if (!(offset >= 0 && length >= 0 && offset + length <= buffer.byteLength)) {
    throw Object.assign(new RangeError(`The value of "length" is out of range. Received ${length}`), { code: 'ERR_OUT_OF_RANGE' });
  }
  return { offset, length, position: typeof position === 'bigint' ? Number(position) : position };
}

function readSync(fd, buffer, ...where) {
  const entry = descriptor(fd, 'read', 'reads');
  const { offset, length, position } = window(buffer, ...where);
  const from = typeof position === 'number' && position >= 0 ? position : entry.position;
  const part = entry.node.data.subarray(from, from + length);
  new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength).set(part, offset);
  if (from === entry.position && !(typeof position === 'number' && position >= 0)) entry.position += part.length;
  return part.length;
}

function writeSync(fd, data, ...where) {
  const entry = descriptor(fd, 'write', 'writes');
  let chunk;
  let position;
  if (typeof data === 'string') {
    position = where[0];
    chunk = Buffer.from(data, where[1] ?? 'utf8');
  } else {
    const given = window(data, ...where);
    position = given.position;
    chunk = bytesOf(data).subarray(given.offset, given.offset + given.length);
  }
  const placed = typeof position === 'number' && position >= 0;
  const at = entry.appends ? entry.node.size : placed ? position : entry.position;
  entry.node.write(chunk, at, 'write');
  if (!placed) entry.position = at + chunk.length;
  return chunk.length;
}

const encodingOf = (options) => (typeof options === 'string' ? options : options?.encoding);
const flagOf = (options, otherwise) => (typeof options === 'object' && options !== null ? options.flag : undefined) ?? otherwise;

function readFileSync(name, options) {
  const node = typeof name === 'number' ? descriptor(name, 'read', 'reads').node : get(name, 'open');
  if (node.isDirectory) throw fileError('EISDIR', 'read');
  const encoding = encodingOf(options);
  return encoding === undefined || encoding === null || encoding === 'buffer' ? Buffer.from(node.data) : node.data.toString(encoding);
}

function writeFileSync(name, data, options) {
  const chunk = bytesOf(data, encodingOf(options));
  const fd = typeof name === 'number' ? name : openSync(name, flagOf(options, 'w'), options?.mode);
  try {
    writeSync(fd, chunk);
  } finally {
    if (fd !== name) closeSync(fd);
  }
}

function appendFileSync(name, data, options) {
  writeFileSync(name, data, { encoding: encodingOf(options), flag: flagOf(options, 'a') });
}

function mkdirSync(name, options) {
  const { recursive = false, mode = 0o777 } = typeof options === 'object' && options !== null ? options : { mode: options ?? 0o777 };
  const bits = typeof mode === 'string' ? parseInt(mode, 8) : mode;
  const full = nameOf(name, 'mkdir');
  const existing = find(full, 'mkdir');
  if (existing !== undefined) {
    if (recursive && existing.isDirectory) return undefined;
    throw fileError('EEXIST', 'mkdir', String(name));
  }
  let first;
  if (recursive && find(path.dirname(full), 'mkdir') === undefined) first = mkdirSync(path.dirname(full), { recursive, mode });
  parentOf(full, 'mkdir');
  add(full, new Directory(bits, 'mkdir', full), 'mkdir');
  return recursive ? first ?? full : undefined;
}

function readdirSync(name, options) {
  const directory = get(name, 'scandir');
  if (!directory.isDirectory) throw fileError('ENOTDIR', 'scandir', String(name));
  const found = [];
  const walk = (node, prefix) => {
    for (const [base, child] of node.children) {
      found.push([path.join(prefix, base), child]);
      if (options?.recursive && child.isDirectory) walk(child, path.join(prefix, base));
    }
  };
  walk(directory, '');
  found.sort(([a], [b]) => (a < b ? -1 : 1));
  const full = nameOf(name, 'scandir');
  return found.map(([base, node]) => (options?.withFileTypes ? new Dirent(path.basename(base), path.join(full, path.dirname(base)), node) : base));
}

function unlinkSync(name) {
  if (get(name, 'unlink').isDirectory) throw fileError('EISDIR', 'unlink', String(name));
  const node = remove(name, 'unlink');
  node.links = 0;
  release(node);
}

function rmdirSync(name, options) {
  if (options?.recursive) return rmSync(name, options);
  const node = get(name, 'rmdir');
  if (!node.isDirectory) throw fileError('ENOTDIR', 'rmdir', String(name));
  if (nameOf(name) === '/') throw fileError('EPERM', 'rmdir', '/');
  if (node.children.size > 0) throw fileError('ENOTEMPTY', 'rmdir', String(name));
  free(remove(name, 'rmdir'));
  return undefined;
}

function rmSync(name, { recursive = false, force = false } = {}) {
  const node = find(name, 'rm');
  if (node === undefined) {
    if (force) return;
    throw fileError('ENOENT', 'rm', String(name));
  }
  if (!node.isDirectory) {
    unlinkSync(name);
    return;
  }
  if (!recursive) throw coded('ERR_FS_EISDIR', `Path is a directory: rm returned EISDIR (is a directory) ${name}`);
  for (const base of [...node.children.keys()]) rmSync(path.join(nameOf(name), base), { recursive });
  if (nameOf(name) !== '/') rmdirSync(name);
}

function renameSync(from, to) {
  const node = get(from, 'rename');
  const [source, target] = [nameOf(from, 'rename'), nameOf(to, 'rename')];
  if (source === target) return;
  if (target.startsWith(`${source}/`)) throw fileError('EINVAL', 'rename', String(from), String(to));
  const existing = find(to, 'rename');
  if (existing !== undefined) {
    if (existing.isDirectory && !node.isDirectory) throw fileError('EISDIR', 'rename', String(from), String(to));
    if (!existing.isDirectory && node.isDirectory) throw fileError('ENOTDIR', 'rename', String(from), String(to));
    if (existing.isDirectory) rmdirSync(to);
    else unlinkSync(to);
  }
  parentOf(to, 'rename');
  add(to, remove(from, 'rename'), 'rename');
}

function copyFileSync(from, to, mode = 0) {
  if ((mode & constants.COPYFILE_EXCL) !== 0 && find(to, 'copyfile') !== undefined) throw fileError('EEXIST', 'copyfile', String(from), String(to));
  writeFileSync(to, readFileSync(from));
}

function change(node, times) {
  const ms = (time) => (time instanceof Date ? time.getTime() : Number(time) * 1000);
  [node.atime, node.mtime] = times.map(ms);
}

const statSync = (name, options) => {
  const node = options?.throwIfNoEntry === false ? find(name, 'stat') : get(name, 'stat');
  return node === undefined ? undefined : new Stats(node);
};

function chmodNode(node, mode) {
  const bits = typeof mode === 'string' ? parseInt(mode, 8) : mode;
  node.mode = (node.mode & constants.S_IFMT) | (bits & 0o7777);
}

module.exports = {
  Stats,
  Dirent,
  accessSync: (name) => void get(name, 'access'),
  appendFileSync,
  chmodSync: (name, mode) => chmodNode(get(name, 'chmod'), mode),
  chownSync: (name) => void get(name, 'chown'),
  closeSync,
  copyFileSync,
  existsSync(name) {
    try {
      return find(name, 'access') !== undefined;
    } catch {
      return false;
    }
  },
  fchmodSync: (fd, mode) => chmodNode(descriptor(fd, 'fchmod').node, mode),
  fchownSync: (fd) => void descriptor(fd, 'fchown'),
  fdatasyncSync: (fd) => void descriptor(fd, 'fdatasync'),
  fstatSync: (fd) => new Stats(descriptor(fd, 'fstat').node),
  fsyncSync: (fd) => void descriptor(fd, 'fsync'),
  ftruncateSync: (fd, size = 0) => descriptor(fd, 'ftruncate', 'writes').node.resize(size, 'ftruncate'),
  futimesSync: (fd, ...times) => change(descriptor(fd, 'futime').node, times),
  lchownSync: (name) => void get(name, 'lchown'),
  lstatSync: statSync,
  mkdirSync,
  mkdtempSync(prefix) {
    for (let count = 0; ; count++) {
      const name = `${prefix}${String(count).padStart(6, '0')}`;
      if (find(name, 'mkdtemp') === undefined) {
        mkdirSync(name);
        return name;
      }
    }
  },
  openSync,
  readFileSync,
  readSync,
  readdirSync,
  readlinkSync(name) {
    get(name, 'readlink');
    throw fileError('EINVAL', 'readlink', String(name));
  },
  realpathSync(name) {
    get(name, 'realpath');
    return nameOf(name);
  },
  renameSync,
  rmSync,
  rmdirSync,
  statSync,
  symlinkSync(target, name) {
    throw fileError('EPERM', 'symlink', String(target), String(name));
  },
  truncateSync: (name, size = 0) => get(name, 'open').resize(size, 'truncate', String(name)),
  unlinkSync,
  utimesSync: (name, ...times) => change(get(name, 'utime'), times),
  writeFileSync,
  writeSync,
};
