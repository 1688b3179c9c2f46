// Records of any shape in named areas, and SQL on the account's own database.
(function (host, runtime) {
  const { text: asText } = runtime.part('arguments');
  const text = (operation, name, value) => asText(`cxUserspace.${operation}`, name, value);

  // Data travels as text, so that an object's keys keep their order.
  function json(operation, data) {
    const written = JSON.stringify(data === undefined ? null : data);
    if (written === undefined) throw new TypeError(`cxUserspace.${operation}: the data cannot be written as JSON, got ${typeof data}`);
    return written;
  }

  const call = (operation, args, name = operation) => host('cxUserspace', name, () => args((key, value) => text(operation, key, value)));
  const one = (operation, name) => (area, key) => call(operation, (check) => [check('area', area), check('key', key)], name);
  const write = (operation) => (area, key, data) =>
    call(operation, (check) => [check('area', area), check('key', key), json(operation, data)]);

  // What comes out of a column of bytes, or of an integer that no number of JavaScript holds; and what goes into one.
  function cell({ $bytes, $int }) {
    return $int === undefined ? Uint8Array.from(atob($bytes), (char) => char.charCodeAt(0)) : BigInt($int);
  }

  function received(rows) {
    for (const row of rows) {
      for (const name of Object.keys(row)) {
        if (typeof row[name] === 'object' && row[name] !== null) row[name] = cell(row[name]);
      }
    }
    return rows;
  }

  function parameter(value) {
    if (value === undefined) return null;
    if (typeof value === 'bigint') return { $int: String(value) };
    if (typeof value !== 'object' || value === null) return value;
    if (value instanceof Date) return value.toISOString();
    if (ArrayBuffer.isView(value)) {
      const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
      return { $bytes: btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join('')) };
    }
    return value;
  }

  function parameters(given) {
    if (given === undefined || given === null) return null;
    if (Array.isArray(given)) return given.map(parameter);
    return Object.fromEntries(Object.entries(given).map(([name, value]) => [name, parameter(value)]));
  }

  // Keys that are numbers are taken as they print, here too; a number may be a text of one.
  function listed(options) {
    if (typeof options !== 'object' || options === null) return options ?? {};
    const given = { ...options };
    for (const name of ['prefix', 'after']) {
      if (typeof given[name] === 'number') given[name] = String(given[name]);
    }
    if (given.limit === '') delete given.limit;
    else if (typeof given.limit === 'string' && !Number.isNaN(Number(given.limit))) given.limit = Number(given.limit);
    return given;
  }

  // Rows of a statement that gives some; otherwise what it changed.
  async function sql(statement, params) {
    const { columns, rows, changes, lastID } = await call('sql', (check) => [check('text', statement), parameters(params)]);
    return columns.length > 0 ? received(rows) : { changes, lastID };
  }

  // The npm package, whose driver is `sql`: it has no connection to open, and needs no pool of them.
  let builder;
  function connect() {
    const make = runtime.part('packages').require('knex');
    // A class, not an object of its own: a transaction makes itself another client of the same class, to be refused by the database.
    const Sqlite = make({ client: 'sqlite3', useNullAsDefault: true }).client.constructor;
    class Client extends Sqlite {
      _driver() {
        return {};
      }
      async acquireConnection() {
        return {};
      }
      async releaseConnection() {}
      async _query(_, query) {
        const { columns, rows, changes, lastID } =
          await call('sql', (check) => [check('text', query.sql), parameters(query.bindings ?? [])]);
        return Object.assign(query, { response: columns.length > 0 ? received(rows) : [], context: { changes, lastID } });
      }
    }
    return make({ client: Client, useNullAsDefault: true });
  }

  // An account has one database; scripts that name it are understood.
  function knex(database, table) {
    text('knex', 'database', database);
    builder ??= connect();
    return table === undefined ? builder : builder(text('knex', 'table', table));
  }

  const userspace = {
    create: write('create'),
    read: one('read', 'get'),
    get: one('get'),
    update: write('update'),
    delete: one('delete'),
    random: (area) => call('random', (check) => [check('area', area)]),
    list: (area, options) => call('list', (check) => [check('area', area), listed(options)]),
    sql,
    knex,
  };
  return userspace;
})
