//! Calls that are over, as far back as memory allows: summaries, timelines and journals.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use lockstep_ctx_api::journal::Journal;
use lockstep_ctx_api::wire::Bundle;

use super::handle::CallSummary;
use super::timeline::Timeline;

/// The most calls kept.
const MAX_CALLS: usize = 2_000;
/// The most timeline entries kept over all of them: a few busy calls must not cost what thousands of short ones do.
const MAX_ENTRIES: usize = 200_000;
/// The most octets of journals kept; the oldest journals go first, and their calls stay.
const MAX_JOURNAL_BYTES: usize = 64 << 20;

/// A call that is over.
#[derive(Debug)]
pub(crate) struct PastCall {
    pub summary: CallSummary,
    pub timeline: Arc<Timeline>,
    /// What its script was run from.
    pub bundle: Option<Arc<Bundle>>,
    pub journal: Option<Arc<Journal>>,
    /// Its recordings, in the order they were begun.
    pub recordings: Vec<PathBuf>,
}

/// The latest calls, oldest first.
#[derive(Debug, Default)]
pub(crate) struct PastCalls {
    calls: VecDeque<PastCall>,
    /// Call id → its number, counted from the first call ever kept.
    numbers: HashMap<String, u64>,
    first: u64,
    entries: usize,
    journal_bytes: usize,
    /// Calls before this number have lost their journals.
    first_journal: u64,
}

impl PastCalls {
    /// Keeps a call; the oldest ones give way.
    pub(crate) fn push(&mut self, call: PastCall) {
        self.entries += call.timeline.entries.len();
        self.journal_bytes += bytes_of(call.journal.as_deref());
        self.numbers.insert(call.summary.facts.id.clone(), self.first + self.calls.len() as u64);
        self.calls.push_back(call);
        while self.calls.len() > MAX_CALLS || (self.entries > MAX_ENTRIES && self.calls.len() > 1) {
            let Some(oldest) = self.calls.pop_front() else { return };
            self.entries -= oldest.timeline.entries.len();
            self.journal_bytes -= bytes_of(oldest.journal.as_deref());
            self.numbers.remove(&oldest.summary.facts.id);
            self.first += 1;
        }
        self.first_journal = self.first_journal.max(self.first);
        while self.journal_bytes > MAX_JOURNAL_BYTES {
            let index = usize::try_from(self.first_journal - self.first).unwrap_or(usize::MAX);
            let Some(oldest) = self.calls.get_mut(index) else { return };
            self.journal_bytes -= bytes_of(oldest.journal.take().as_deref());
            self.first_journal += 1;
        }
    }

    /// A call by its id.
    pub(crate) fn find(&self, id: &str) -> Option<&PastCall> {
        let number = self.numbers.get(id)?.checked_sub(self.first)?;
        self.calls.get(usize::try_from(number).ok()?)
    }

    /// All of them, the newest first.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &PastCall> {
        self.calls.iter().rev()
    }
}

fn bytes_of(journal: Option<&Journal>) -> usize {
    journal.map_or(0, |journal| journal.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    use lockstep_ctx_api::CallFacts;
    use lockstep_ctx_api::journal::JournalHeader;
    use lockstep_ctx_api::op::Vars;
    use lockstep_ctx_api::wire::{Limits, RunHeader, ScriptType, Start};

    fn call(id: usize) -> PastCall {
        let facts = CallFacts { id: id.to_string(), ..CallFacts::default() };
        let summary = CallSummary { facts: facts.clone(), script: None, account: "default".into(), ended: None, duration_ms: 0 };
        let entries = Vec::new();
        let timeline =
            Timeline { call: facts, script: None, ended: None, duration_ms: None, finishing: false, entries, dropped: 0 };
        PastCall { summary, timeline: Arc::new(timeline), bundle: None, journal: None, recordings: Vec::new() }
    }

    #[test]
    fn the_oldest_calls_give_way_and_the_others_are_still_found() {
        let mut past = PastCalls::default();
        (0..MAX_CALLS + 5).for_each(|id| past.push(call(id)));
        assert!(past.find("4").is_none());
        assert_eq!(past.find("5").unwrap().summary.facts.id, "5");
        assert_eq!(past.newest_first().next().unwrap().summary.facts.id, (MAX_CALLS + 4).to_string());
    }

    fn with_journal(id: usize, bytes: usize) -> PastCall {
        let limits = Limits { memory_bytes: 0, turn_ms: 0, after_end_ms: 0 };
        let run = RunHeader {
            bundle: 1,
            script_type: ScriptType::App,
            function: None,
            env: Vars::new(),
            limits,
            seed: [0; 32],
            time_zone: "UTC".into(),
            prelude: 0,
            is_awaited: false,
        };
        let header =
            JournalHeader { format: 1, script: "a.js".into(), version: "1".into(), sources: [].into(), run: Arc::new(run) };
        let start = Start { at: 0, data: String::new(), call: None };
        PastCall { journal: Some(Arc::new(Journal { bytes, ..Journal::new(header, Arc::new(start)) })), ..call(id) }
    }

    #[test]
    fn the_oldest_journals_give_way_and_their_calls_stay() {
        let mut past = PastCalls::default();
        (0..5).for_each(|id| past.push(with_journal(id, MAX_JOURNAL_BYTES / 3)));
        let journals: Vec<bool> = (0..5).map(|id| past.find(&id.to_string()).unwrap().journal.is_some()).collect();
        assert_eq!(journals, [false, false, true, true, true]);
        assert!(past.journal_bytes <= MAX_JOURNAL_BYTES);

        (5..MAX_CALLS + 3).for_each(|id| past.push(call(id)));
        assert_eq!(past.journal_bytes, 2 * (MAX_JOURNAL_BYTES / 3), "what went with its call is not counted any more");
        past.push(with_journal(MAX_CALLS + 3, MAX_JOURNAL_BYTES));
        assert_eq!(past.journal_bytes, MAX_JOURNAL_BYTES);
    }
}
