// The WebSocket that this run serves.
(function (host, runtime) {
  const calling = (name) => ({
    [name](...args) {
      try {
        if (runtime.socket === undefined) throw new Error(`cxWebSocket.${name}: this run serves no WebSocket`);
        return runtime.socket.ws[name](...args);
      } catch (error) {
        return Promise.reject(error);
      }
    },
  })[name];

  return { send: calling('send'), close: calling('close'), waitForClose: calling('waitForClose') };
})
