// `util.parseArgs`: what a list of arguments says, by the options that there are.
const { invalidArgument } = require('./errors.js');

const refused = (code, message) => Object.assign(new TypeError(message), { code: `ERR_PARSE_ARGS_${code}` });

function check(name, type, value) {
  if (typeof value !== type || value === null || Array.isArray(value)) throw invalidArgument(name, `of type ${type}`, value);
}

// The options, each with all that it may say, by their names.
function described(options) {
  check('options', 'object', options);
  const known = new Map();
  for (const [name, option] of Object.entries(options)) {
    const label = `options.${name}`;
    check(label, 'object', option);
    const { type, short, multiple = false, default: fallback } = option;
    if (type !== 'string' && type !== 'boolean') throw invalidArgument(`${label}.type`, "'string' or 'boolean'", type);
    if (short !== undefined) {
      check(`${label}.short`, 'string', short);
      if (short.length !== 1) {
        const message = `The property '${label}.short' must be a single character. Received '${short}'`;
        throw Object.assign(new TypeError(message), { code: 'ERR_INVALID_ARG_VALUE' });
      }
    }
    check(`${label}.multiple`, 'boolean', multiple);
    if (fallback !== undefined) {
      if (multiple && !Array.isArray(fallback)) throw invalidArgument(`${label}.default`, 'an instance of Array', fallback);
      for (const value of multiple ? fallback : [fallback]) check(`${label}.default`, type, value);
    }
    known.set(name, { name, type, short, multiple, fallback });
  }
  return known;
}

// What the arguments are, one after another. `index` is the place of the argument that a token is of.
function* tokensOf(args, known) {
  // A letter is also the name of the option that is called so.
  const byLetter = (letter) => [...known.values()].find(({ short }) => short === letter) ?? known.get(letter);
  const takesValue = (option) => option?.type === 'string';
  for (let index = 0; index < args.length; index++) {
    const arg = args[index];
    const isOption = arg.length > 1 && arg[0] === '-';
    if (arg === '--') {
      yield { kind: 'option-terminator', index };
      while (++index < args.length) yield { kind: 'positional', index, value: args[index] };
    } else if (!isOption) {
      yield { kind: 'positional', index, value: arg };
    } else if (arg[1] === '-') {
      const equals = arg.indexOf('=', 3);
      const name = arg.slice(2, equals === -1 ? undefined : equals);
      const token = { kind: 'option', name, rawName: `--${name}`, index, value: undefined, inlineValue: undefined };
      if (equals !== -1) Object.assign(token, { value: arg.slice(equals + 1), inlineValue: true });
      else if (takesValue(known.get(name)) && index + 1 < args.length) Object.assign(token, { value: args[++index], inlineValue: false });
      yield token;
    } else {
      // `-abc` is `-a -b -c`, and `-afile` is `-a file` where `a` takes a value.
      const place = index;
      for (let at = 1; at < arg.length; at++) {
        const option = byLetter(arg[at]);
        const token = { kind: 'option', name: option?.name ?? arg[at], rawName: `-${arg[at]}`, index: place, value: undefined, inlineValue: undefined };
        if (takesValue(option) && at + 1 < arg.length) {
          Object.assign(token, { value: arg.slice(at + 1), inlineValue: true });
          at = arg.length;
        } else if (takesValue(option) && index + 1 < args.length) {
          Object.assign(token, { value: args[++index], inlineValue: false });
        }
        yield token;
      }
    }
  }
}

// Refuses what the options do not allow.
function checkUse({ name, rawName, value, inlineValue }, option, isNegated, allowPositionals) {
  if (option === undefined || (isNegated && option.type !== 'boolean')) {
    const hint = `. To specify a positional argument starting with a '-', place it at the end of the command after '--', as in '-- ${JSON.stringify(rawName)}`;
    throw refused('UNKNOWN_OPTION', `Unknown option '${rawName}'${allowPositionals ? hint : ''}`);
  }
  const shown = `${option.short === undefined ? '' : `-${option.short}, `}--${option.name}`;
  if (option.type === 'string' && value === undefined) throw refused('INVALID_OPTION_VALUE', `Option '${shown} <value>' argument missing`);
  if (option.type === 'boolean' && value !== undefined) throw refused('INVALID_OPTION_VALUE', `Option '${shown}' does not take an argument`);
  if (inlineValue === false && value.length > 1 && value[0] === '-') {
    const example = rawName.startsWith('--') ? `'${rawName}=-XYZ'` : `'--${name}=-XYZ' or '${rawName}-XYZ'`;
    throw refused('INVALID_OPTION_VALUE', `Option '${rawName}' argument is ambiguous.
Did you forget to specify the option argument for '${rawName}'?
To specify an option argument starting with a dash use ${example}.`);
  }
}

function parseArgs(config = {}) {
  check('config', 'object', config);
  const { args = [], options = {}, strict = true, allowPositionals = !strict, allowNegative = false, tokens: wantsTokens = false } = config;
  if (!Array.isArray(args)) throw invalidArgument('args', 'an instance of Array', args);
  for (const [name, value] of Object.entries({ strict, allowPositionals, allowNegative, tokens: wantsTokens })) check(name, 'boolean', value);
  const known = described(options);
  const values = Object.create(null);
  const positionals = [];
  const tokens = [...tokensOf(args.map(String), known)];
  for (const token of tokens) {
    if (token.kind === 'positional') {
      if (!allowPositionals) {
        throw refused('UNEXPECTED_POSITIONAL', `Unexpected argument '${token.value}'. This command does not take positional arguments`);
      }
      positionals.push(token.value);
    }
    if (token.kind !== 'option') continue;
    const isNegated = allowNegative && token.name.startsWith('no-') && !known.has(token.name);
    const positive = isNegated ? token.name.slice(3) : token.name;
    if (strict) checkUse(token, known.get(positive), isNegated, allowPositionals);
    if (token.value === undefined) token.name = positive;
    const { name } = token;
    if (name === '__proto__') continue;
    const value = token.value ?? !isNegated;
    if (known.get(name)?.multiple) (values[name] ??= []).push(value);
    else values[name] = value;
  }
  for (const { name, fallback } of known.values()) {
    if (fallback !== undefined && name !== '__proto__') values[name] ??= fallback;
  }
  return wantsTokens ? { values, positionals, tokens } : { values, positionals };
}

module.exports = { parseArgs };
