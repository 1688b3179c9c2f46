// What tests of this folder ask about a call.

/** What the script logged after `name`, as JSON. */
exports.logged = async (call, name) => {
  const line = (await call.logs()).find((text) => text.startsWith(`${name} `));
  if (line === undefined) throw new Error(`nothing was logged after '${name}': ${JSON.stringify(await call.logs())}`);
  return JSON.parse(line.slice(name.length + 1));
};

/** The script's operations, in the order in which it asked for them. */
exports.operations = async (call) => (await call.timeline()).entries.filter((entry) => entry.kind === 'operation');

/** SIP that the engine sent to the caller. */
exports.sent = async (call) =>
  (await call.timeline()).entries.filter((entry) => entry.kind === 'sip' && entry.direction === 'out').map((entry) => entry.summary);

/** Hears these one right after another, octet for octet. */
exports.hearsInOrder = async (call, ...names) => {
  let before;
  for (const name of names) {
    const heard = await call.hears(name);
    if (heard.how !== 'exact') throw new Error(`${name} was ${heard.how}`);
    if (before && heard.from_ms - before > 500) throw new Error(`${heard.from_ms - before} ms lie before ${name}`);
    before = heard.to_ms;
  }
};

/** Errors that the script did not see coming, with their lines. */
exports.errors = async (call) => {
  const { entries } = await call.timeline();
  return entries.filter((entry) => entry.kind === 'log' && entry.level === 'error').map((entry) => `${entry.text} ${entry.line}`);
};
