//! The messages of a worker that is kept up: what its `onMessage` stands on.
//!
//! ```text
//!   topic ──► waiting ──next──► given ──settled──► gone
//!                                 │ ▲
//!                  the run is over└─┘next of the run that follows, once
//! ```

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use lockstep_ctx_api::{ErrorCode, OpError};
use serde_json::json;
use tokio::sync::Mutex;

use super::{Arguments, HostFuture, HostReply, HostService, RunContext, Scratch, answered, no_such_function};
use crate::bus::{Bus, BusError, Room, SubscriptionId};

/// Messages that wait for a worker, which takes them one by one.
const ROOM: Room = Room { messages: 10_000, bytes: 16 << 20 };
/// A message under which so many runs have ended is given to no further one.
const MAX_TIMES: u32 = 2;

/// The messages of one worker, whatever becomes of its runs. Clones are the same.
#[derive(Clone, Debug)]
pub struct WorkerMessages(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    topic: String,
    /// Subscribed for as long as this is there.
    holder: Scratch,
    /// Made when the worker first asks for a message.
    subscription: OnceLock<SubscriptionId>,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    /// JSON.
    waiting: VecDeque<Arc<str>>,
    /// Messages lost because they came faster than they were taken, which the worker has not been told of.
    dropped: u64,
    /// What a run was given and has not settled.
    given: Option<Given>,
    last: u64,
}

#[derive(Debug)]
struct Given {
    number: u64,
    payload: Arc<str>,
    times: u32,
}

impl WorkerMessages {
    /// Those of a topic, from the time on at which a run first asks for one.
    pub fn of(topic: String) -> Self {
        Self(Arc::new(Shared { topic, holder: Scratch::default(), subscription: OnceLock::new(), queue: Mutex::default() }))
    }

    fn subscribed(&self, bus: &Bus, account: &str) -> Result<SubscriptionId, BusError> {
        if let Some(subscription) = self.0.subscription.get() {
            return Ok(*subscription);
        }
        let made = bus.subscribe_with(account, &self.0.topic, None, self.0.holder.witness(), ROOM)?;
        Ok(*self.0.subscription.get_or_init(|| made))
    }

    /// The next message, once `settled`, the one before, is done with. A run that follows another is first given what that one has
    /// not settled.
    async fn next(self, bus: Bus, account: String, subscription: SubscriptionId, settled: Option<u64>) -> HostReply {
        // Of two runs, the later waits until the earlier, which is being ended, lets go.
        let mut queue = self.0.queue.lock().await;
        if let Some(number) = settled {
            queue.settle(number);
        }
        loop {
            if let Some((number, payload)) = queue.give(&self.0.topic) {
                let dropped = std::mem::take(&mut queue.dropped);
                return HostReply::json(&json!({ "number": number, "payload": &*payload, "dropped": dropped }));
            }
            match bus.next(&account, subscription).await {
                Some(batch) => {
                    queue.dropped += batch.dropped;
                    queue.waiting.extend(batch.messages.into_iter().map(|message| message.payload));
                }
                // Nobody unsubscribes it.
                None => std::future::pending().await,
            }
        }
    }
}

impl Queue {
    fn settle(&mut self, number: u64) {
        self.given.take_if(|given| given.number == number);
    }

    /// What a run is to be given now; `topic` is for the log.
    fn give(&mut self, topic: &str) -> Option<(u64, Arc<str>)> {
        if self.given.take_if(|given| given.times >= MAX_TIMES).is_some() {
            tracing::error!(topic, "a message is given up: {MAX_TIMES} runs of its worker have ended under it");
        }
        if self.given.is_none() {
            let payload = self.waiting.pop_front()?;
            self.last += 1;
            self.given = Some(Given { number: self.last, payload, times: 0 });
        }
        let given = self.given.as_mut()?;
        given.times += 1;
        Some((given.number, Arc::clone(&given.payload)))
    }
}

impl PartialEq for WorkerMessages {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for WorkerMessages {}

/// The service.
pub(super) struct Messages {
    bus: Bus,
}

impl Messages {
    pub(super) fn new(bus: &Bus) -> Self {
        Self { bus: bus.clone() }
    }

