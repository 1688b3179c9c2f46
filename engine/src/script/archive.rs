//! Journals of calls that are over, the newest ones, in memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use lockstep_ctx_api::journal::Journal;

/// Journals that are kept.
const MAX_JOURNALS: usize = 1_000;
/// Bytes that all of them may take; one journal is at most about 1 MiB.
const MAX_BYTES: usize = 64 << 20;

/// Keeps the journals of the last calls, for `/v1/calls/{id}/journal` and `lockstep replay`.
#[derive(Debug)]
pub struct JournalArchive {
    by_call: BTreeMap<String, Arc<Journal>>,
    /// Call ids, the oldest first.
    order: VecDeque<String>,
    bytes: usize,
    max_journals: usize,
    max_bytes: usize,
}

impl Default for JournalArchive {
    fn default() -> Self {
        Self::with_bounds(MAX_JOURNALS, MAX_BYTES)
    }
}

impl JournalArchive {
    /// An archive that keeps at most so many journals and bytes.
    pub fn with_bounds(max_journals: usize, max_bytes: usize) -> Self {
        Self { by_call: BTreeMap::new(), order: VecDeque::new(), bytes: 0, max_journals, max_bytes }
    }

    /// Keeps the journal of a call that is over, at the cost of the oldest ones. A call has one journal.
    pub fn insert(&mut self, call_id: String, journal: Journal) {
        self.bytes += journal.bytes;
        match self.by_call.insert(call_id.clone(), Arc::new(journal)) {
            Some(replaced) => self.bytes -= replaced.bytes,
            None => self.order.push_back(call_id),
        }
        while self.order.len() > self.max_journals || self.bytes > self.max_bytes {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some(journal) = self.by_call.remove(&oldest) {
                self.bytes -= journal.bytes;
            }
        }
    }

    /// The journal of a past call.
    pub fn find(&self, call_id: &str) -> Option<&Arc<Journal>> {
        self.by_call.get(call_id)
    }
}

#[cfg(test)]
mod tests {
    use lockstep_ctx_api::journal::JournalHeader;
    use lockstep_ctx_api::wire::{Limits, RunHeader, ScriptType, Start};

    use super::*;

    fn journal(bytes: usize) -> Journal {
        let run = RunHeader {
            bundle: 1,
            script_type: ScriptType::App,
            function: None,
            env: BTreeMap::new(),
            limits: Limits { memory_bytes: 1, turn_ms: 1, after_end_ms: 1 },
            seed: [0; 32],
            time_zone: "UTC".into(),
            prelude: 1,
        };
        let header =
            JournalHeader { format: 1, script: "a.js".into(), version: "0".into(), sources: BTreeMap::new(), run: Arc::new(run) };
        let start = Start { at: 0, data: "{}".into(), call: None };
        Journal { bytes, ..Journal::new(header, Arc::new(start)) }
    }

    #[test]
    fn the_oldest_make_room_for_the_newest() {
        let mut archive = JournalArchive::with_bounds(2, 1_000);
        for id in ["a", "b", "c"] {
            archive.insert(id.into(), journal(10));
        }
        assert!(archive.find("a").is_none());
        assert!(archive.find("b").is_some() && archive.find("c").is_some());
    }

    #[test]
    fn large_journals_push_out_more_than_one() {
        let mut archive = JournalArchive::with_bounds(10, 100);
        archive.insert("a".into(), journal(40));
        archive.insert("b".into(), journal(40));
        archive.insert("c".into(), journal(90));
        assert!(archive.find("a").is_none() && archive.find("b").is_none() && archive.find("c").is_some());
    }

    #[test]
    fn a_journal_that_is_replaced_counts_once() {
        let mut archive = JournalArchive::with_bounds(10, 100);
        for _ in 0..5 {
            archive.insert("a".into(), journal(60));
        }
        assert!(archive.find("a").is_some());
    }
}
