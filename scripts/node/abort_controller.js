// `abort-controller`: the runtime has one.
module.exports = { AbortController, AbortSignal, default: AbortController };
