// `http2`: named by packages that also speak HTTP/1.1, which is what they get.
const { unsupported } = require('./errors.js');

module.exports = {
  constants: {},
  connect() {
    throw unsupported('http2.connect');
  },
};
