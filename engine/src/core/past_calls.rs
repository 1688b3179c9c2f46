//! Calls that are over, as far back as memory allows: summaries, timelines and journals.

use std::collections::{HashMap, VecDeque};

use lockstep_ctx_api::journal::Journal;

use super::handle::CallSummary;
use super::timeline::Timeline;

/// The most calls kept.
const MAX_CALLS: usize = 2_000;
/// The most timeline entries kept over all of them: a few busy calls must not cost what thousands of short ones do.
const MAX_ENTRIES: usize = 200_000;

/// A call that is over.
#[derive(Debug)]
pub(crate) struct PastCall {
    pub summary: CallSummary,
    pub timeline: Timeline,
    pub journal: Option<Journal>,
}

/// The latest calls, oldest first.
#[derive(Debug, Default)]
pub(crate) struct PastCalls {
    calls: VecDeque<PastCall>,
    /// Call id → its number, counted from the first call ever kept.
    numbers: HashMap<String, u64>,
    first: u64,
    entries: usize,
}

impl PastCalls {
    /// Keeps a call; the oldest ones give way.
    pub(crate) fn push(&mut self, call: PastCall) {
        self.entries += call.timeline.entries.len();
        self.numbers.insert(call.summary.facts.id.clone(), self.first + self.calls.len() as u64);
        self.calls.push_back(call);
        while self.calls.len() > MAX_CALLS || (self.entries > MAX_ENTRIES && self.calls.len() > 1) {
            let Some(oldest) = self.calls.pop_front() else { return };
            self.entries -= oldest.timeline.entries.len();
            self.numbers.remove(&oldest.summary.facts.id);
            self.first += 1;
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

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_ctx_api::CallFacts;

    fn call(id: usize) -> PastCall {
        let facts = CallFacts { id: id.to_string(), ..CallFacts::default() };
        let summary = CallSummary { facts: facts.clone(), script: None, ended: None, duration_ms: 0 };
        let timeline = Timeline { call: facts, script: None, ended: None, duration_ms: None, entries: Vec::new(), dropped: 0 };
        PastCall { summary, timeline, journal: None }
    }

    #[test]
    fn the_oldest_calls_give_way_and_the_others_are_still_found() {
        let mut past = PastCalls::default();
        (0..MAX_CALLS + 5).for_each(|id| past.push(call(id)));
        assert!(past.find("4").is_none());
        assert_eq!(past.find("5").unwrap().summary.facts.id, "5");
        assert_eq!(past.newest_first().next().unwrap().summary.facts.id, (MAX_CALLS + 4).to_string());
    }
}
