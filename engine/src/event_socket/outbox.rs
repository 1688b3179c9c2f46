//! What waits to be written to one client: bounded, and cut off with a notice when the client does not read.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

/// Bytes that may wait for one client: what a busy engine says in several seconds.
const MAX_WAITING: usize = 16 << 20;
/// Bytes handed to the socket at once.
const BATCH: usize = 256 << 10;

/// What the writer is to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Write(Vec<u8>),
    /// Everything was handed out, and nothing more will come.
    Close,
}

#[derive(Debug, Default)]
struct Waiting {
    frames: VecDeque<Bytes>,
    bytes: usize,
    /// Events that come while an operation runs on a connection that takes one after another.
    held: Option<Vec<Bytes>>,
    closing: bool,
    /// The client does not read: all that is left to say is that.
    cut_off: bool,
}

/// The queue of one connection.
#[derive(Debug)]
pub(super) struct Outbox {
    waiting: Mutex<Waiting>,
    changed: Notify,
    /// Told when the client is cut off.
    cut: Notify,
    limit: usize,
}

impl Default for Outbox {
    fn default() -> Self {
        Self::with_limit(MAX_WAITING)
    }
}

impl Outbox {
    fn with_limit(limit: usize) -> Self {
        Self { waiting: Mutex::default(), changed: Notify::new(), cut: Notify::new(), limit }
    }

    /// Nothing in here panics while it holds the lock.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an answer to a command.
    pub(super) fn reply(&self, frame: Vec<u8>) {
        self.add(&mut self.waiting(), frame.into());
        self.changed.notify_one();
    }

    /// Adds events, in order.
    pub(super) fn events(&self, frames: impl IntoIterator<Item = Bytes>) {
        let mut waiting = self.waiting();
        for frame in frames {
            let length = frame.len();
            match &mut waiting.held {
                Some(held) => held.push(frame),
                None => {
                    self.add(&mut waiting, frame);
                    continue;
                }
            }
            waiting.bytes += length;
            self.check(&mut waiting);
        }
        drop(waiting);
        self.changed.notify_one();
    }

    fn add(&self, waiting: &mut Waiting, frame: Bytes) {
        if waiting.closing {
            return;
        }
        waiting.bytes += frame.len();
        waiting.frames.push_back(frame);
        self.check(waiting);
    }

    fn check(&self, waiting: &mut Waiting) {
        if waiting.bytes > self.limit {
            self.cut_off_now(waiting);
        }
    }

    fn cut_off_now(&self, waiting: &mut Waiting) {
        if waiting.closing {
            return;
        }
        waiting.cut_off = true;
        waiting.closing = true;
        waiting.held = None;
        waiting.frames = [super::notices::too_slow()].into();
        waiting.bytes = 0;
        self.cut.notify_one();
    }

    /// A client that does not read is told so instead of everything it has not read yet.
    pub(super) fn cut_off(&self) {
        self.cut_off_now(&mut self.waiting());
        self.changed.notify_one();
    }

    /// Resolves when the client is cut off because it did not read.
    pub(super) async fn until_cut_off(&self) {
        while !self.is_cut_off() {
            self.cut.notified().await;
        }
    }

    /// Keeps events back until [`release`](Self::release).
    pub(super) fn hold(&self) {
        self.waiting().held.get_or_insert_default();
    }

    /// Lets events go on that were kept back.
    pub(super) fn release(&self) {
        let mut waiting = self.waiting();
        let held = waiting.held.take().unwrap_or_default();
        if !waiting.closing {
            waiting.frames.extend(held);
        }
        drop(waiting);
        self.changed.notify_one();
    }

    /// Nothing is taken any more; what waits is still written.
    pub(super) fn close(&self) {
        let mut waiting = self.waiting();
        let held = waiting.held.take().unwrap_or_default();
        if !waiting.closing {
            waiting.frames.extend(held);
        }
        waiting.closing = true;
        drop(waiting);
        self.changed.notify_one();
    }

    /// Whether the client was cut off because it did not read.
    pub(super) fn is_cut_off(&self) -> bool {
        self.waiting().cut_off
    }

    /// What to write next, once there is something.
    pub(super) async fn next(&self) -> Next {
        loop {
            if let Some(next) = self.take() {
                return next;
            }
            self.changed.notified().await;
        }
    }

    fn take(&self) -> Option<Next> {
        let mut waiting = self.waiting();
        let mut batch = Vec::new();
        while batch.len() < BATCH
            && let Some(frame) = waiting.frames.pop_front()
        {
            waiting.bytes = waiting.bytes.saturating_sub(frame.len());
            batch.extend_from_slice(&frame);
        }
        match (batch.is_empty(), waiting.closing) {
            (false, _) => Some(Next::Write(batch)),
            (true, true) => Some(Next::Close),
            (true, false) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(outbox: &Outbox) -> Option<String> {
        match outbox.take()? {
            Next::Write(bytes) => Some(String::from_utf8(bytes).unwrap()),
            Next::Close => Some("closed".to_owned()),
        }
    }

    #[test]
    fn frames_leave_in_order_and_together() {
        let outbox = Outbox::default();
        outbox.reply(b"a".to_vec());
        outbox.events([Bytes::from_static(b"b"), Bytes::from_static(b"c")]);
        assert_eq!(written(&outbox).as_deref(), Some("abc"));
        assert_eq!(written(&outbox), None);
        outbox.close();
        assert_eq!(written(&outbox).as_deref(), Some("closed"));
    }

    #[test]
    fn events_can_wait_behind_a_reply() {
        let outbox = Outbox::default();
        outbox.hold();
        outbox.events([Bytes::from_static(b"event")]);
        assert_eq!(written(&outbox), None);
        outbox.reply(b"reply ".to_vec());
        outbox.release();
        assert_eq!(written(&outbox).as_deref(), Some("reply event"));
    }

    #[test]
    fn a_client_that_does_not_read_is_cut_off_with_a_notice() {
        let outbox = Outbox::with_limit(10);
        outbox.events([Bytes::from_static(b"12345"), Bytes::from_static(b"67890")]);
        assert!(!outbox.is_cut_off());
        outbox.events([Bytes::from_static(b"x"), Bytes::from_static(b"y")]);
        assert!(outbox.is_cut_off());
        assert!(written(&outbox).unwrap().starts_with("Content-Type: text/disconnect-notice\n"));
        assert_eq!(written(&outbox).as_deref(), Some("closed"));
    }

    #[test]
    fn what_is_kept_back_is_bounded_too() {
        let outbox = Outbox::with_limit(4);
        outbox.hold();
        outbox.events([Bytes::from_static(b"12345")]);
        assert!(outbox.is_cut_off());
    }
}
