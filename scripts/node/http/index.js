// `http`, as a client. Requests are operations of the engine: bodies are whole, and its egress policy and bounds hold.
const { Writable } = require('readable-stream');
const { Agent } = require('./agent.js');
const { IncomingMessage } = require('./incoming.js');
const { ClientRequest, validateHeaderName, validateHeaderValue } = require('./request.js');
const client = require('./client.js');
const { STATUS_CODES, METHODS } = require('./names.js');
const { unsupported } = require('../errors.js');

class Server {
  constructor() {
    throw unsupported('http.Server');
  }
}

const http = {
  Agent,
  ClientRequest,
  IncomingMessage,
  METHODS,
  OutgoingMessage: Writable,
  STATUS_CODES,
  Server,
  ServerResponse: Writable,
  createServer: () => new Server(),
  globalAgent: new Agent({ keepAlive: true }),
  maxHeaderSize: 16384,
  validateHeaderName,
  validateHeaderValue,
};

module.exports = Object.assign(http, client('http:', 80, () => http.globalAgent));
