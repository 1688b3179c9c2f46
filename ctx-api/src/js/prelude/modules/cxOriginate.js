// A call to `destination` that is led to `extension` once it is answered.
(function (host) {
  // Whose call it is, and by which engine, follows from the run: the first two are there for scripts that name them.
  const originate = (companyId, server, destination, cli, extension) =>
    host('telephony', 'originate', () => [{ to: String(destination), from: cli === undefined || cli === null ? null : String(cli), destination: String(extension) }]).then(
      ({ id }) => ({ call_id: id }),
    );
  return { originate };
})
