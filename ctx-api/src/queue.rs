//! The lockstep rules of one call: when an operation may start, and what it settles with (contract, section 2.1).
//!
//! The queue stands above every backend and knows no time. Feed it what a turn of the script asked for ([`OpQueue::submit`],
//! [`OpQueue::awaited`], [`OpQueue::cancel`]) or what the backend reported ([`OpQueue::completed`], [`OpQueue::ended`]), then
//! drain [`OpQueue::poll_output`]. Everything one turn asked for is fed before the first poll: whether an operation was awaited
//! is read at the end of the turn, and an operation aborted in the turn that issued it never starts.
//!
//! ```text
//!            submit                    room in the queue             completed
//!   (script) ──────► Submitted ─┬────► Waiting ────────► Running ───────────────► settled
//!                               │         │ cancel, ended    │ ended
//!                               │         └──────────────────┴──────────────────► settled
//!                               └────► Concurrent (immediate and host operations) ► settled
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::error::{CallEndedCause, ErrorCode, OpError};
use crate::op::{Op, OpClass, OpId};
use crate::outcome::OpResult;

/// What the queue wants done, in this order.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "outputs are handled as they are polled, never stored in bulk")]
pub enum QueueOutput {
    /// Hand the operation to the backend, or to the host services when its class is [`OpClass::Host`].
    Start(OpId, Op),
    /// Ask for an operation that was started to stop; its completion still comes.
    Cancel(OpId),
    /// Tell the script. Said exactly once for every submitted operation.
    Settle(OpId, OpResult),
    /// Nothing of the call runs or waits any more. Said each time that becomes true.
    Idle,
}

/// Operations of one call, in the order the script issued them.
#[derive(Debug, Default)]
pub struct OpQueue {
    phase: Phase,
    /// Fed since the last poll, in program order.
    submitted: Vec<Waiting>,
    waiting: BTreeMap<Place, Waiting>,
    /// How many of `waiting` nobody listens to.
    unheard: usize,
    running: Option<Running>,
    /// Started immediate operations.
    immediate: BTreeMap<OpId, Concurrent>,
    /// Started host operations.
    host: BTreeMap<OpId, Concurrent>,
    /// Stopped by a cutting operation, or because the call is held back: settles with the end of the call that follows.
    cut: BTreeMap<OpId, &'static str>,
    /// Somebody else has the call for now.
    held_back: bool,
    outputs: VecDeque<QueueOutput>,
    /// Whether [`QueueOutput::Idle`] is owed once the last call operation has gone.
    busy: bool,
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Open,
    /// An operation that ends the call succeeded, or one was told that the call is over: nothing starts any more.
    Ending,
    Ended(CallEndedCause),
}

#[derive(Debug)]
struct Waiting {
    id: OpId,
    op: Op,
    awaited: bool,
    /// Aborted in the turn that issued it.
    cancelled: bool,
}

/// Where an operation stands in the queue: cutting operations that have overtaken, then the rest; each in program order, which
/// is the order of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Overtaking(OpId),
    InLine(OpId),
}

#[derive(Debug)]
struct Running {
    id: OpId,
    name: &'static str,
    class: OpClass,
    awaited: bool,
    stop: Stop,
}

/// Why a running operation was asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    No,
    /// Its signal was aborted.
    Aborted,
    /// A cutting operation waits for it to go, or somebody else takes the call for a while.
    Cut,
}

#[derive(Debug, Default)]
struct Concurrent {
    cancelled: bool,
}

impl OpQueue {
    /// An empty queue of a call that has not ended.
    pub fn new() -> Self {
        Self::default()
    }

    /// The script issued an operation. Ids ascend.
    pub fn submit(&mut self, id: OpId, op: Op) {
        self.submitted.push(Waiting { id, op, awaited: false, cancelled: false });
    }

    /// Someone listens to the operation's promise.
    pub fn awaited(&mut self, id: OpId) {
        if let Some(running) = self.running.as_mut().filter(|running| running.id == id) {
            running.awaited = true;
        } else if let Some(fresh) = self.find_submitted(id) {
            fresh.awaited = true;
        } else if let Some(waiting) = self.find_waiting(id)
            && !waiting.awaited
        {
            waiting.awaited = true;
            self.unheard -= 1;
        }
    }

    /// The operation's signal was aborted. One that has settled is left alone.
    pub fn cancel(&mut self, id: OpId) {
        if let Some(running) = self.running.as_mut().filter(|running| running.id == id) {
            if running.stop == Stop::No {
                self.outputs.push_back(QueueOutput::Cancel(id));
            }
            running.stop = Stop::Aborted;
        } else if let Some(fresh) = self.find_submitted(id) {
            fresh.cancelled = true;
        } else if let Some(waiting) = self.leave(Place::Overtaking(id)).or_else(|| self.leave(Place::InLine(id))) {
            self.settle(id, Err(OpError::aborted(waiting.op.name())));
        } else if self.held_back
            && let Some(name) = self.cut.remove(&id)
        {
            self.settle(id, Err(OpError::aborted(name)));
        } else if let Some(concurrent) = self.immediate.get_mut(&id).or_else(|| self.host.get_mut(&id))
            && !concurrent.cancelled
        {
            concurrent.cancelled = true;
            self.outputs.push_back(QueueOutput::Cancel(id));
        }
    }

