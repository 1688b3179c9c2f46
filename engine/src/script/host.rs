//! How the core runs scripts.

use std::sync::Arc;
use std::time::Instant;

use lockstep_ctx_api::journal::Journal;
use lockstep_ctx_api::op::{Op, OpId, Vars};
use lockstep_ctx_api::wire::{CallStart, EntryKind, Location, LogLine, RunId, ScriptError};

use super::programs::Program;

/// One point in time, on both clocks: the one that measures and the one that scripts read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub instant: Instant,
    /// Milliseconds since the Unix epoch.
    pub unix_ms: u64,
}

/// A run to be started.
#[derive(Clone, Debug)]
pub struct StartRun {
    pub program: Arc<Program>,
    /// Exported function to call; `None`: `main`.
    pub function: Option<String>,
    /// Its first argument, as JSON.
    pub data: String,
    /// Present when the run owns a call.
    pub call: Option<CallStart>,
    /// What `process.env` holds besides the program's own variables, such as `CORRELATION_ID`.
    pub env: Vars,
    /// Seeds `Math.random` and `crypto`.
    pub seed: [u8; 32],
    /// Somebody waits for its result.
    pub is_awaited: bool,
}

/// What a turn asked for, in the order in which the operation queue must be told: submit, awaited, cancel, then poll.
#[derive(Clone, Debug, PartialEq)]
pub struct TurnOutput {
    pub turn: u32,
    /// In program order.
    pub issued: Vec<(OpId, Op, Option<Location>)>,
    pub awaited: Vec<OpId>,
    pub cancels: Vec<OpId>,
    /// CPU time of the turn, µs, as the worker measured it.
    pub cpu_us: u32,
}

/// What runs report. Outputs of one run keep their order.
#[derive(Clone, Debug, PartialEq)]
pub enum ScriptOutput {
    /// A turn that asked for something has ended.
    Turn(RunId, TurnOutput),
    /// The function returned, or `exit` was called. `result` is JSON, `None` for `undefined`. The run still takes entries, for
    /// the operations it did not await, until it is dropped.
    Finished { run: RunId, result: Option<String> },
    /// The script threw or was stopped. Said once; after `Finished` only when what the script left behind is stopped (limits,
    /// its worker's death).
    Failed { run: RunId, error: ScriptError },
    /// The script still runs although the time it has after `CallEnded` is over: drop it.
    GraceOver { run: RunId },
    /// A run outside any call waits, although nothing is under way that could wake it: no operation, no timer, no entry.
    Stuck { run: RunId },
    /// A run whose function is over has taken in everything that was fed: see [`ScriptHost::is_quiet`].
    Quiet { run: RunId },
    /// A console line, or a warning about the run.
    Log { run: RunId, line: LogLine },
}

impl ScriptOutput {
    /// The run that reports.
    pub fn run(&self) -> RunId {
        match self {
            Self::Turn(run, _)
            | Self::Finished { run, .. }
            | Self::Failed { run, .. }
            | Self::GraceOver { run }
            | Self::Stuck { run }
            | Self::Quiet { run }
            | Self::Log { run, .. } => *run,
        }
    }
}

/// Runs scripts.
///
/// Not reentrant by construction: every method queues what it causes, and [`poll_output`](Self::poll_output) hands it out. Drain
/// it after every call, and when the host says that there is something.
pub trait ScriptHost {
    /// Creates a run and its first turn. Never fails; what is wrong with the script comes as [`ScriptOutput::Failed`].
    fn start(&mut self, now: Moment, run: StartRun) -> RunId;
    /// Feeds the next entry. Entries for a run that is not there any more are ignored.
    fn entry(&mut self, now: Moment, run: RunId, kind: EntryKind);
    /// Ends a run, whatever it is doing, and hands over its journal.
    fn drop_run(&mut self, now: Moment, run: RunId) -> Option<Journal>;
    /// The run's function is over and everything that was fed has been taken in: nothing more comes of it by itself.
    fn is_quiet(&self, run: RunId) -> bool;
    /// The journal of a live run so far.
    fn journal(&self, run: RunId) -> Option<Journal>;
    /// Shows the journal of a live run so far, without a copy.
    fn read_journal(&self, run: RunId, read: &mut dyn FnMut(&Journal));
    /// No new run will use this version of a program: workers may forget it once its last run is over.
    fn retire(&mut self, bundle: u64);
    /// The next thing that happened.
    fn poll_output(&mut self) -> Option<ScriptOutput>;
    /// When to call [`handle_timeout`](Self::handle_timeout) next; `None` when the host keeps time itself or nothing is due.
    fn next_timeout(&self) -> Option<Instant>;
    /// Tells that time has passed.
    fn handle_timeout(&mut self, now: Moment);
    /// Figures for `/metrics` and `/v1/ready`.
    fn stats(&self) -> ScriptStats;
}

/// What a script host has done and holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScriptStats {
    /// Live runs.
    pub runs: usize,
    /// Live runs that have no worker at the moment: nothing is due for them, or none is ready.
    pub runs_unplaced: usize,
    /// Workers that take runs.
    pub workers_ready: usize,
    /// Workers that died without having been told to.
    pub worker_deaths: u64,
    /// Workers killed because a turn ran over its limit.
    pub worker_kills: u64,
    /// Runs rebuilt from their journals.
    pub rebuilds: u64,
    /// Rebuilds that did not repeat the journal.
    pub divergences: u64,
    /// Turns that ended, repeated ones included.
    pub turns: u64,
    /// CPU time of all turns, µs.
    pub turn_cpu_us: u64,
    /// Console lines dropped because a turn wrote too many.
    pub log_lines_dropped: u64,
}
