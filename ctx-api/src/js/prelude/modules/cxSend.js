// Messages to people, by the providers of the engine's configuration.
(function (host) {
  function named(value) {
    return typeof value === 'object' && value !== null ? value : {};
  }

  const email = (message) => host('send', 'email', () => [message]);

  // `sms(number, text)`, or one object.
  const sms = (number, text, from) => {
    const { to = number, text: body = text, from: sender = from } = named(number);
    return host('send', 'sms', () => [String(to ?? ''), String(body ?? ''), sender === undefined ? null : String(sender)]);
  };

  const notify = (notice, text) => host('send', 'notify', () => [typeof notice === 'string' ? { title: notice, text: String(text ?? '') } : notice]);

  // A MESSAGE to a user, a number on a gateway or a `sip:` URI: `sip(to, text)`, or one object.
  const sip = (message, text) => host('send', 'sip', () => [typeof message === 'object' ? message : { to: String(message), text: String(text ?? '') }]);

  return { email, sms, notify, sip };
})
