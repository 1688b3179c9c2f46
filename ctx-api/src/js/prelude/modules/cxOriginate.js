// A call to `destination` that is led to `extension` once it is answered.
(function (host, runtime) {
  const { text, optionalText } = runtime.part('arguments');
  const label = 'cxOriginate.originate';

  // Whose call it is, and by which engine, follows from the run: the first two are there for scripts that name them.
  const originate = (companyId, server, destination, cli, extension) =>
    host('telephony', 'originate', () => [
      { to: text(label, 'destination', destination), from: optionalText(label, 'cli', cli), destination: text(label, 'extension', extension) },
    ]).then(({ id }) => ({ call_id: id }));
  return { originate };
})
