// `https`: as `http`, over TLS whose certificates the engine checks.
const http = require('./index.js');
const client = require('./client.js');

function Agent(options) {
  if (!(this instanceof Agent)) return new Agent(options);
  http.Agent.call(this, options);
  this.defaultPort = 443;
  this.protocol = 'https:';
}
Object.setPrototypeOf(Agent, http.Agent);
Agent.prototype = Object.create(http.Agent.prototype, { constructor: { value: Agent, writable: true, configurable: true } });

const https = { Agent, Server: http.Server, createServer: http.createServer, globalAgent: new Agent({ keepAlive: true }) };

module.exports = Object.assign(https, client('https:', 443, () => https.globalAgent));
