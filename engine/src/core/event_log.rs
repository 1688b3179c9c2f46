//! What happens in the engine, numbered: watched live, and again from a number on.
//!
//! One bounded ring serves everybody. A watcher reads at its own pace from its own place; one that falls behind the ring is
//! told how much it has missed, and holds up nobody. Nothing is kept before the first watcher has come, nor when the last has been
//! gone for so long that it would find nothing of what it has seen.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};

use super::engine_event::EngineEvent;
use crate::alerts::Alert;

/// Events kept for those who come back or fall behind.
const KEPT: usize = 16_384;
/// What they may take together, in octets: jobs carry data.
const KEPT_OCTETS: usize = 64 << 20;
/// Alerts that may wait to be delivered.
const ALERTS: usize = 1_024;
/// Events a watcher takes at once.
const BATCH: usize = 256;

/// An event with its place in the order of all.
#[derive(Clone, Debug)]
pub struct Published {
    /// Counted from 1 since the engine started.
    pub seq: u64,
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Whom it concerns; `None`: everybody.
    pub account: Option<Arc<str>>,
    pub event: EngineEvent,
}

impl Deref for Published {
    type Target = EngineEvent;

    fn deref(&self) -> &EngineEvent {
        &self.event
    }
}

/// Why a watcher got no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// So many events were overwritten before they were read; what follows is whole again.
    Lagged(u64),
    /// The engine has stopped, and every event was read.
    Closed,
}

#[derive(Debug)]
struct Ring {
    last: u64,
    /// `last` is the number of the newest.
    kept: VecDeque<Arc<Published>>,
    /// Of all that are kept.
    octets: usize,
    watchers: usize,
    /// Where `last` was when the last watcher went.
    left_at: u64,
}

#[derive(Debug)]
struct Shared {
    ring: Mutex<Ring>,
    /// The number of the newest event, to wait on.
    last: watch::Sender<u64>,
    watched: AtomicBool,
    /// Those who want to be told of keys, too.
    key_watchers: AtomicUsize,
    closed: AtomicBool,
    engine: String,
    alerts: mpsc::Sender<Alert>,
    /// Until somebody takes them.
    raised: Mutex<Option<mpsc::Receiver<Alert>>>,
}

impl Shared {
    /// Nothing in here panics while it holds the lock; a poisoned ring is as good as any.
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The events of one engine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct EventLog(Arc<Shared>);

impl Default for EventLog {
    fn default() -> Self {
        let ring = Mutex::new(Ring { last: 0, kept: VecDeque::new(), octets: 0, watchers: 0, left_at: 0 });
        let (last, _) = watch::channel(0);
        let (alerts, raised) = mpsc::channel(ALERTS);
        Self(Arc::new(Shared {
            ring,
            last,
            watched: AtomicBool::new(false),
            key_watchers: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            engine: uuid::Uuid::new_v4().to_string(),
            alerts,
            raised: Mutex::new(Some(raised)),
        }))
    }
}

impl EventLog {
    /// Whether anybody watches, or may come back to watch on: else events need not be made.
    pub fn is_watched(&self) -> bool {
        self.0.watched.load(Ordering::Relaxed)
    }

    pub(super) fn key_watchers(&self) -> &AtomicUsize {
        &self.0.key_watchers
    }

    /// Adds an event that concerns `account`, or everybody.
    pub fn publish(&self, at_ms: u64, account: Option<Arc<str>>, event: EngineEvent) {
        if !self.is_watched() {
            return;
        }
        let mut ring = self.0.ring();
        ring.last += 1;
        let seq = ring.last;
        ring.octets += event.octets();
        ring.kept.push_back(Arc::new(Published { seq, at_ms, account, event }));
        while ring.kept.len() > KEPT || ring.octets > KEPT_OCTETS {
            let Some(oldest) = ring.kept.pop_front() else { break };
            ring.octets -= oldest.octets();
        }
        if ring.watchers == 0 && seq - ring.left_at > KEPT as u64 {
            (ring.kept, ring.octets) = (VecDeque::new(), 0);
            self.0.watched.store(false, Ordering::Relaxed);
        }
        drop(ring);
        self.0.last.send_replace(seq);
    }

    /// Has somebody look at something. Where alerts are too many at once, or nobody takes them, it is left out.
    pub fn raise(&self, alert: Alert) {
        // What is lost here is one of a thousand that wait.
        let _ = self.0.alerts.try_send(alert);
    }

    /// The alerts that are raised, for the one who delivers them.
    pub fn take_alerts(&self) -> Option<mpsc::Receiver<Alert>> {
        self.0.raised.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// No more events will come.
    pub(super) fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.last.send_modify(|_| {});
    }

    /// Names this life of the engine: with another one, numbers begin anew.
    pub fn engine(&self) -> &str {
        &self.0.engine
    }

    /// The number of the newest event.
    pub fn last(&self) -> u64 {
        self.0.ring().last
    }

    /// Everything from now on.
    pub fn watch(&self) -> Watcher {
        self.watch_since(u64::MAX)
    }

    /// Everything after event `seq`. What is not kept any more is said to be missed.
    pub fn watch_since(&self, seq: u64) -> Watcher {
        let mut ring = self.0.ring();
        ring.watchers += 1;
        self.0.watched.store(true, Ordering::Relaxed);
        let seen = seq.min(ring.last);
        drop(ring);
        Watcher { shared: Arc::clone(&self.0), seen, changed: self.0.last.subscribe(), batch: VecDeque::new() }
    }
}

/// Reads the events of an engine, one after another.
#[derive(Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
    /// The last event that was taken out of the ring.
    seen: u64,
    changed: watch::Receiver<u64>,
    batch: VecDeque<Arc<Published>>,
}

