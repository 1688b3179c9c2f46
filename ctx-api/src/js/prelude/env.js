// Variables of the script's app, as the next run finds them in `process.env`.
(function (host, runtime) {
  const { callHost } = runtime.part('ops');
  const { text } = runtime.part('arguments');

  const setEnvVar = (key, value) => callHost('env', 'set', () => [text('setEnvVar', 'key', key), value]);
  const getEnvVars = () => callHost('env', 'list', () => []);
  return { setEnvVar, getEnvVars };
})
