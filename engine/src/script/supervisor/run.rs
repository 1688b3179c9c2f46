//! One run: its journal, where it lives, and how far its runtime has come.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use lockstep_ctx_api::journal::{Bounds, FORMAT, Journal, JournalHeader, Recorder, Replayer};
use lockstep_ctx_api::js::PRELUDE_VERSION;
use lockstep_ctx_api::op::OpId;
use lockstep_ctx_api::wire::{Entry, EntryKind, Epoch, Limits, RunHeader, RunId, Start, ToWorker};

use super::WorkerKey;
use crate::script::host::{Moment, StartRun};
use crate::script::programs::Program;

/// A wall clock that differs by so many milliseconds was set. By less the two differ where it is kept right.
const SET_MS: u64 = 1_000;

/// Where a run's runtime lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placement {
    pub(super) worker: WorkerKey,
    pub(super) epoch: Epoch,
}

/// How far the script has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// `main` is under way.
    Running,
    /// `main` has returned, or left the end of the call uncaught; what it left behind may still settle.
    Finished,
    /// It has thrown, and this has been said.
    Failed,
    /// Ended by the engine: it has no runtime and gets none.
    Stopped,
}

#[derive(Debug)]
pub(super) struct Run {
    pub(super) program: Arc<Program>,
    pub(super) header: Arc<RunHeader>,
    pub(super) recorder: Recorder,
    pub(super) replayer: Replayer,
    pub(super) placement: Option<Placement>,
    /// Its worker holds nothing of it any more.
    pub(super) gone: bool,
    pub(super) phase: Phase,
    /// Raised by every (re)build; 0: never built.
    pub(super) epoch: Epoch,
    /// Frames that make turns, sent in this epoch.
    pub(super) sent: u32,
    /// Entries past the journal's bound that have not been sent, and their bytes.
    pub(super) beyond: VecDeque<(Entry, usize)>,
    /// Those bytes together.
    pub(super) beyond_bytes: usize,
    /// The turn of the entry that was appended last.
    pub(super) last_turn: u32,
    /// The turn that ended last, of those that were seen for the first time.
    pub(super) ended_turn: Option<u32>,
    /// Operations that have not settled.
    pub(super) pending: usize,
    /// What those take that take much.
    pub(super) weighty: Weighty,
    /// Host operations under way whose outcome is sure to come.
    pub(super) errands: Vec<OpId>,
    /// It has set a timer since the end of its call.
    pub(super) lingers: bool,
    /// CPU time of its turns so far, and so what rebuilding it takes.
    pub(super) cpu: Duration,
    pub(super) lines: LineCursor,
    /// The turn of a `Wake` that has not been answered: timers it will run are not due again until it is.
    pub(super) wake_turn: Option<u32>,
    /// When its next timer is due, on the script's clock.
    pub(super) wake_at: Option<u64>,
    /// The turn at which a worker died under this run.
    pub(super) died_at: Option<u32>,
    /// Waits for a worker to become ready.
    pub(super) homeless: bool,
    /// Listed among its worker's hungry runs.
    pub(super) hungry: bool,
    /// The log has said that it cannot be rebuilt.
    pub(super) size_warned: bool,
    /// What the script's clock shows, and when: it goes on from there as the monotonic clock does.
    clock: Moment,
    script_time: u64,
}

impl Run {
    pub(super) fn new(now: Moment, start: StartRun, bounds: Bounds) -> Self {
        let StartRun { program, function, data, call, env, seed, is_awaited } = start;
        let mut all_env = program.env_now();
        all_env.extend(env);
        let limits = Limits {
            memory_bytes: program.limits.memory_bytes,
            turn_ms: program.limits.turn_ms,
            after_end_ms: program.limits.after_end_ms,
        };
        let header = Arc::new(RunHeader {
            bundle: program.bundle_id,
            script_type: program.script_type,
            function,
            env: all_env,
            limits,
            seed,
            time_zone: program.time_zone.clone(),
            prelude: PRELUDE_VERSION,
            is_awaited,
        });
        let pinned = JournalHeader {
            format: FORMAT,
            script: program.file.clone(),
            version: program.version.clone(),
            sources: program.sources.clone(),
            run: Arc::clone(&header),
        };
        let journal = Journal::new(pinned, Arc::new(Start { at: now.unix_ms, data, call }));
        Self {
            program,
            header,
            replayer: Replayer::new(&journal),
            recorder: Recorder::new(journal, bounds),
            placement: None,
            gone: false,
            phase: Phase::Running,
            epoch: 0,
            sent: 0,
            beyond: VecDeque::new(),
            beyond_bytes: 0,
            last_turn: 0,
            ended_turn: None,
            pending: 0,
            weighty: Weighty::default(),
            errands: Vec::new(),
            lingers: false,
            cpu: Duration::ZERO,
            lines: LineCursor::default(),
            wake_turn: None,
            wake_at: None,
            died_at: None,
            homeless: false,
            hungry: false,
            size_warned: false,
            clock: now,
            script_time: now.unix_ms,
        }
    }

    /// `main` is over and everything that was fed has been taken in; what it left to its listeners has been done, too.
    pub(super) fn is_quiet(&self) -> bool {
        let has_heard_all = self.ended_turn == Some(self.last_turn);
        match self.phase {
            Phase::Running => false,
            Phase::Finished | Phase::Failed => has_heard_all && self.errands.is_empty() && !self.lingers,
            Phase::Stopped => true,
        }
    }

    /// Nothing but its own operations and timers can move it.
    pub(super) fn owns_no_call(&self) -> bool {
        self.recorder.journal().start.call.is_none()
    }