    fn begin(&self, context: &RunContext, function: &str, args: &mut Arguments) -> Result<HostFuture, OpError> {
        let Some(messages) = context.messages.clone() else {
            return Err(args.error(ErrorCode::InvalidState, "this run is not the worker that is kept up"));
        };
        let settled = args.opt_number("number")?.map(|number| number as u64);
        let answer: HostFuture = match function {
            "next" => {
                let (bus, account) = (self.bus.clone(), context.account.clone());
                // At once: what is published from now on reaches it.
                let subscription =
                    messages.subscribed(&bus, &account).map_err(|error| args.error(ErrorCode::LimitError, error))?;
                Box::pin(async move { Ok(messages.next(bus, account, subscription, settled).await) })
            }
            "settle" => Box::pin(async move {
                if let Some(number) = settled {
                    messages.0.queue.lock().await.settle(number);
                }
                Ok(HostReply::undefined())
            }),
            _ => no_such_function(args),
        };
        Ok(answer)
    }
}

impl HostService for Messages {
    fn call(&self, context: &RunContext, function: &str, mut args: Arguments, _: Option<Bytes>) -> HostFuture {
        self.begin(context, function, &mut args).unwrap_or_else(|error| answered(Err(error)))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use serde_json::Value;

    use super::*;

    struct Worker {
        bus: Bus,
        context: RunContext,
    }

    impl Worker {
        fn new() -> Self {
            let messages = Some(WorkerMessages::of("worker:keeper".to_owned()));
            let worker = Self { bus: Bus::default(), context: RunContext { messages, ..RunContext::default() } };
            assert_eq!(worker.next(None), Value::Null, "it listens from now on");
            worker
        }

        fn publish(&self, payload: &str) {
            assert_eq!(self.bus.publish(&self.context.account, "worker:keeper", None, payload), Ok(1));
        }

        fn call(&self, function: &str, settled: Option<u64>) -> HostFuture {
            let args = Arguments::new(format!("messages.{function}"), vec![json!(settled)]);
            Messages::new(&self.bus).call(&self.context, function, args, None)
        }

        /// What the run is given; null when nothing is there.
        fn next(&self, settled: Option<u64>) -> Value {
            let reply = self.call("next", settled).now_or_never();
            reply.map_or(Value::Null, |reply| serde_json::from_str(&reply.unwrap().value).unwrap())
        }
    }

    fn given(number: u64, payload: &str) -> Value {
        json!({ "number": number, "payload": payload, "dropped": 0 })
    }

    #[test]
    fn messages_come_one_after_another() {
        let worker = Worker::new();
        worker.publish("1");
        worker.publish("2");
        assert_eq!(worker.next(None), given(1, "1"));
        assert_eq!(worker.next(Some(1)), given(2, "2"));
        assert_eq!(worker.next(Some(2)), Value::Null);
        worker.publish("3");
        assert_eq!(worker.next(None), given(3, "3"));
    }

    #[test]
    fn what_a_run_has_not_settled_the_next_one_is_given_but_no_third() {
        let worker = Worker::new();
        worker.publish("deadly");
        worker.publish("harmless");
        assert_eq!(worker.next(None), given(1, "deadly"));
        worker.publish("meanwhile");
        assert_eq!(worker.next(None), given(1, "deadly"));
        assert_eq!(worker.next(None), given(2, "harmless"));
        assert_eq!(worker.next(Some(2)), given(3, "meanwhile"));
    }

    #[test]
    fn what_was_settled_by_an_error_does_not_come_again() {
        let worker = Worker::new();
        worker.publish("1");
        assert_eq!(worker.next(None), given(1, "1"));
        assert!(worker.call("settle", Some(1)).now_or_never().is_some_and(|settled| settled.is_ok()));
        assert_eq!(worker.next(None), Value::Null);
    }

    #[test]
    fn a_run_waits_until_the_one_before_has_let_go() {
        let worker = Worker::new();
        let mut earlier = worker.call("next", None);
        assert!((&mut earlier).now_or_never().is_none());
        let mut later = worker.call("next", None);
        assert!((&mut later).now_or_never().is_none());
        worker.publish("1");
        assert!((&mut later).now_or_never().is_none());
        drop(earlier);
        let reply = later.now_or_never().unwrap().unwrap().value;
        assert_eq!(serde_json::from_str::<Value>(&reply).unwrap(), given(1, "1"));
    }
}
