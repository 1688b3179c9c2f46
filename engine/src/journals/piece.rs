//! What the thread that writes journals is given.

use std::sync::Arc;

use lockstep_ctx_api::journal::{JournalHeader, Tail};
use lockstep_ctx_api::wire::{Bundle, Start};

/// Names a journal while it is being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JournalId(pub(super) u64);

/// Some of a journal. Pieces of one journal come in their order: the first has a beginning, and that of a call ends with an outcome.
pub struct Piece {
    pub journal: JournalId,
    pub begin: Option<Box<Begin>>,
    pub tail: Option<Tail>,
    /// How it came out, as JSON; asked for where it is written.
    pub outcome: Option<Box<dyn FnOnce() -> Vec<u8> + Send>>,
    /// A journal to which nothing will be added after this piece: this one, or one that this one follows.
    pub closes: Option<JournalId>,
    /// What it takes in memory, roughly.
    pub bytes: usize,
}

/// The beginning of a journal.
#[derive(Clone, Debug)]
pub struct Begin {
    /// Id of the call or run.
    pub name: String,
    pub account: String,
    /// Milliseconds since the Unix epoch.
    pub started_ms: u64,
    /// Absent for a call without a script.
    pub script: Option<ScriptStart>,
}

/// What a run began with.
#[derive(Clone, Debug)]
pub struct ScriptStart {
    pub header: JournalHeader,
    pub start: Arc<Start>,
    pub bundle_id: u64,
    pub bundle: Arc<Bundle>,
}