    /// A runtime can be made for it, now or again.
    pub(super) fn is_buildable(&self) -> bool {
        self.phase != Phase::Stopped && (self.recorder.is_rebuildable() || self.epoch == 0)
    }

    /// The script's clock. Timers go by it, so it does not follow the wall clock, but is told where that was set.
    pub(super) fn clock(&self, now: Moment) -> u64 {
        let passed = now.instant.saturating_duration_since(self.clock.instant).as_millis();
        self.clock.unix_ms.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    /// The script's clock at a new entry, at least `unix_ms`: never behind what the script has seen.
    pub(super) fn advance_clock(&mut self, now: Moment, unix_ms: u64) -> u64 {
        self.script_time = self.script_time.max(unix_ms).max(self.clock(now));
        self.script_time
    }

    /// The entry that tells the script that the wall clock was set, where it was.
    pub(super) fn follow_wall_clock(&mut self, now: Moment) -> Option<Entry> {
        let showed = self.clock(now);
        if showed.abs_diff(now.unix_ms) < SET_MS {
            return None;
        }
        let by_ms = i64::try_from(now.unix_ms).ok()?.checked_sub(i64::try_from(showed).ok()?)?;
        let entry = Entry { at: self.advance_clock(now, showed), kind: EntryKind::ClockSet { by_ms } };
        let moved = |time: u64| time.saturating_add_signed(by_ms);
        self.clock = now;
        self.script_time = moved(self.script_time);
        self.wake_at = self.wake_at.map(moved);
        Some(entry)
    }

    /// Entries sent whose turns have not ended.
    pub(super) fn outstanding(&self) -> usize {
        let ended = self.replayer.next_turn().unwrap_or(self.sent);
        usize::try_from(self.sent.saturating_sub(ended)).unwrap_or(0)
    }

    /// Something waits for a turn: entries sent and not answered, or not sent yet.
    pub(super) fn has_work(&self) -> bool {
        self.sent == 0 || self.outstanding() > 0 || self.has_unsent()
    }

    /// Entries wait for room in the worker's buffer.
    pub(super) fn has_unsent(&self) -> bool {
        !self.beyond.is_empty() || self.unsent_in_journal().is_some()
    }

    /// The next frame that makes a turn, taken off what waits; `None` when all is sent.
    pub(super) fn next_frame(&mut self, run: RunId) -> Option<ToWorker> {
        let epoch = self.epoch;
        if self.sent == 0 {
            let start = Arc::clone(&self.recorder.journal().start);
            return Some(ToWorker::Start { run, epoch, header: Arc::clone(&self.header), start });
        }
        let entry = match self.unsent_in_journal() {
            Some(entry) => entry.clone(),
            None => {
                let (entry, bytes) = self.beyond.pop_front()?;
                self.beyond_bytes = self.beyond_bytes.saturating_sub(bytes);
                entry
            }
        };
        Some(ToWorker::Entry { run, epoch, entry })
    }

    fn unsent_in_journal(&self) -> Option<&Entry> {
        let at = usize::try_from(self.sent).ok()?.checked_sub(1)?;
        self.recorder.journal().entries.get(at)
    }
}

/// Turns that asked for much, until all operations of theirs have settled: what they ask for is kept meanwhile.
#[derive(Debug, Default)]
pub(super) struct Weighty {
    /// By turn: operations that have not settled, and the bytes of its frame.
    turns: BTreeMap<u32, (usize, usize)>,
    bytes: usize,
}

impl Weighty {
    /// A smaller turn is bounded by the number of operations.
    const LEAST: usize = 4 << 10;

    /// Notes a turn of `operations` that took `bytes`; what all take together.
    pub(super) fn asked(&mut self, turn: u32, operations: usize, bytes: usize) -> usize {
        if operations > 0 && bytes >= Self::LEAST {
            self.turns.insert(turn, (operations, bytes));
            self.bytes = self.bytes.saturating_add(bytes);
        }
        self.bytes
    }

    pub(super) fn settled(&mut self, op: OpId) {
        let Some((left, bytes)) = self.turns.get_mut(&op.turn) else { return };
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.bytes = self.bytes.saturating_sub(*bytes);
            self.turns.remove(&op.turn);
        }
    }
}

/// Which console lines have been shown, so that replayed ones are not shown again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LineCursor {
    turn: u32,
    seq: u32,
    /// Lines of `turn` that were shown.
    shown: usize,
    dropped: bool,
}

/// What to do with a console line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineFate {
    Show,
    /// Seen before.
    Repeated,
    /// The first one over the bound: say so.
    FirstDropped,
    Dropped,
}

impl LineCursor {
    /// Takes line `seq` of turn `turn`; a turn may show `bound` lines.
    pub(super) fn take(&mut self, turn: u32, seq: u32, bound: usize) -> LineFate {
        if (turn, seq) < (self.turn, self.seq) {
            return LineFate::Repeated;
        }
        if turn != self.turn {
            *self = Self { turn, ..Self::default() };
        }
        self.seq = seq.saturating_add(1);
        if self.shown < bound {
            self.shown += 1;
            return LineFate::Show;
        }
        if std::mem::replace(&mut self.dropped, true) { LineFate::Dropped } else { LineFate::FirstDropped }
    }

    /// The turn has ended: none of its lines will be shown again.
    pub(super) fn turn_ended(&mut self, turn: u32) {
        if turn >= self.turn {
            *self = Self { turn: turn.saturating_add(1), ..Self::default() };
        }
    }
}
