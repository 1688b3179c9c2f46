// `qs`, as far as npm's `url` asks for it: queries are read and written as Node's `querystring` does.
const { parse, stringify } = require('./querystring.js');

// The options it passes ask for just that form.
module.exports = { parse: (text) => parse(text), stringify: (fields) => stringify(fields) };