    /// The call changes hands: everything that runs or waits is stopped, as if each had been aborted.
    pub fn cancel_all(&mut self) {
        let waiting = self.waiting.keys().map(|place| match place {
            Place::Overtaking(id) | Place::InLine(id) => *id,
        });
        let mut all: Vec<OpId> = self.submitted.iter().map(|fresh| fresh.id).chain(waiting).collect();
        all.extend(self.running.as_ref().map(|running| running.id));
        all.extend(self.immediate.keys().chain(self.host.keys()));
        for id in all {
            self.cancel(id);
        }
    }

    /// The call is taken from its script, for which it ends: its host operations, in a queue of their own.
    pub fn part_host_operations(&mut self, cause: &CallEndedCause) -> Self {
        let is_host = |fresh: &mut Waiting| fresh.op.class() == OpClass::Host;
        let submitted = self.submitted.extract_if(.., is_host).collect();
        Self { phase: Phase::Ended(cause.clone()), submitted, host: std::mem::take(&mut self.host), ..Self::default() }
    }

    /// Whether this host operation has not settled.
    pub fn holds(&self, id: OpId) -> bool {
        self.host.contains_key(&id) || self.submitted.iter().any(|fresh| fresh.id == id)
    }

    /// Somebody else has the call from now on: what runs is stopped and stays pending, and nothing in line starts. Operations
    /// that end the call still do.
    pub fn hold_back(&mut self) {
        self.held_back = true;
        if let Some(running) = self.running.as_mut().filter(|running| running.class != OpClass::Cutting)
            && running.stop == Stop::No
        {
            running.stop = Stop::Cut;
            self.outputs.push_back(QueueOutput::Cancel(running.id));
        }
    }

    /// The call has come back from whoever had it, by the name of `taken_by`: what was stopped for it settles, and the rest goes on.
    pub fn go_on(&mut self, taken_by: &str) {
        if std::mem::take(&mut self.held_back) {
            self.settle_cut_by(taken_by);
        }
    }

    /// A started operation is over. Completions of operations that have settled already are ignored.
    pub fn completed(&mut self, id: OpId, result: OpResult) {
        if self.immediate.remove(&id).or_else(|| self.host.remove(&id)).is_some() {
            self.settle(id, result);
            return;
        }
        let Some(running) = self.running.take_if(|running| running.id == id) else { return };
        let call_is_over = matches!(&result, Err(error) if error.code == ErrorCode::CallEnded);
        let aborted = matches!(&result, Err(error) if error.code == ErrorCode::AbortError);
        if call_is_over || (running.class == OpClass::Cutting && result.is_ok()) {
            self.phase = Phase::Ending;
        }
        if running.class == OpClass::Cutting && result.is_err() && !call_is_over {
            self.settle_cut_by(running.name);
        }
        // What it was stopped for may not want the call any more.
        let is_cut = self.held_back || self.waiting.keys().any(|place| matches!(place, Place::Overtaking(_)));
        if running.stop == Stop::Cut && aborted && is_cut {
            self.cut.insert(id, running.name);
        } else {
            self.settle(id, result);
        }
    }

