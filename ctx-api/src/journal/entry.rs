//! What a journal holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::op::OpId;
use crate::wire::{Entry, Issued, RunHeader, RunState, Start, TurnEnd};

/// Version of the journal's shape; changes when an older reader would misread it.
pub const FORMAT: u32 = 1;

/// Everything needed to run a script again exactly as it ran.
#[derive(Clone, Debug, PartialEq)]
pub struct Journal {
    pub header: JournalHeader,
    /// Entry of turn 0.
    pub start: Arc<Start>,
    /// `entries[n]` is the entry of turn n + 1.
    pub entries: Vec<Entry>,
    /// `turns[n]` is how turn n ended; shorter than the entries while turns are under way.
    pub turns: Vec<TurnRecord>,
    /// The first turn that is missing because the journal had reached its bound; such a journal rebuilds nothing.
    pub truncated_at: Option<u32>,
    /// What it takes, roughly: the size of everything recorded as it travels between engine and worker.
    pub bytes: usize,
}

/// How much of a journal somebody has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    pub entries: usize,
    pub turns: usize,
    /// Knows that the journal goes no further.
    pub truncated: bool,
}

/// What a journal holds past a [`Mark`].
#[derive(Clone, Debug, PartialEq)]
pub struct Tail {
    pub from: Mark,
    pub entries: Vec<Entry>,
    pub turns: Vec<TurnRecord>,
    pub truncated_at: Option<u32>,
}

/// What pins a run besides its entries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JournalHeader {
    /// [`FORMAT`] of the writer.
    pub format: u32,
    /// File name of the entry script.
    pub script: String,
    /// Hash over all sources, as `lockstep scripts` shows it.
    pub version: String,
    /// Every file the run could load.
    pub sources: BTreeMap<String, SourceDigest>,
    pub run: Arc<RunHeader>,
}

/// Identifies one source file's text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceDigest {
    pub bytes: usize,
    /// SHA-256, lowercase hexadecimal.
    pub sha256: String,
}

/// What a turn asked for: a [`TurnEnd`] without what differs between repetitions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TurnRecord {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub issued: Vec<Issued>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub awaited: Vec<OpId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cancels: Vec<OpId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake_at: Option<u64>,
    pub state: RunState,
}

impl From<TurnEnd> for TurnRecord {
    fn from(end: TurnEnd) -> Self {
        let TurnEnd { issued, awaited, cancels, wake_at, state, .. } = end;
        Self { issued, awaited, cancels, wake_at, state }
    }
}

impl Journal {
    /// A journal of which nothing but the start is known.
    pub fn new(header: JournalHeader, start: Arc<Start>) -> Self {
        let call = start.call.as_ref().map_or(0, |call| {
            let fields: usize = call.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
            fields + call.data_vars.as_ref().map_or(0, String::len)
        });
        let bytes = start.data.len() + call;
        Self { header, start, entries: Vec::new(), turns: Vec::new(), truncated_at: None, bytes }
    }

    /// The turn the next inbound entry will have.
    pub fn next_turn(&self) -> u32 {
        u32::try_from(self.entries.len() + 1).unwrap_or(u32::MAX)
    }

    /// How many turns have ended, which is the number of the first that has not.
    pub fn turns_ended(&self) -> u32 {
        u32::try_from(self.turns.len()).unwrap_or(u32::MAX)
    }

    /// How turn `turn` ended.
    pub fn turn(&self, turn: u32) -> Option<&TurnRecord> {
        self.turns.get(usize::try_from(turn).ok()?)
    }

    /// All of it.
    pub fn mark(&self) -> Mark {
        Mark { entries: self.entries.len(), turns: self.turns.len(), truncated: self.truncated_at.is_some() }
    }

    /// What came after `mark`.
    pub fn since(&self, mark: Mark) -> Tail {
        Tail {
            from: mark,
            entries: self.entries.get(mark.entries..).unwrap_or_default().to_vec(),
            turns: self.turns.get(mark.turns..).unwrap_or_default().to_vec(),
            truncated_at: self.truncated_at.filter(|_| !mark.truncated),
        }
    }
}

impl Tail {
    /// Where the journal stands with it.
    pub fn to(&self) -> Mark {
        Mark {
            entries: self.from.entries + self.entries.len(),
            turns: self.from.turns + self.turns.len(),
            truncated: self.from.truncated || self.truncated_at.is_some(),
        }
    }
}
