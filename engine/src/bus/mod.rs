//! Messages between runs, by topic: what `cxPubSub` stands on.
//!
//! In this process and in memory: who is not subscribed when a message is published never gets it. A subscriber that is slower than
//! its messages loses the oldest of them and is told how many; it never holds up a publisher.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;
use tokio::sync::Notify;

use crate::host::Witness;

/// Messages that wait for one subscriber.
const QUEUE: usize = 1_000;
/// Bytes of them.
const QUEUE_BYTES: usize = 4 << 20;
/// Messages handed over at once.
const BATCH: usize = 64;
/// The longest payload, in bytes.
const MAX_PAYLOAD: usize = 256 << 10;
/// The longest topic or id, in bytes.
const MAX_NAME: usize = 256;
/// Subscriptions of one account.
const MAX_SUBSCRIPTIONS: usize = 10_000;

/// What may wait for a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    pub messages: usize,
    pub bytes: usize,
}

/// Why the bus refuses something.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BusError {
    #[error("a topic or id must have 1 to {MAX_NAME} bytes, got {got}")]
    Name { got: usize },
    #[error("a payload may have {MAX_PAYLOAD} bytes, got {got}")]
    Payload { got: usize },
    #[error("the account has {MAX_SUBSCRIPTIONS} subscriptions, which is the most")]
    TooMany,
}

/// A message as a subscriber gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub topic: Arc<str>,
    pub id: Option<Arc<str>>,
    /// JSON.
    pub payload: Arc<str>,
}

/// What has come for a subscriber since it last looked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub messages: Vec<Message>,
    /// Messages lost because they came faster than they were taken.
    pub dropped: u64,
}

/// Names a subscription within this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SubscriptionId(pub u64);

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BusStats {
    pub subscriptions: usize,
    pub published: u64,
    pub delivered: u64,
    pub dropped: u64,
}

/// The bus. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Bus(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    last: u64,
    subscriptions: BTreeMap<SubscriptionId, Subscription>,
    /// By account and topic.
    topics: BTreeMap<(Arc<str>, Arc<str>), BTreeSet<SubscriptionId>>,
    accounts: BTreeMap<Arc<str>, usize>,
    stats: BusStats,
}

#[derive(Debug)]
struct Subscription {
    account: Arc<str>,
    topic: Arc<str>,
    /// Only messages with this id; `None`: all of the topic.
    id: Option<Arc<str>>,
    room: Room,
    waiting: VecDeque<Message>,
    bytes: usize,
    dropped: u64,
    arrived: Arc<Notify>,
    /// The run it belongs to; gone with it.
    run: Witness,
}

impl Bus {
    /// Hands `payload`, JSON, to everybody who has subscribed to the topic, or to this id of it; how many that are.
    ///
    /// # Errors
    /// When a name or the payload is too long.
    pub fn publish(&self, account: &str, topic: &str, id: Option<&str>, payload: &str) -> Result<usize, BusError> {
        check_name(topic)?;
        id.map_or(Ok(()), check_name)?;
        if payload.len() > MAX_PAYLOAD {
            return Err(BusError::Payload { got: payload.len() });
        }
        let mut state = self.state();
        state.stats.published += 1;
        let key = (Arc::<str>::from(account), Arc::<str>::from(topic));
        let Some(subscribers) = state.topics.get(&key).cloned() else { return Ok(0) };
        let message = Message { topic: key.1, id: id.map(Arc::from), payload: payload.into() };
        let mut reached = 0;
        for subscriber in subscribers {
            let Some(subscription) = state.subscriptions.get_mut(&subscriber) else { continue };
            if !subscription.run.is_there() {
                state.remove(subscriber);
                continue;
            }
            if subscription.id.is_some() && subscription.id != message.id {
                continue;
            }
            reached += 1;
            let dropped = subscription.push(message.clone());
            state.stats.dropped += dropped;
        }
        state.stats.delivered += reached as u64;
        Ok(reached)
    }

    /// Begins to keep messages of a topic, or of one id of it, for a run.
    ///
    /// # Errors
    /// When a name is too long, or the account has too many subscriptions.
    pub fn subscribe(&self, account: &str, topic: &str, id: Option<&str>, run: Witness) -> Result<SubscriptionId, BusError> {
        self.subscribe_with(account, topic, id, run, Room { messages: QUEUE, bytes: QUEUE_BYTES })
    }

