(function (host, runtime) { return {}; })
