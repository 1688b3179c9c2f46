// Messages between the runs of an account.
(function (host, runtime) {
  function name(operation, what, value) {
    if (typeof value !== 'string' && typeof value !== 'number') {
      throw new TypeError(`cxPubSub.${operation}: the ${what} must be a string, got ${value === null ? 'null' : typeof value}`);
    }
    return String(value);
  }

  function publish(topic, ...rest) {
    return host('pubsub', 'publish', () => {
      const [id, payload] = rest.length > 1 ? rest : [undefined, rest[0]];
      const written = JSON.stringify(payload === undefined ? null : payload);
      if (written === undefined) throw new TypeError(`cxPubSub.publish: the payload cannot be written as JSON, got ${typeof payload}`);
      return [name('publish', 'topic', topic), id === undefined || id === null ? null : name('publish', 'id', id), written];
    });
  }

  function subscribe(topic, ...rest) {
    const callback = rest.pop();
    const [id] = rest;
    if (typeof callback !== 'function') throw new TypeError('cxPubSub.subscribe: the last argument must be a function');
    const wanted = id === undefined || id === null || id === '*' ? null : name('subscribe', 'id', id);
    const opened = host('pubsub', 'subscribe', [name('subscribe', 'topic', topic), wanted]);
    let open = true;

    async function take(subscription) {
      try {
        return await host('pubsub', 'next', [subscription], undefined, { listens: true });
      } catch (error) {
        // The run is over; nobody is left to hear of it.
        if (error.name === 'AbortError' || error.name === 'CallEnded') return null;
        throw error;
      }
    }

    // What the callback throws nobody handles, so it fails the run, as it would in any listener.
    async function pump() {
      const subscription = await opened;
      while (open) {
        const batch = await take(subscription);
        if (batch === null) return;
        if (batch.dropped > 0) console.warn(`cxPubSub: ${batch.dropped} messages of '${topic}' came too fast and were dropped`);
        for (const [from, key, payload] of batch.messages) {
          if (!open) return;
          callback(JSON.parse(payload), key, from);
        }
      }
    }
    pump();

    return {
      async unsubscribe() {
        if (!open) return;
        open = false;
        await host('pubsub', 'unsubscribe', [await opened]);
      },
    };
  }

  return { publish, subscribe };
})
