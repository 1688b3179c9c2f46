// Messages to people, by the providers of the engine's configuration.
(function (host, runtime) {
  const { text: asText, optionalText } = runtime.part('arguments');

  function named(value) {
    return typeof value === 'object' && value !== null ? value : {};
  }

  const email = (message) => host('send', 'email', () => [message]);

  // `sms(number, text)`, or one object.
  const sms = (number, text, from) => {
    const { to = number, text: body = text, from: sender = from } = named(number);
    const label = 'cxSend.sms';
    return host('send', 'sms', () => [asText(label, 'number', to), asText(label, 'text', body), optionalText(label, 'from', sender)]);
  };

  const notify = (notice, text) => host('send', 'notify', () => [typeof notice === 'string' ? { title: notice, text: String(text ?? '') } : notice]);

  // A MESSAGE to a user, a number on a gateway or a `sip:` URI: `sip(to, text)`, or one object.
  const sip = (message, text) => host('send', 'sip', () => [
    typeof message === 'object' && message !== null ? message : { to: asText('cxSend.sip', 'to', message), text: asText('cxSend.sip', 'text', text) },
  ]);

  return { email, sms, notify, sip };
})
