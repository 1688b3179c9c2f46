// `fs.createReadStream` and `fs.createWriteStream`.
const { Readable, Writable } = require('readable-stream');
const sync = require('./sync.js');

const optionsOf = (options) => (typeof options === 'string' ? { encoding: options } : options ?? {});

// Opens in `construct`, so that `open` and `error` come after the caller could listen.
function opened(stream, flags, callback) {
  const done = () => {
    callback();
    stream.emit('open', stream.fd);
    stream.emit('ready');
  };
  if (typeof stream.fd === 'number') {
    done();
    return;
  }
  require('./index.js').open(stream.path, flags, stream.mode, (error, fd) => {
    if (error) {
      callback(error);
      return;
    }
    stream.fd = fd;
    done();
  });
}

function closed(stream, error, callback) {
  try {
    if (stream.autoClose && typeof stream.fd === 'number') sync.closeSync(stream.fd);
    stream.fd = null;
  } catch (failed) {
    error ??= failed;
  }
  callback(error);
}

// Plain functions, not classes: graceful-fs and its like call them on objects of their own.
function ReadStream(path, options) {
  if (!(this instanceof ReadStream)) return new ReadStream(path, options);
  const { flags = 'r', fd, mode, start = 0, end = Infinity, autoClose = true, encoding, highWaterMark = 64 * 1024 } = optionsOf(options);
  Object.assign(this, { path, flags, fd, mode, start, end, autoClose, bytesRead: 0, position: start });
  Readable.call(this, { highWaterMark, encoding, autoDestroy: true, emitClose: true });
}
Object.setPrototypeOf(ReadStream, Readable);
ReadStream.prototype = Object.assign(Object.create(Readable.prototype, { constructor: { value: ReadStream, writable: true, configurable: true } }), {
  _construct(callback) {
    opened(this, this.flags, callback);
  },
  _read(size) {
    try {
      const chunk = Buffer.alloc(Math.max(0, Math.min(size, this.end - this.position + 1)));
      const count = chunk.length === 0 ? 0 : sync.readSync(this.fd, chunk, 0, chunk.length, this.position);
      this.position += count;
      this.bytesRead += count;
      this.push(count === 0 ? null : chunk.subarray(0, count));
    } catch (error) {
      this.destroy(error);
    }
  },
  _destroy(error, callback) {
    closed(this, error, callback);
  },
  close(callback) {
    if (callback !== undefined) this.once('close', callback);
    this.destroy();
  },
});

function WriteStream(path, options) {
  if (!(this instanceof WriteStream)) return new WriteStream(path, options);
  const { flags = 'w', fd, mode, start, autoClose = true, encoding = 'utf8', highWaterMark = 16 * 1024 } = optionsOf(options);
  Object.assign(this, { path, flags, fd, mode, autoClose, bytesWritten: 0, position: start });
  Writable.call(this, { highWaterMark, defaultEncoding: encoding, autoDestroy: true, emitClose: true });
}
Object.setPrototypeOf(WriteStream, Writable);
WriteStream.prototype = Object.assign(Object.create(Writable.prototype, { constructor: { value: WriteStream, writable: true, configurable: true } }), {
  _construct(callback) {
    opened(this, this.flags, callback);
  },
  _write(chunk, encoding, callback) {
    try {
      const count = sync.writeSync(this.fd, chunk, 0, chunk.length, this.position);
      if (this.position !== undefined) this.position += count;
      this.bytesWritten += count;
      callback();
    } catch (error) {
      callback(error);
    }
  },
  _destroy(error, callback) {
    closed(this, error, callback);
  },
  close(callback) {
    if (callback !== undefined) this.once('close', callback);
    this.end();
  },
});

module.exports = {
  ReadStream,
  WriteStream,
  createReadStream: (path, options) => new ReadStream(path, options),
  createWriteStream: (path, options) => new WriteStream(path, options),
};
