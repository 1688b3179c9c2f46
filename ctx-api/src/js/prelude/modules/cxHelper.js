// Keys under the engine's secret.
(function (host) {
  const generatePbxSecurityKey = (companyId, server) => host('helper', 'generatePbxSecurityKey', () => [Number(companyId), String(server)]);
  return { generatePbxSecurityKey };
})
