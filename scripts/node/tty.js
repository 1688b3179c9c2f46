// `tty`: no stream of a script is a terminal.
module.exports = { isatty: () => false };
