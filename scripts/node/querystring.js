// `querystring`.
const { parse, stringify } = require('querystring-es3');

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

module.exports = { parse, stringify, escape, unescape, decode: parse, encode: stringify };
