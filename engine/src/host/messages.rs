//! The messages of a worker that is kept up: what its `onMessage` stands on.
//!
//! ```text
//!   topic ──► waiting ──next──► given ──settled──► gone
//!                                 │ ▲
//!                  the run is over└─┘next of the run that follows, once
//! ```

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex as SyncMutex, MutexGuard, PoisonError};

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
    /// Made when the worker first asks for a message, gone where a later text of it asks for none.
    subscription: SyncMutex<Option<SubscriptionId>>,
    /// The last message that is done with. Known at once, whatever becomes of the run that says it.
    settled: AtomicU64,
    /// The runs to come are another program's than those before.
    is_changed: AtomicBool,
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
        Self(Arc::new(Shared {
            topic,
            holder: Scratch::default(),
            subscription: SyncMutex::default(),
            settled: AtomicU64::default(),
            is_changed: AtomicBool::default(),
            queue: Mutex::default(),
        }))
    }

    /// The run was ended for another program's sake: of the message that it had, nothing is held against it.
    pub fn program_changed(&self) {
        self.0.is_changed.store(true, Ordering::Relaxed);
    }

    fn subscription(&self) -> MutexGuard<'_, Option<SubscriptionId>> {
        self.0.subscription.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn subscribed(&self, bus: &Bus, account: &str) -> Result<SubscriptionId, BusError> {
        let mut subscription = self.subscription();
        if let Some(there) = *subscription {
            return Ok(there);
        }
        let made = bus.subscribe_with(account, &self.0.topic, None, self.0.holder.witness(), ROOM)?;
        Ok(*subscription.insert(made))
    }

    /// The next message. A run that follows another is first given what that one has not settled.
    async fn next(self, bus: Bus, account: String, subscription: SubscriptionId) -> HostReply {
        // Of two runs, the later waits until the earlier, which is being ended, lets go.
        let mut queue = self.0.queue.lock().await;
        loop {
            if let Some((number, payload)) = queue.give(&self.0) {
                let dropped = std::mem::take(&mut queue.dropped);
                return HostReply::json(&json!({ "number": number, "payload": &*payload, "dropped": dropped }));
            }
            match bus.next(&account, subscription).await {
                Some(batch) => {
                    queue.dropped += batch.dropped;
                    queue.waiting.extend(batch.messages.into_iter().map(|message| message.payload));
                }
                // The run that follows wants no messages.
                None => std::future::pending().await,
            }
        }
    }
}

impl Queue {
    /// What a run is to be given now.
    fn give(&mut self, shared: &Shared) -> Option<(u64, Arc<str>)> {
        let (topic, settled) = (&shared.topic, shared.settled.load(Ordering::Relaxed));
        self.given.take_if(|given| given.number <= settled);
        if shared.is_changed.swap(false, Ordering::Relaxed)
            && let Some(given) = &mut self.given
        {
            given.times = 0;
        }
        if self.given.take_if(|given| given.times >= MAX_TIMES).is_some() {
            tracing::error!(%topic, "a message is given up: {MAX_TIMES} runs of its worker have ended under it");
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
        // At once: a run that fails in this turn is over before anything of it is waited for.
        if let Some(number) = args.opt_number("number")? {
            messages.0.settled.fetch_max(number as u64, Ordering::Relaxed);
        }
        let answer: HostFuture = match function {
            "next" => {
                let (bus, account) = (self.bus.clone(), context.account.clone());
                // At once: what is published from now on reaches it.
                let subscription =
                    messages.subscribed(&bus, &account).map_err(|error| args.error(ErrorCode::LimitError, error))?;
                Box::pin(async move { Ok(messages.next(bus, account, subscription).await) })
            }
            "settle" => answered(Ok(HostReply::undefined())),
            // Who publishes is told from now on that nobody listens.
            "none" => {
                if let Some(subscription) = messages.subscription().take() {
                    self.bus.unsubscribe(&context.account, subscription);
                }
                Box::pin(async move {
                    let mut queue = messages.0.queue.lock().await;
                    *queue = Queue { last: queue.last, ..Queue::default() };
                    Ok(HostReply::undefined())
                })
            }
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
    fn what_was_settled_by_a_run_that_fails_at_once_does_not_come_again() {
        for function in ["next", "settle"] {
            let worker = Worker::new();
            worker.publish("1");
            assert_eq!(worker.next(None), given(1, "1"));
            drop(worker.call(function, Some(1)));
            assert_eq!(worker.next(None), Value::Null, "{function}");
        }
    }

    #[test]
    fn a_change_of_the_program_is_not_held_against_a_message() {
        let worker = Worker::new();
        worker.publish("long");
        for _ in 0..3 {
            assert_eq!(worker.next(None), given(1, "long"));
            worker.context.messages.as_ref().unwrap().program_changed();
        }
        for _ in 0..2 {
            assert_eq!(worker.next(None), given(1, "long"));
        }
        assert_eq!(worker.next(None), Value::Null);
    }

    #[test]
    fn who_wants_no_messages_is_sent_none() {
        let worker = Worker::new();
        worker.publish("1");
        worker.publish("2");
        assert_eq!(worker.next(None), given(1, "1"));
        assert!(worker.call("none", None).now_or_never().is_some_and(|answer| answer.is_ok()));
        assert_eq!(worker.bus.publish(&worker.context.account, "worker:keeper", None, "3"), Ok(0));
        assert_eq!(worker.next(None), Value::Null, "it listens again");
        worker.publish("4");
        assert_eq!(worker.next(None), given(2, "4"));
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
