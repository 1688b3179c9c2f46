// Variables of the script's app, as the next run finds them in `process.env`.
(function (host, runtime) {
  const { callHost } = runtime.part('ops');

  const setEnvVar = (key, value) => callHost('env', 'set', () => [String(key), value]);
  const getEnvVars = () => callHost('env', 'list', () => []);
  return { setEnvVar, getEnvVars };
})
