// `querystring`.
const { stringify } = require('querystring-es3');

// As `encodeURIComponent` has it; half of a surrogate pair is a replacement character.
const escape = (text) => encodeURIComponent(String(text).toWellFormed());

// What is no escape stays as it is.
function unescape(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return Buffer.from(String(text).replace(/%([0-9a-f]{2})|[^\0-\x7f]+|%/gi, (whole, hex) => {
      if (hex !== undefined) return String.fromCharCode(parseInt(hex, 16));
      return whole === '%' ? whole : Buffer.from(whole).toString('latin1');
    }), 'latin1').toString();
  }
}

// As Node reads it: what cannot be decoded stays, as far as it is text.
function parse(text, sep, eq, options) {
  const found = { __proto__: null };
  if (typeof text !== 'string' || text.length === 0) return found;
  const [between, equals] = [`${sep || '&'}`, `${eq || '='}`];
  const { maxKeys = 1000, decodeURIComponent: decode = unescape } = options ?? {};
  const decoded = (part) => {
    const plain = part.replaceAll('+', '%20');
    try {
      return decode(plain);
    } catch {
      return unescape(plain);
    }
  };
  for (const pair of text.split(between, maxKeys > 0 ? maxKeys : undefined)) {
    if (pair === '') continue;
    const at = pair.indexOf(equals);
    const key = decoded(at < 0 ? pair : pair.slice(0, at));
    const value = at < 0 ? '' : decoded(pair.slice(at + equals.length));
    if (!(key in found)) found[key] = value;
    else if (Array.isArray(found[key])) found[key].push(value);
    else found[key] = [found[key], value];
  }
  return found;
}

module.exports = { parse, stringify, escape, unescape, decode: parse, encode: stringify };
