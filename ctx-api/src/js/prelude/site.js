// Where the script stands, for operations and log lines. The host skips the frames of the runtime itself.
(function () {
  const capture = Error.captureStackTrace;

  return {
    callSite() {
      const site = {};
      capture(site);
      return site.stack;
    },
    // A stack without the frames of the runtime: they have no file.
    ownFrames: (stack) => stack.split('\n').filter((line) => !line.includes('(<null>') && !line.endsWith('(native)')).join('\n'),
  };
})
