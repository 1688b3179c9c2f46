//! One deadline per owner, in order.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use super::client::ClientId;
use super::{DialogId, IncomingId, RequestId};

/// Who is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Owner {
    Client(ClientId),
    Server(IncomingId),
    Dialog(DialogId),
    Request(RequestId),
}

/// The deadlines of all transactions, dialogs and waiting requests; O(log n) for every operation.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    queue: BTreeSet<(Instant, Owner)>,
    due: HashMap<Owner, Instant>,
}

impl Schedule {
    /// Sets, moves or, with `None`, removes the owner's deadline.
    pub(super) fn set(&mut self, owner: Owner, at: Option<Instant>) {
        let before = match at {
            Some(at) => self.due.insert(owner, at),
            None => self.due.remove(&owner),
        };
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.queue.remove(&(before, owner));
        }
        if let Some(at) = at {
            self.queue.insert((at, owner));
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes one owner whose deadline has passed.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Owner> {
        let (at, owner) = *self.queue.first()?;
        if at > now {
            return None;
        }
        self.set(owner, None);
        Some(owner)
    }
}