    /// The call is over: everything of it settles now with `CallEnded`. Host operations run on until [`close`](Self::close).
    pub fn ended(&mut self, cause: &CallEndedCause) {
        let mut pending: BTreeSet<OpId> = std::mem::take(&mut self.immediate).into_keys().collect();
        pending.extend(self.running.take().map(|running| running.id));
        pending.extend(std::mem::take(&mut self.cut).into_keys());
        pending.extend(std::mem::take(&mut self.waiting).into_values().map(|waiting| waiting.id));
        self.unheard = 0;
        let (host, call): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.submitted).into_iter().partition(|fresh| fresh.op.class() == OpClass::Host);
        self.submitted = host;
        pending.extend(call.into_iter().map(|fresh| fresh.id));
        self.phase = Phase::Ended(cause.clone());
        for id in pending {
            self.settle(id, Err(OpError::call_ended(cause.clone())));
        }
    }

    /// The run is over: what host operations are left are stopped and settle at once.
    pub fn close(&mut self) {
        let over = || OpError::new(ErrorCode::AbortError, "the run is over");
        for (id, concurrent) in std::mem::take(&mut self.host) {
            if !concurrent.cancelled {
                self.outputs.push_back(QueueOutput::Cancel(id));
            }
            self.settle(id, Err(over()));
        }
        for fresh in self.submitted.extract_if(.., |fresh| fresh.op.class() == OpClass::Host) {
            self.outputs.push_back(QueueOutput::Settle(fresh.id, Err(over())));
        }
    }

    /// Nothing of the call runs or waits. Host operations do not count: they outlive nothing.
    pub fn is_idle(&self) -> bool {
        self.running.is_none()
            && self.waiting.is_empty()
            && self.cut.is_empty()
            && self.submitted.iter().all(|fresh| fresh.op.class() == OpClass::Host)
            && self.immediate.is_empty()
    }

    /// How many operations have not settled.
    pub fn pending(&self) -> usize {
        self.submitted.len()
            + self.waiting.len()
            + usize::from(self.running.is_some())
            + self.immediate.len()
            + self.host.len()
            + self.cut.len()
    }

    /// The next thing to do; `None` until something is fed again.
    pub fn poll_output(&mut self) -> Option<QueueOutput> {
        if !self.submitted.is_empty() {
            for fresh in std::mem::take(&mut self.submitted) {
                self.admit(fresh);
            }
        }
        self.start_next();
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        if self.busy && self.is_idle() {
            self.busy = false;
            return Some(QueueOutput::Idle);
        }
        None
    }

    fn admit(&mut self, fresh: Waiting) {
        let class = fresh.op.class();
        self.busy |= class != OpClass::Host;
        if fresh.cancelled {
            self.settle(fresh.id, Err(OpError::aborted(&fresh.op.label())));
            return;
        }
        if let Phase::Ended(cause) = &self.phase
            && class != OpClass::Host
        {
            let error = OpError::after_the_end(fresh.op.name(), cause);
            self.settle(fresh.id, Err(error));
            return;
        }
        match class {
            OpClass::Immediate => {
                self.immediate.insert(fresh.id, Concurrent::default());
                self.outputs.push_back(QueueOutput::Start(fresh.id, fresh.op));
            }
            OpClass::Host => {
                self.host.insert(fresh.id, Concurrent::default());
                self.outputs.push_back(QueueOutput::Start(fresh.id, fresh.op));
            }
            OpClass::Cutting if self.all_ahead_awaited() => self.overtake(fresh),
            OpClass::Queued | OpClass::Cutting => self.wait(Place::InLine(fresh.id), fresh),
        }
        // Before the next one is looked at: an immediate operation issued after a queued one must not be seen before it.
        self.start_next();
    }

    fn all_ahead_awaited(&self) -> bool {
        self.unheard == 0 && self.running.as_ref().is_none_or(|running| running.awaited)
    }

    /// Puts a cutting operation in front of what is queued and stops what runs. Two of them keep their order, and neither
    /// stops the other.
    fn overtake(&mut self, fresh: Waiting) {
        self.wait(Place::Overtaking(fresh.id), fresh);
        if let Some(running) = self.running.as_mut().filter(|running| running.class != OpClass::Cutting)
            && running.stop == Stop::No
        {
            running.stop = Stop::Cut;
            self.outputs.push_back(QueueOutput::Cancel(running.id));
        }
    }

    fn wait(&mut self, place: Place, waiting: Waiting) {
        self.unheard += usize::from(!waiting.awaited);
        self.waiting.insert(place, waiting);
    }

    fn leave(&mut self, place: Place) -> Option<Waiting> {
        let waiting = self.waiting.remove(&place)?;
        self.unheard -= usize::from(!waiting.awaited);
        Some(waiting)
    }

    fn start_next(&mut self) {
        if self.running.is_some() || !matches!(self.phase, Phase::Open) {
            return;
        }
        let Some(&place) = self.waiting.keys().next() else { return };
        if self.held_back && matches!(place, Place::InLine(_)) {
            return;
        }
        let Some(Waiting { id, op, awaited, .. }) = self.leave(place) else { return };
        self.running = Some(Running { id, name: op.name(), class: op.class(), awaited, stop: Stop::No });
        self.outputs.push_back(QueueOutput::Start(id, op));
    }

    /// The operation for which others were stopped did not end the call after all.
    fn settle_cut_by(&mut self, cutting: &str) {
        for (id, name) in std::mem::take(&mut self.cut) {
            self.settle(id, Err(OpError::new(ErrorCode::AbortError, format!("{name} was cut off by {cutting}"))));
        }
    }

    fn settle(&mut self, id: OpId, result: OpResult) {
        self.outputs.push_back(QueueOutput::Settle(id, result));
    }

    fn find_submitted(&mut self, id: OpId) -> Option<&mut Waiting> {
        let at = self.submitted.binary_search_by_key(&id, |fresh| fresh.id).ok()?;
        self.submitted.get_mut(at)
    }

    fn find_waiting(&mut self, id: OpId) -> Option<&mut Waiting> {
        if self.waiting.contains_key(&Place::Overtaking(id)) {
            return self.waiting.get_mut(&Place::Overtaking(id));
        }
        self.waiting.get_mut(&Place::InLine(id))
    }
}
