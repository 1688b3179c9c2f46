// `console`: lines of the call's log.
(function (host, { part, callSite }) {
  const { now } = host;
  // Objects, not maps: most runs never name `Map`, and then do without it.
  const timers = { __proto__: null };
  const counts = { __proto__: null };
  let indent = '';

  function write(level, args) {
    const text = args.length === 1 && typeof args[0] === 'string' ? args[0] : part('inspect').format(args);
    host.log(level, indent === '' ? text : text.replace(/^/gm, indent), callSite());
  }

  function elapsed(label) {
    const started = timers[label];
    if (started === undefined) write('warn', [`console: no timer '${label}'`]);
    return started === undefined ? undefined : `${label}: ${now() - started}ms`;
  }

  function table(data) {
    if (typeof data !== 'object' || data === null) return write('info', [data]);
    const rows = Object.entries(data);
    const columns = [];
    let plain = false;
    for (const [, row] of rows) {
      if (typeof row !== 'object' || row === null) plain = true;
      else for (const key of Object.keys(row)) if (!columns.includes(key)) columns.push(key);
    }
    const { inspect } = part('inspect');
    const head = ['(index)', ...columns, ...(plain ? ['Values'] : [])];
    const body = rows.map(([index, row]) => {
      const isObject = typeof row === 'object' && row !== null;
      const cells = columns.map((key) => (isObject && key in row ? inspect(row[key], 0) : ''));
      return [index, ...cells, ...(plain ? [isObject ? '' : inspect(row, 0)] : [])];
    });
    const widths = head.map((title, at) => Math.max(title.length, ...body.map((cells) => cells[at].length)));
    const line = (cells) => `| ${cells.map((cell, at) => cell.padEnd(widths[at])).join(' | ')} |`;
    const rule = `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`;
    return write('info', [[line(head), rule, ...body.map(line)].join('\n')]);
  }

  const console = {
    debug: (...args) => write('debug', args),
    log: (...args) => write('info', args),
    info: (...args) => write('info', args),
    warn: (...args) => write('warn', args),
    error: (...args) => write('error', args),
    trace: (...args) => write('error', [`Trace: ${part('inspect').format(args)}`]),
    assert(condition, ...args) {
      if (condition) return;
      if (typeof args[0] === 'string') write('error', [`Assertion failed: ${args[0]}`, ...args.slice(1)]);
      else write('error', ['Assertion failed', ...args]);
    },
    dir: (value) => write('info', [part('inspect').inspect(value)]),
    dirxml: (...args) => write('info', args),
    table,
    time(label = 'default') {
      timers[String(label)] = now();
    },
    timeLog(label = 'default', ...args) {
      const text = elapsed(String(label));
      if (text !== undefined) write('info', [text, ...args]);
    },
    timeEnd(label = 'default') {
      const text = elapsed(String(label));
      delete timers[String(label)];
      if (text !== undefined) write('info', [text]);
    },
    count(label = 'default') {
      const count = (counts[String(label)] ?? 0) + 1;
      counts[String(label)] = count;
      write('info', [`${label}: ${count}`]);
    },
    countReset(label = 'default') {
      delete counts[String(label)];
    },
    group(...args) {
      if (args.length > 0) write('info', args);
      indent += '  ';
    },
    groupEnd() {
      indent = indent.slice(2);
    },
  };
  console.groupCollapsed = console.group;
  return { console };
})
