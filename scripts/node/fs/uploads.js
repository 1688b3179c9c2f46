// Files of a form: they lie with the engine, and come into the scratch folder when they are first opened.
const { call } = require('lockstep:host');
const { nameOf, find } = require('./volume.js');
const { writeFileSync } = require('./sync.js');

const UPLOAD = /^\/upload-\d+(\.\w+)?$/;

// Whether what failed with `error` is worth another try: the file is here now.
async function fetched(name, error) {
  if (error.code !== 'ENOENT' || (typeof name !== 'string' && !(name instanceof URL))) return false;
  const path = nameOf(name);
  if (!UPLOAD.test(path) || find(path) !== undefined) return false;
  const chunks = [];
  let length = 0;
  try {
    for (let size = Infinity; length < size;) {
      const { value, body } = await call('uploads', 'read', [path, length]);
      size = body.byteLength === 0 ? length : value.size;
      length += body.byteLength;
      chunks.push(Buffer.from(body));
    }
  } catch {
    return false;
  }
  if (find(path) === undefined) writeFileSync(path, Buffer.concat(chunks));
  return true;
}

// What fails without having waited says how such a file is read.
function unfetched(name, error) {
  if (error.code === 'ENOENT' && typeof name === 'string' && UPLOAD.test(name)) {
    error.message += " (a form's file is read asynchronously first: await fs.promises.readFile(path))";
  }
  return error;
}

module.exports = { fetched, unfetched };
