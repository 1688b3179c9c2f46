// The WebSocket that this run serves.
(function (host, runtime) {
  function socket(operation) {
    if (runtime.socket === undefined) throw new Error(`cxWebSocket.${operation}: this run serves no WebSocket`);
    return runtime.socket;
  }

  return {
    send: async (message) => socket('send').send(message),
    close: async (code, reason) => socket('close').close(code, reason),
    waitForClose: async () => socket('waitForClose').waitForClose(),
  };
})
