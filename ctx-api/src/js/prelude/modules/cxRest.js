// The management interface, from a script.
(function (host) {
  function request(user, method, path, query, body) {
    return host('rest', 'request', () => [user, method, String(path), query ?? null, body === undefined ? null : JSON.stringify(body)]);
  }

  // `auth('ops')` and `new auth('ops')` alike.
  function auth(user) {
    const name = user === undefined || user === null ? null : String(user);
    const read = (path, query) => request(name, 'GET', path, query);
    const create = (path, body = {}) => request(name, 'POST', path, null, body);
    const update = (path, body = {}) => request(name, 'PUT', path, null, body);
    const remove = (path, query) => request(name, 'DELETE', path, query);
    return { get: read, post: create, put: update, delete: remove, create, read, update };
  }

  const cxRest = function (user) {
    return auth(user);
  };
  return Object.assign(cxRest, { auth, cxRest, default: cxRest });
})
