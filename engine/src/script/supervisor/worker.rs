//! A worker as the supervisor sees it: what it holds and what is still to be sent to it.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use lockstep_ctx_api::wire::{Epoch, RunId, ToWorker, WireError, write_frame};

/// Bytes that may wait for one worker before entries stay in their journals instead.
const HIGH_WATER: usize = 256 * 1024;
/// Entries that a worker has before it, unless the runs in it have more, before others are started there. Those come to an end first: a
/// worker that has too much to do would hold ever more runtimes, and what makes new ones dear is that none has been given back.
const AHEAD: usize = 64;
/// Of so many turns one is the first of a run, whatever the others have to do.
const STARTS_ONE_IN: u32 = 4;
/// Buffer that an idle worker keeps, in bytes.
const KEPT_CAPACITY: usize = 64 * 1024;

/// Names one worker process; never used again after its death.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerKey(pub u64);

/// How far a worker has come.
///
/// ```text
///   Starting ──Ready frame──► Ready ──told to go, or killed──► Leaving ──socket closed──► (gone)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WorkerState {
    Starting,
    Ready,
    /// Nothing it says counts any more, except that its other runs' turns still do until the socket closes.
    Leaving,
}

/// A turn that has been going on too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stall {
    pub(super) run: (RunId, Epoch),
    /// CPU time it had taken when it was last looked at.
    pub(super) cpu: Duration,
}

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) state: WorkerState,
    pub(super) since: Instant,
    /// Kept free of runs, to take over from a stalled or dead one at once.
    pub(super) spare: bool,
    /// Takes no new runs; those it has leave with their next entry, and it goes when the last has left.
    pub(super) retiring: bool,
    /// A turn has been going on too long; new entries of others must not wait behind it.
    pub(super) stalled: Option<Stall>,
    pub(super) runs: BTreeSet<RunId>,
    pub(super) bundles: BTreeSet<u64>,
    /// Entries sent to runs that are still here and not answered by the end of a turn.
    pub(super) outstanding: usize,
    /// Whose entries they are, in the order in which the worker takes them.
    in_flight: VecDeque<(RunId, Epoch)>,
    /// A run left while its turn was under way, so something may still be running although nothing is outstanding.
    pub(super) haunted: bool,
    /// When it last said anything; `None` since it was given work after a pause.
    pub(super) heard: Option<Instant>,
    /// Runs with entries that the buffer had no room for.
    pub(super) hungry: VecDeque<RunId>,
    /// Runs that have not been started here.
    pub(super) new: VecDeque<RunId>,
    /// Turns that have ended since one of those was.
    turns_since_start: u32,
    /// The run that was fed last was one of them.
    fed_new: bool,
    outbound: Vec<u8>,
    /// How much of `outbound` has been written.
    written: usize,
}

impl Worker {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            state: WorkerState::Starting,
            since: now,
            spare: false,
            retiring: false,
            stalled: None,
            runs: BTreeSet::new(),
            bundles: BTreeSet::new(),
            outstanding: 0,
            in_flight: VecDeque::new(),
            haunted: false,
            heard: None,
            hungry: VecDeque::new(),
            new: VecDeque::new(),
            turns_since_start: 0,
            fed_new: false,
            outbound: Vec::new(),
            written: 0,
        }
    }

    /// New runs may be given to it, spare or not.
    pub(super) fn is_open(&self) -> bool {
        self.state == WorkerState::Ready && !self.retiring && self.stalled.is_none()
    }

    /// Someone waits for it, or should.
    pub(super) fn is_watched(&self) -> bool {
        self.state == WorkerState::Ready && (self.is_busy() || self.haunted || self.stalled.is_some())
    }

    /// Runs in it wait for a turn, or for room in its buffer.
    pub(super) fn is_busy(&self) -> bool {
        self.outstanding > 0 || !self.new.is_empty() || !self.hungry.is_empty()
    }

    /// A run has entries that it has not been sent.
    pub(super) fn wait_for_room(&mut self, run: RunId, is_new: bool) {
        if !self.is_busy() {
            self.heard = None;
        }
        let line = if is_new { &mut self.new } else { &mut self.hungry };
        line.push_back(run);
    }

    /// A run that waits for room has gone.
    pub(super) fn waits_no_more(&mut self, run: RunId) {
        self.new.retain(|waiting| *waiting != run);
        self.hungry.retain(|waiting| *waiting != run);
    }

    /// Appends a frame; returns its size.
    pub(super) fn push(&mut self, frame: &ToWorker) -> Result<usize, WireError> {
        let before = self.outbound.len();
        write_frame(frame, &mut self.outbound)?;
        Ok(self.outbound.len() - before)
    }

    /// An entry of a run has been put into its buffer.
    pub(super) fn sent_one(&mut self, run: RunId, epoch: Epoch) {
        self.in_flight.push_back((run, epoch));
        if self.outstanding == 0 {
            self.heard = None;
        }
        self.outstanding += 1;
    }

    /// The turn of an entry has ended. Entries sent before it were for runtimes that are gone.
    pub(super) fn answered(&mut self, run: RunId, epoch: Epoch) {
        self.turns_since_start = self.turns_since_start.saturating_add(1);
        if let Some(at) = self.in_flight.iter().position(|entry| *entry == (run, epoch)) {
            self.in_flight.drain(..=at);
        }
    }

    /// Whose entry it takes next, or has taken without coming to an end.
    pub(super) fn next_in_flight(&self) -> Option<(RunId, Epoch)> {
        self.in_flight.front().copied()
    }

    /// The run that is to be fed next, taken off those that wait: one of each kind in turn, where another may be started.
    pub(super) fn next_to_feed(&mut self) -> Option<RunId> {
        let may_start = self.outstanding < AHEAD || self.turns_since_start >= STARTS_ONE_IN;
        self.fed_new = may_start && (!self.fed_new || self.hungry.is_empty());
        if self.fed_new
            && let Some(id) = self.new.pop_front()
        {
            self.turns_since_start = 0;
            return Some(id);
        }
        self.hungry.pop_front()
    }

    /// There is room for more entries.
    pub(super) fn has_room(&self) -> bool {
        self.outbound.len() - self.written < HIGH_WATER
    }

    /// What is to be written to its socket.
    pub(super) fn outbound(&self) -> &[u8] {
        self.outbound.get(self.written..).unwrap_or_default()
    }

    /// The first `bytes` of [`outbound`](Self::outbound) have been written.
    pub(super) fn written(&mut self, bytes: usize) {
        self.written = (self.written + bytes).min(self.outbound.len());
        if self.written == self.outbound.len() {
            self.outbound.clear();
            self.outbound.shrink_to(KEPT_CAPACITY);
            self.written = 0;
        } else if self.written >= HIGH_WATER {
            self.outbound.drain(..self.written);
            self.written = 0;
        }
    }
}