impl Watcher {
    /// The next event, when there is one. Dropping the future loses none.
    ///
    /// # Errors
    /// When events were missed, and when there will be no more.
    pub async fn recv(&mut self) -> Result<Arc<Published>, Missed> {
        loop {
            // Looked at before the ring is: what is published in between wakes the wait below.
            let closed = self.shared.closed.load(Ordering::Acquire);
            self.changed.mark_unchanged();
            if let Some(next) = self.try_recv() {
                return next;
            }
            if closed || self.changed.changed().await.is_err() {
                return Err(Missed::Closed);
            }
        }
    }

    /// The next event, if it has happened already.
    pub fn try_recv(&mut self) -> Option<Result<Arc<Published>, Missed>> {
        if let Some(event) = self.batch.pop_front() {
            return Some(Ok(event));
        }
        let ring = self.shared.ring();
        let fresh = usize::try_from(ring.last - self.seen).unwrap_or(usize::MAX);
        if fresh > ring.kept.len() {
            let missed = ring.last - self.seen - ring.kept.len() as u64;
            self.seen += missed;
            return Some(Err(Missed::Lagged(missed)));
        }
        let from = ring.kept.len() - fresh;
        self.batch.extend(ring.kept.iter().skip(from).take(BATCH).cloned());
        drop(ring);
        let event = self.batch.pop_front()?;
        self.seen = self.batch.back().map_or(event.seq, |last| last.seq);
        Some(Ok(event))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut ring = self.shared.ring();
        ring.watchers -= 1;
        ring.left_at = ring.last;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(call: u64) -> EngineEvent {
        EngineEvent::CallStarted { call: call.to_string(), from: String::new(), to: String::new(), script: None }
    }

    fn numbers(watcher: &mut Watcher) -> Vec<u64> {
        std::iter::from_fn(|| watcher.try_recv()).map(|event| event.map_or(0, |event| event.seq)).collect()
    }

    #[test]
    fn watchers_read_everything_in_order_from_where_they_came_in() {
        let log = EventLog::default();
        let mut first = log.watch();
        for call in 0..3 {
            log.publish(0, None, event(call));
        }
        let mut second = log.watch();
        log.publish(0, None, event(3));
        assert_eq!((numbers(&mut first), numbers(&mut second)), (vec![1, 2, 3, 4], vec![4]));
        assert_eq!(numbers(&mut log.watch_since(2)), [3, 4]);
        assert_eq!(numbers(&mut log.watch_since(99)), [] as [u64; 0], "an unknown future begins now");
    }

    #[test]
    fn nothing_is_kept_before_anybody_watches() {
        let log = EventLog::default();
        log.publish(0, None, event(1));
        assert_eq!((log.last(), log.is_watched()), (0, false));
    }

    #[test]
    fn events_are_made_while_the_last_watcher_may_come_back_and_then_no_more() {
        let log = EventLog::default();
        let mut watcher = log.watch();
        log.publish(0, None, event(1));
        assert_eq!(numbers(&mut watcher), [1]);
        drop(watcher);
        log.publish(0, None, event(2));
        assert_eq!(numbers(&mut log.watch_since(1)), [2], "whoever comes back misses nothing");
        for call in 0..=KEPT as u64 {
            assert!(log.is_watched());
            log.publish(0, None, event(call));
        }
        assert!(!log.is_watched());
        let last = log.last();
        log.publish(0, None, event(0));
        assert_eq!(log.last(), last);
        let mut late = log.watch_since(2);
        assert_eq!(late.try_recv().map(|event| event.map(|event| event.seq)), Some(Err(Missed::Lagged(last - 2))));
        log.publish(0, None, event(0));
        assert_eq!(numbers(&mut late), [last + 1]);
    }

    #[test]
    fn whoever_falls_behind_is_told_how_far_and_goes_on() {
        let log = EventLog::default();
        let mut slow = log.watch();
        let all = KEPT as u64 + 7;
        for call in 0..all {
            log.publish(0, None, event(call));
        }
        assert_eq!(slow.try_recv().map(|event| event.map(|event| event.seq)), Some(Err(Missed::Lagged(7))));
        assert_eq!(numbers(&mut slow), (8..=all).collect::<Vec<_>>());
    }

    #[test]
    fn large_events_are_kept_as_far_as_there_is_room() {
        let log = EventLog::default();
        let mut slow = log.watch();
        let large =
            || EngineEvent::CallStarted { call: "x".repeat(1 << 20), from: String::new(), to: String::new(), script: None };
        for _ in 0..100 {
            log.publish(0, None, large());
        }
        assert_eq!(slow.try_recv().map(|event| event.map(|event| event.seq)), Some(Err(Missed::Lagged(37))));
        assert_eq!(numbers(&mut slow), (38..=100).collect::<Vec<_>>());
        for call in 0..KEPT as u64 {
            log.publish(0, None, event(call));
        }
        assert_eq!(numbers(&mut log.watch_since(100)).len(), KEPT, "what the large ones took is free again");
    }

    #[tokio::test]
    async fn the_end_comes_after_the_last_event() {
        let log = EventLog::default();
        let mut watcher = log.watch();
        log.publish(0, None, event(1));
        log.close();
        assert_eq!(watcher.recv().await.map(|event| event.seq), Ok(1));
        assert_eq!(watcher.recv().await.map(|event| event.seq), Err(Missed::Closed));
    }
}
