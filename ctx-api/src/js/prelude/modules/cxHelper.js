// Keys under the engine's secret.
(function (host, runtime) {
  const { text } = runtime.part('arguments');
  const generatePbxSecurityKey = (companyId, server) =>
    host('helper', 'generatePbxSecurityKey', () => [Number(companyId), text('cxHelper.generatePbxSecurityKey', 'server', server)]);
  return { generatePbxSecurityKey };
})
