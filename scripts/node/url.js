// `url`: the old parser from npm, and the web's classes.
const legacy = require('url/');

function pathToFileURL(path) {
  const url = new URL('file:///');
  url.pathname = encodeURI(String(path)).replace(/[?#]/g, encodeURIComponent);
  return url;
}

function fileURLToPath(url) {
  const { protocol, pathname } = new URL(url);
  if (protocol !== 'file:') throw Object.assign(new TypeError('The URL must be of scheme file'), { code: 'ERR_INVALID_URL_SCHEME' });
  return decodeURIComponent(pathname);
}

// What `http.request` takes in place of a URL.
function urlToHttpOptions(url) {
  const { protocol, hostname, pathname, search, hash, href, port, username, password } = url;
  const options = { protocol, hostname: hostname.replace(/^\[|\]$/g, ''), hash, search, pathname, path: `${pathname}${search}`, href };
  if (port !== '') options.port = Number(port);
  if (username !== '' || password !== '') options.auth = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return options;
}

module.exports = {
  ...legacy,
  // The old formatter knows no URL objects of the web.
  format: (url, options) => (url instanceof URL ? url.href : legacy.format(url, options)),
  URL,
  URLSearchParams,
  domainToASCII: (domain) => new URL(`http://${domain}`).hostname,
  domainToUnicode: (domain) => require('punycode/').toUnicode(domain),
  fileURLToPath,
  pathToFileURL,
  urlToHttpOptions,
};
