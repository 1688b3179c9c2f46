// Showing values as Node does, and `console.log`'s format strings.
(function () {
  const MAX_DEPTH = 2;
  const MAX_ITEMS = 100;
  // Those of a buffer.
  const MAX_OCTETS = 50;
  // Members of a list whose keys are all looked at.
  const MAX_KEYS = 1000;
  const LINE = 72;

  function quote(string) {
    const mark = !string.includes("'") ? "'" : !string.includes('"') ? '"' : '`';
    const escaped = string.replace(/[\\\n\r\t\b\f\v\0]/g, (found) => JSON.stringify(found).slice(1, -1));
    return mark + (string.includes(mark) ? escaped.replaceAll(mark, `\\${mark}`) : escaped) + mark;
  }

  // A line of the log fails no run: what objects do when they are looked at is theirs.
  function inspect(value, depth = MAX_DEPTH, seen = []) {
    try {
      return shown(value, depth, seen);
    } catch {
      return typeof value === 'function' ? '[Function]' : '[Object]';
    }
  }

  function read(value, key) {
    try {
      return value[key];
    } catch {
      return undefined;
    }
  }

  function shown(value, depth, seen) {
    switch (typeof value) {
      case 'string': return quote(value);
      case 'number': return Object.is(value, -0) ? '-0' : String(value);
      case 'bigint': return `${value}n`;
      case 'symbol': return value.toString();
      case 'function': return functionName(value) + properties(value, depth, seen);
      case 'object': return value === null ? 'null' : object(value, depth, seen);
      default: return String(value);
    }
  }

  function functionName(value) {
    const kind = Object.prototype.toString.call(value).slice(8, -1);
    return value.name ? `[${kind}: ${value.name}]` : `[${kind} (anonymous)]`;
  }

  function properties(value, depth, seen) {
    const keys = Object.keys(value);
    return keys.length === 0 || depth < 0 ? '' : ` ${braces('', '{', '}', entries(value, keys, depth, [...seen, value]))}`;
  }

  function constructorName(value) {
    const prototype = Object.getPrototypeOf(value);
    if (prototype === null) return '[Object: null prototype]';
    const constructor = read(prototype, 'constructor');
    const name = typeof constructor === 'function' ? read(constructor, 'name') : undefined;
    return typeof name === 'string' && name !== '' ? name : 'Object';
  }

  const tag = (value) => Object.prototype.toString.call(value);
  // Looked at first: naming a class would load it for values that cannot be of it.
  const is = (value, name) => tag(value) === `[object ${name}]`;

  function object(value, depth, seen) {
    if (seen.includes(value)) return '[Circular *1]';
    if (value instanceof Error) return error(value, depth, seen);
    if (is(value, 'Date') && value instanceof Date) return Number.isNaN(value.getTime()) ? 'Invalid Date' : value.toISOString();
    if (value instanceof RegExp) return String(value);
    if (value instanceof Number || value instanceof String || value instanceof Boolean) {
      return `[${constructorName(value)}: ${inspect(value.valueOf())}]`;
    }
    const name = constructorName(value);
    if (depth < 0) return Array.isArray(value) ? '[Array]' : `[${name}]`;
    const inner = [...seen, value];
    if (Array.isArray(value)) {
      // Indices come first, and in order.
      const keys = listKeys(value);
      let count = keys.length;
      while (count > 0 && !/^\d+$/.test(keys[count - 1])) count--;
      const items = elements(value, keys, count, depth, inner);
      return braces(name === 'Array' ? '' : `${name}(${value.length}) `, '[', ']', [...items, ...entries(value, keys.slice(count), depth, inner)]);
    }
    if (is(value, 'Map') && value instanceof Map) {
      const items = first(value, ([key, item]) => `${inspect(key, depth - 1, inner)} => ${inspect(item, depth - 1, inner)}`);
      return braces(`${name}(${value.size}) `, '{', '}', limited(items, value.size));
    }
    if (is(value, 'Set') && value instanceof Set) {
      const items = first(value, (item) => inspect(item, depth - 1, inner));
      return braces(`${name}(${value.size}) `, '{', '}', limited(items, value.size));
    }
    if (/Array]$/.test(tag(value)) && ArrayBuffer.isView(value)) {
      if (name === 'Buffer') return octets(value);
      return braces(`${name}(${value.length}) `, '[', ']', limited(Array.from(value.subarray(0, MAX_ITEMS + 1), String), value.length));
    }
    if (is(value, 'ArrayBuffer') && value instanceof ArrayBuffer) return `ArrayBuffer { byteLength: ${value.byteLength} }`;
    if (value instanceof Promise) return 'Promise { … }';
    return braces(name === 'Object' ? '' : `${name} `, '{', '}', entries(value, Object.keys(value), depth, inner));
  }

  function octets(buffer) {
    const shown = Array.from(buffer.subarray(0, MAX_OCTETS), (octet) => octet.toString(16).padStart(2, '0'));
    const more = buffer.length - shown.length;
    return `<Buffer ${shown.join(' ')}${more > 0 ? ` ... ${more} more byte${more === 1 ? '' : 's'}` : ''}>`;
  }

  function error(value, depth, seen) {
    const [name, message, trace] = ['name', 'message', 'stack'].map((key) => read(value, key));
    const stack = typeof trace === 'string' ? trace.split('\n').filter((line) => line.trim() !== '' && !line.includes('(<null>')) : [];
    const head = message === '' || message === undefined ? String(name) : `${String(name)}: ${String(message)}`;
    const extra = Object.keys(value).filter((key) => key !== 'stack' && key !== 'message');
    if ('cause' in value) extra.push('cause');
    const shown = entries(value, extra, depth, [...seen, value]);
    const text = [seen.length > 0 && stack.length === 0 ? `[${head}]` : head, ...stack].join('\n');
    return shown.length === 0 ? text : `${text} {\n  ${shown.join(',\n  ')}\n}`;
  }

  function entries(value, keys, depth, seen) {
    const listed = keys.slice(0, MAX_ITEMS).map((key) => {
      const name = /^[A-Za-z_$][\w$]*$/.test(key) ? key : quote(key);
      return `${name}: ${property(value, key, depth, seen)}`;
    });
    return limited(listed, keys.length);
  }

  function property(value, key, depth, seen) {
    const { get, set, value: plain } = Object.getOwnPropertyDescriptor(value, key) ?? { value: read(value, key) };
    if (get !== undefined) return set === undefined ? '[Getter]' : '[Getter/Setter]';
    return set !== undefined ? '[Setter]' : inspect(plain, depth - 1, seen);
  }

  // Those of an array, of whose `keys` so many are indices: a row of holes is one item.
  function elements(value, keys, count, depth, seen) {
    const { length } = value;
    const items = [];
    let next = 0;
    const holes = (end) => {
      if (next < end) items.push(`<${end - next} empty item${end - next === 1 ? '' : 's'}>`);
      next = end;
    };
    for (let at = 0; at < count && items.length < MAX_ITEMS; at++) {
      holes(Number(keys[at]));
      if (items.length === MAX_ITEMS) break;
      items.push(property(value, keys[at], depth, seen));
      next++;
    }
    if (items.length < MAX_ITEMS) holes(length);
    return limited(items, items.length + length - next);
  }

  // Those of a long list take much memory, and only the first are shown.
  function listKeys(list) {
    const head = [];
    if (list.length > MAX_KEYS) while (head.length < MAX_ITEMS && Object.hasOwn(list, head.length)) head.push(String(head.length));
    return head.length === MAX_ITEMS ? head : Object.keys(list);
  }

  function first(iterable, show) {
    const items = [];
    for (const item of iterable) {
      if (items.length === MAX_ITEMS) break;
      items.push(show(item));
    }
    return items;
  }

  function limited(items, count = items.length) {
    if (count <= MAX_ITEMS) return items;
    const more = count - MAX_ITEMS;
    return [...items.slice(0, MAX_ITEMS), `... ${more} more item${more === 1 ? '' : 's'}`];
  }

  function braces(prefix, open, close, items) {
    if (items.length === 0) return `${prefix}${open}${close}`;
    const length = items.reduce((sum, item) => sum + item.length + 2, prefix.length);
    if (length <= LINE && !items.some((item) => item.includes('\n'))) return `${prefix}${open} ${items.join(', ')} ${close}`;
    return `${prefix}${open}\n  ${items.join(',\n').replaceAll('\n', '\n  ')}\n${close}`;
  }

  // `%s %d %i %f %j %o %O %c %%` in the first argument, the rest behind it.
  function format(args) {
    const rest = [...args];
    const parts = [];
    if (typeof rest[0] === 'string') {
      const template = rest.shift();
      parts.push(rest.length === 0 ? template : template.replace(/%[sdifjoOc%]/g, (found) => {
        if (found === '%%') return '%';
        if (rest.length === 0) return found;
        const value = rest.shift();
        switch (found) {
          case '%s': return typeof value === 'object' && value !== null ? inspect(value, 0) : typeof value === 'bigint' ? `${value}n` : String(value);
          case '%d': return typeof value === 'object' ? 'NaN' : number(value, Number);
          case '%i': return number(value, parseInt);
          case '%f': return typeof value === 'bigint' ? String(parseFloat(value)) : number(value, parseFloat);
          case '%j': return json(value);
          case '%c': return '';
          default: return inspect(value, 4);
        }
      }));
    }
    for (const value of rest) parts.push(typeof value === 'string' ? value : inspect(value));
    return parts.join(' ');
  }

  function number(value, read) {
    if (typeof value === 'bigint') return `${value}n`;
    return typeof value === 'symbol' ? 'NaN' : String(read(value));
  }

  function json(value) {
    try {
      return String(JSON.stringify(value));
    } catch {
      return '[Circular]';
    }
  }

  return { inspect, format };
})