    /// The same with room of its own.
    ///
    /// # Errors
    /// As above.
    pub fn subscribe_with(
        &self,
        account: &str,
        topic: &str,
        id: Option<&str>,
        run: Witness,
        room: Room,
    ) -> Result<SubscriptionId, BusError> {
        check_name(topic)?;
        id.map_or(Ok(()), check_name)?;
        let mut state = self.state();
        if state.accounts.get(account).is_some_and(|count| *count >= MAX_SUBSCRIPTIONS) {
            state.sweep();
        }
        let account: Arc<str> = account.into();
        let count = state.accounts.entry(Arc::clone(&account)).or_default();
        if *count >= MAX_SUBSCRIPTIONS {
            return Err(BusError::TooMany);
        }
        *count += 1;
        state.last += 1;
        let subscriber = SubscriptionId(state.last);
        let subscription = Subscription {
            account: Arc::clone(&account),
            topic: topic.into(),
            id: id.map(Arc::from),
            room,
            waiting: VecDeque::new(),
            bytes: 0,
            dropped: 0,
            arrived: Arc::default(),
            run,
        };
        state.topics.entry((account, Arc::clone(&subscription.topic))).or_default().insert(subscriber);
        state.subscriptions.insert(subscriber, subscription);
        Ok(subscriber)
    }

    /// Ends a subscription of the account; whoever waits for its messages is told.
    pub fn unsubscribe(&self, account: &str, subscriber: SubscriptionId) {
        let mut state = self.state();
        if state.subscriptions.get(&subscriber).is_some_and(|subscription| &*subscription.account == account) {
            state.remove(subscriber);
        }
    }

    /// Waits until there is something for a subscriber; `None` once it has unsubscribed.
    pub async fn next(&self, account: &str, subscriber: SubscriptionId) -> Option<Batch> {
        loop {
            let arrived = {
                let mut state = self.state();
                let found = state.subscriptions.get_mut(&subscriber).filter(|subscription| &*subscription.account == account);
                let subscription = found?;
                let batch = subscription.take();
                if batch != Batch::default() {
                    return Some(batch);
                }
                Arc::clone(&subscription.arrived)
            };
            // A permit is kept for whoever comes late: nothing is missed between the look and the wait.
            arrived.notified().await;
        }
    }

    /// What it has done and holds.
    pub fn stats(&self) -> BusStats {
        let state = self.state();
        BusStats { subscriptions: state.subscriptions.len(), ..state.stats }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn remove(&mut self, subscriber: SubscriptionId) {
        let Some(subscription) = self.subscriptions.remove(&subscriber) else { return };
        let key = (subscription.account, subscription.topic);
        if let Some(count) = self.accounts.get_mut(&key.0) {
            *count -= 1;
            if *count == 0 {
                self.accounts.remove(&key.0);
            }
        }
        if let Some(subscribers) = self.topics.get_mut(&key) {
            subscribers.remove(&subscriber);
            if subscribers.is_empty() {
                self.topics.remove(&key);
            }
        }
        subscription.arrived.notify_one();
    }

    /// Removes the subscriptions of runs that are over.
    fn sweep(&mut self) {
        let over: Vec<_> =
            self.subscriptions.iter().filter(|(_, subscription)| !subscription.run.is_there()).map(|(id, _)| *id).collect();
        for subscriber in over {
            self.remove(subscriber);
        }
    }
}

impl Subscription {
    /// How many it lost for it.
    fn push(&mut self, message: Message) -> u64 {
        self.bytes += message.payload.len();
        self.waiting.push_back(message);
        let mut dropped = 0;
        while self.waiting.len() > self.room.messages || self.bytes > self.room.bytes {
            let Some(oldest) = self.waiting.pop_front() else { break };
            self.bytes -= oldest.payload.len();
            dropped += 1;
        }
        self.dropped += dropped;
        self.arrived.notify_one();
        dropped
    }

    fn take(&mut self) -> Batch {
        let count = self.waiting.len().min(BATCH);
        let messages: Vec<Message> = self.waiting.drain(..count).collect();
        self.bytes -= messages.iter().map(|message| message.payload.len()).sum::<usize>();
        Batch { messages, dropped: std::mem::take(&mut self.dropped) }
    }
}

fn check_name(name: &str) -> Result<(), BusError> {
    if name.is_empty() || name.len() > MAX_NAME { Err(BusError::Name { got: name.len() }) } else { Ok(()) }
}
