// The scratch folder of a run: a tree of files in its memory. Nothing of it outlives the run, and no other run sees it.
const path = require('path-browserify');
const { now } = require('lockstep:host');
const { fileError } = require('../errors.js');
const { S_IFREG, S_IFDIR } = require('./constants.js');

// All files together, in bytes; the run's memory limit counts them too.
const MAX_BYTES = 64 * 1024 * 1024;
const MAX_NODES = 10_000;

let bytes = 0;
let nodes = 0;

class Node {
  constructor(mode, syscall, name) {
    if (nodes >= MAX_NODES) throw fileError('ENOSPC', syscall, name);
    nodes += 1;
    this.ino = ++Node.count;
    this.mode = mode;
    this.atime = this.mtime = this.ctime = this.birthtime = now();
    this.links = 1;
  }
  get isDirectory() {
    return this.children !== undefined;
  }
  touch() {
    this.mtime = this.ctime = now();
  }
}
Node.count = 0;

class File extends Node {
  // What holds the bytes may be longer than the file, so that appending does not copy it each time.
  #store = Buffer.alloc(0);
  size = 0;
  constructor(mode, syscall, name) {
    super(S_IFREG | (mode & 0o7777), syscall, name);
  }
  get data() {
    return this.#store.subarray(0, this.size);
  }
  resize(size, syscall, name) {
    if (size > this.#store.length) {
      const capacity = Math.max(size, Math.min(this.#store.length * 2, this.#store.length + 1024 * 1024));
      if (bytes + capacity - this.#store.length > MAX_BYTES) throw fileError('ENOSPC', syscall, name);
      bytes += capacity - this.#store.length;
      const store = Buffer.alloc(capacity);
      this.#store.copy(store, 0, 0, this.size);
      this.#store = store;
    } else if (size < this.size) {
      this.#store.fill(0, size, this.size);
    }
    this.size = size;
    this.touch();
  }
  write(chunk, position, syscall, name) {
    if (position + chunk.length > this.size) this.resize(position + chunk.length, syscall, name);
    chunk.copy(this.#store, position);
    this.touch();
    return chunk.length;
  }
  // An open file lives on without a name.
  release() {
    bytes -= this.#store.length;
  }
}

class Directory extends Node {
  children = new Map();
  size = 4096;
  constructor(mode, syscall, name) {
    super(S_IFDIR | (mode & 0o7777), syscall, name);
  }
}

const root = new Directory(0o755, 'mkdir', '/');
root.children.set('tmp', new Directory(0o777, 'mkdir', '/tmp'));

function nameOf(given, syscall) {
  const name = given instanceof URL ? decodeURIComponent(given.pathname) : Buffer.isBuffer(given) ? given.toString() : given;
  if (typeof name !== 'string') {
    const error = new TypeError(`The "path" argument must be of type string or an instance of Buffer or URL. Received ${typeof given}`);
    throw Object.assign(error, { code: 'ERR_INVALID_ARG_TYPE' });
  }
  if (name === '') throw fileError('ENOENT', syscall, name);
  if (name.includes('\0')) throw Object.assign(new TypeError('The path holds a NUL'), { code: 'ERR_INVALID_ARG_VALUE' });
  return path.resolve('/', name);
}

// The node of a path, or `undefined`. A file on the way is ENOTDIR.
function find(given, syscall) {
  let node = root;
  for (const part of nameOf(given, syscall).split('/').filter(Boolean)) {
    if (!node.isDirectory) throw fileError('ENOTDIR', syscall, String(given));
    node = node.children.get(part);
    if (node === undefined) return undefined;
  }
  return node;
}

function get(given, syscall) {
  const node = find(given, syscall);
  if (node === undefined) throw fileError('ENOENT', syscall, String(given));
  return node;
}

// The directory a path's last name is, or would be, in.
function parentOf(given, syscall) {
  const name = nameOf(given, syscall);
  const parent = find(path.dirname(name), syscall);
  if (parent === undefined) throw fileError('ENOENT', syscall, String(given));
  if (!parent.isDirectory) throw fileError('ENOTDIR', syscall, String(given));
  return { parent, base: path.basename(name) };
}

function add(given, node, syscall) {
  const { parent, base } = parentOf(given, syscall);
  parent.children.set(base, node);
  parent.touch();
  return node;
}

function remove(given, syscall) {
  const { parent, base } = parentOf(given, syscall);
  const node = parent.children.get(base);
  if (node === undefined) throw fileError('ENOENT', syscall, String(given));
  parent.children.delete(base);
  parent.touch();
  return node;
}

// Counts a node, and all below it, out.
function free(node) {
  nodes -= 1;
  if (node.isDirectory) for (const child of node.children.values()) free(child);
  else node.release();
}

module.exports = { File, Directory, nameOf, find, get, add, remove, free, parentOf };
