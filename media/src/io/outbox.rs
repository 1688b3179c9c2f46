//! The way out of a media thread: events for the engine's core, none of which may be lost.

use std::collections::VecDeque;

use tokio::sync::mpsc::{Sender, error::TrySendError};

use super::PoolEvent;

/// Keeps what the bounded channel to the core has no room for, and tries again.
pub(super) struct Outbox {
    core: Sender<PoolEvent>,
    waiting: VecDeque<PoolEvent>,
}

impl Outbox {
    pub(super) fn new(core: Sender<PoolEvent>) -> Self {
        Self { core, waiting: VecDeque::new() }
    }

    pub(super) fn push(&mut self, event: PoolEvent) {
        if !self.waiting.is_empty() {
            self.waiting.push_back(event);
            return;
        }
        // A core that is gone wants no events.
        if let Err(TrySendError::Full(event)) = self.core.try_send(event) {
            self.waiting.push_back(event);
        }
    }

    /// Sends what waits, as far as there is room.
    pub(super) fn flush(&mut self) {
        while let Some(event) = self.waiting.pop_front() {
            if let Err(TrySendError::Full(event)) = self.core.try_send(event) {
                self.waiting.push_front(event);
                return;
            }
        }
    }

    /// Whether something waits for room.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}
