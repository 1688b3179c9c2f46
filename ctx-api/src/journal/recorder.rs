//! Writes a journal, within bounds.

use super::entry::{Journal, TurnRecord};
use crate::wire::Entry;

/// How large the journal of one run may grow before the run stops being rebuildable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Inbound entries.
    pub entries: usize,
    /// Bytes of entries and turns as they travel between engine and worker.
    pub bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { entries: 10_000, bytes: 1 << 20 }
    }
}

/// The journal of a live run.
///
/// Past its bounds it keeps what it has, so that the past can still be read, and takes nothing more.
#[derive(Debug)]
pub struct Recorder {
    journal: Journal,
    bounds: Bounds,
}

impl Recorder {
    /// A recorder for a run that has just been started.
    pub fn new(journal: Journal, bounds: Bounds) -> Self {
        Self { journal, bounds }
    }

    /// Appends an inbound entry of `bytes` encoded bytes; call before it is sent. Past the bound the entry comes back.
    pub fn entry(&mut self, entry: Entry, bytes: usize) -> Result<(), Entry> {
        if self.journal.entries.len() >= self.bounds.entries || !self.fits(bytes) {
            self.journal.truncated_at.get_or_insert(self.journal.next_turn());
            return Err(entry);
        }
        self.journal.bytes += bytes;
        self.journal.entries.push(entry);
        Ok(())
    }

    /// Appends the end of the turn that [`Journal::turns_ended`] names. Past the bound it is not kept.
    pub fn turn(&mut self, turn: TurnRecord, bytes: usize) {
        if self.fits(bytes) {
            self.journal.bytes += bytes;
            self.journal.turns.push(turn);
        } else {
            self.journal.truncated_at.get_or_insert(self.journal.turns_ended());
        }
    }

    /// The run can be rebuilt from what was recorded.
    pub fn is_rebuildable(&self) -> bool {
        self.journal.truncated_at.is_none()
    }

    /// What has been recorded.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Ends recording.
    pub fn into_journal(self) -> Journal {
        self.journal
    }

    fn fits(&self, bytes: usize) -> bool {
        self.is_rebuildable() && self.journal.bytes + bytes <= self.bounds.bytes
    }
}
