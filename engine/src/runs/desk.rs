//! Who waits, who runs, and when a run is over.
//!
//! ```text
//!   submit ──► waiting ──turn comes──► running ──main is over──► settled ──nothing is under way──► gone
//!                 │ wall time, cancel     │ wall time, cancel       │ wall time, cancel
//!                 └───────────────────────┴─────────────────────────┴────────────────────────────► gone
//! ```
//!
//! In: [`Desk::submit`], [`Desk::cancel`], [`Desk::completed`], time. Out: [`Desk::poll_output`], drained after every call.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_ctx_api::journal::Journal;
use lockstep_ctx_api::op::{Op, OpId, Vars};
use lockstep_ctx_api::wire::{EntryKind, LogLevel, LogLine, RunId, ScriptError};
use lockstep_ctx_api::{OpError, OpResult};

use super::request::{RunError, RunKind};
use crate::script::{Moment, Program, ScriptHost, ScriptOutput, ScriptStats, StartRun, TurnOutput};

/// Runs of one script that may wait for their turn.
const MAX_WAITING: usize = 1_000;
/// Runs of one script whose results have been handed over, and which go on with what they did not await: further ones keep their
/// turn until that is done.
pub(super) const MAX_ASIDE: usize = 100;
/// Runs at once where a script says nothing.
const DEFAULT_CONCURRENCY: usize = 1;
/// A wall time further away than this is as good as none.
const FAR: Duration = Duration::from_secs(366 * 24 * 3_600);

/// Names a run from its submission to its end; the higher, the later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// A run as it is submitted.
#[derive(Clone, Debug)]
pub struct Order {
    pub program: Arc<Program>,
    pub kind: RunKind,
    /// Exported function to call; `None`: `main`.
    pub function: Option<String>,
    /// Its first argument, as JSON.
    pub data: String,
    pub env: Vars,
    /// Wall time, waiting included.
    pub timeout: Duration,
    /// Seeds `Math.random` and `crypto`.
    pub seed: [u8; 32],
}

/// What happens to runs. Outputs of one run keep their order; `Gone` is its last.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "each is made once and handed on at once; nearly all of them are the large one")]
pub enum DeskOutput {
    /// Carry out an operation, and say so with [`Desk::completed`].
    Perform {
        ticket: Ticket,
        op: OpId,
        what: Op,
    },
    /// The outcome of an operation is not wanted any more.
    Abandon {
        ticket: Ticket,
        op: OpId,
    },
    Log {
        ticket: Ticket,
        line: LogLine,
    },
    /// How the run ended. `sandbox_time`: since it left the queue.
    Settled {
        ticket: Ticket,
        end: Result<Option<String>, RunError>,
        took: Duration,
        sandbox_time: Duration,
    },
    /// Nothing of the run is left but its journal, if it was ever begun.
    Gone {
        ticket: Ticket,
        journal: Option<Box<Journal>>,
    },
}

/// See the [module](self).
pub struct Desk {
    host: Box<dyn ScriptHost>,
    runs: BTreeMap<Ticket, Run>,
    tickets: HashMap<RunId, Ticket>,
    /// By script; only of scripts that have runs.
    gates: HashMap<String, Gate>,
    deadlines: BTreeSet<(Instant, Ticket)>,
    outputs: VecDeque<DeskOutput>,
    next: u64,
}

struct Run {
    program: Arc<Program>,
    kind: RunKind,
    submitted: Instant,
    deadline: Instant,
    timeout: Duration,
    stage: Stage,
    /// Operations that have not settled.
    pending: BTreeMap<OpId, Pending>,
    /// It has made room for the next one.
    aside: bool,
    /// How the run ended, until that is said.
    end: Option<(Result<Option<String>, RunError>, Instant)>,
    started: Instant,
}

struct Pending {
    /// As messages name it.
    label: Cow<'static, str>,
    /// It may never settle: the run does not wait for it once its function is over.
    listens: bool,
}

enum Stage {
    Waiting(Box<Order>),
    Running(RunId),
    /// `main` is over; what it left behind is not.
    Settled(RunId),
}

/// Lets in as many runs of a script at once as it says.
#[derive(Default)]
struct Gate {
    running: usize,
    /// Those that have made room.
    aside: usize,
    waiting: VecDeque<Ticket>,
}

impl Desk {
    /// A desk without runs.
    pub fn new(host: Box<dyn ScriptHost>) -> Self {
        Self {
            host,
            runs: BTreeMap::new(),
            tickets: HashMap::new(),
            gates: HashMap::new(),
            deadlines: BTreeSet::new(),
            outputs: VecDeque::new(),
            next: 1,
        }
    }

    /// Takes a run in: it starts at once, or when its turn comes.
    ///
    /// # Errors
    /// [`RunError::Busy`] when too many wait already.
    pub fn submit(&mut self, now: Moment, order: Order) -> Result<Ticket, RunError> {
        let ticket = self.take(now, order)?;
        self.pump(now);
        Ok(ticket)
    }

    /// The same for one of many, after the last of which [`pump`](Self::pump) is called: they go to their workers together.
    ///
    /// # Errors
    /// As above.
    pub fn take(&mut self, now: Moment, order: Order) -> Result<Ticket, RunError> {
        let counted = order.kind.is_counted();
        let gate = self.gates.get(&order.program.name);
        let (running, waiting) = gate.map_or((0, 0), |gate| (gate.running, gate.waiting.len()));
        let must_wait = counted && (waiting > 0 || running >= concurrency(&order.program));
        if must_wait && waiting >= MAX_WAITING {
            return Err(RunError::Busy { waiting });
        }
        let ticket = Ticket(self.next);
        self.next += 1;
        let timeout = order.timeout.min(FAR);
        let run = Run {
            program: Arc::clone(&order.program),
            kind: order.kind,
            submitted: now.instant,
            deadline: now.instant + timeout,
            timeout,
            stage: Stage::Waiting(Box::new(order)),
            pending: BTreeMap::new(),
            aside: false,
            end: None,
            started: now.instant,
        };
        self.deadlines.insert((run.deadline, ticket));
        if must_wait {
            self.gates.entry(run.program.name.clone()).or_default().waiting.push_back(ticket);
            self.runs.insert(ticket, run);
        } else {
            self.runs.insert(ticket, run);
            self.start(now, ticket);
        }
        Ok(ticket)
    }

    /// Ends a run, whatever it is doing. A run that is not there is over.
    pub fn cancel(&mut self, now: Moment, ticket: Ticket) {
        self.end(now, ticket, RunError::Cancelled);
        self.pump(now);
    }

    /// An operation has settled.
    pub fn completed(&mut self, now: Moment, ticket: Ticket, op: OpId, result: OpResult) {
        self.all_completed(now, [(ticket, op, result)]);
    }

    /// Operations have settled, in this order: what follows from it goes to the workers together.
    pub fn all_completed(&mut self, now: Moment, settled: impl IntoIterator<Item = (Ticket, OpId, OpResult)>) {
        let mut told = Vec::new();
        for (ticket, op, result) in settled {
            let Some(run) = self.runs.get_mut(&ticket) else { continue };
            if run.pending.remove(&op).is_none() {
                continue;
            }
            if let Stage::Running(id) | Stage::Settled(id) = run.stage {
                self.host.entry(now, id, EntryKind::Outcome { op, result });
            }
            told.push(ticket);
        }
        self.pump(now);
        for ticket in told {
            self.leave_if_over(now, ticket);
        }
        self.pump(now);
    }

    /// Other programs than these have no new runs: their workers may forget `bundle`.
    pub fn retire(&mut self, bundle: u64) {
        self.host.retire(bundle);
    }

    /// Takes in what the script host has to say. To be called when it calls back; every other method does so itself.
    pub fn pump(&mut self, now: Moment) {
        while let Some(output) = self.host.poll_output() {
            self.script_output(now, output);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called next.
    pub fn next_timeout(&self) -> Option<Instant> {
        [self.deadlines.first().map(|(at, _)| *at), self.host.next_timeout()].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Moment) {
        let due = self.deadlines.iter().take_while(|(at, _)| *at <= now.instant).map(|(_, ticket)| *ticket);
        // Those that wait are first: each end of one that runs would let the next of them begin.
        let (waiting, begun): (Vec<_>, Vec<_>) = due.partition(|ticket| self.is_waiting(*ticket).unwrap_or(false));
        for ticket in waiting.into_iter().chain(begun) {
            let Some(run) = self.runs.get(&ticket) else { continue };
            let limit = run.timeout;
            let error = match run.stage {
                Stage::Waiting(_) => RunError::TimedOutWaiting { limit },
                Stage::Running(_) | Stage::Settled(_) => {
                    RunError::TimedOut { limit, waited: run.started.saturating_duration_since(run.submitted) }
                }
            };
            self.end(now, ticket, error);
        }
        self.host.handle_timeout(now);
        self.pump(now);
    }

    /// The next thing that happened.
    pub fn poll_output(&mut self) -> Option<DeskOutput> {
        self.outputs.pop_front()
    }

    /// Runs that are not gone.
    pub fn runs(&self) -> usize {
        self.runs.len()
    }

    /// Whether a run waits for its turn; `None`: there is no such run.
    pub fn is_waiting(&self, ticket: Ticket) -> Option<bool> {
        self.runs.get(&ticket).map(|run| matches!(run.stage, Stage::Waiting(_)))
    }

    /// Figures of the script host.
    pub fn stats(&self) -> ScriptStats {
        self.host.stats()
    }

    fn start(&mut self, now: Moment, ticket: Ticket) {
        let Some(run) = self.runs.get_mut(&ticket) else { return };
        let Stage::Waiting(order) = &mut run.stage else { return };
        let start = StartRun {
            program: Arc::clone(&order.program),
            function: order.function.take(),
            data: std::mem::take(&mut order.data),
            call: None,
            env: std::mem::take(&mut order.env),
            seed: order.seed,
            is_awaited: run.kind.is_awaited(),
        };
        if run.kind.is_counted() {
            self.gates.entry(run.program.name.clone()).or_default().running += 1;
        }
        run.started = now.instant;
        let id = self.host.start(now, start);
        run.stage = Stage::Running(id);
        self.tickets.insert(id, ticket);
    }

    fn script_output(&mut self, now: Moment, output: ScriptOutput) {
        let Some(&ticket) = self.tickets.get(&output.run()) else { return };
        match output {
            ScriptOutput::Turn(_, turn) => self.turn(now, ticket, turn),
            ScriptOutput::Finished { result, .. } => self.settle(now, ticket, Ok(result)),
            ScriptOutput::Failed { error, .. } => self.script_failed(now, ticket, error),
            // Runs outside calls are limited by their wall time; nothing sets this limit.
            ScriptOutput::GraceOver { .. } => {}
            ScriptOutput::Stuck { .. } => self.end(now, ticket, RunError::Stuck),
            ScriptOutput::Quiet { .. } => {}
            ScriptOutput::Log { line, .. } => self.outputs.push_back(DeskOutput::Log { ticket, line }),
        }
        self.leave_if_over(now, ticket);
    }

    fn turn(&mut self, now: Moment, ticket: Ticket, turn: TurnOutput) {
        let Some(run) = self.runs.get_mut(&ticket) else { return };
        for (op, what, _) in turn.issued {
            let listens = matches!(&what, Op::Host(call) if call.listens);
            run.pending.insert(op, Pending { label: what.label(), listens });
            self.outputs.push_back(DeskOutput::Perform { ticket, op, what });
        }
        for op in turn.cancels {
            let Some(Pending { label, .. }) = run.pending.remove(&op) else { continue };
            self.outputs.push_back(DeskOutput::Abandon { ticket, op });
            if let Stage::Running(id) | Stage::Settled(id) = run.stage {
                self.host.entry(now, id, EntryKind::Outcome { op, result: Err(OpError::aborted(&label)) });
            }
        }
    }

    fn script_failed(&mut self, now: Moment, ticket: Ticket, error: ScriptError) {
        if self.runs.get(&ticket).is_some_and(|run| matches!(run.stage, Stage::Settled(_))) {
            let line = LogLine { level: LogLevel::Error, text: error.message, at: error.at };
            self.outputs.push_back(DeskOutput::Log { ticket, line });
            return;
        }
        self.settle(now, ticket, Err(RunError::Script(Box::new(error))));
    }

    /// `main` is over; what it has not awaited goes on.
    fn settle(&mut self, now: Moment, ticket: Ticket, end: Result<Option<String>, RunError>) {
        let Some(run) = self.runs.get_mut(&ticket) else { return };
        let Stage::Running(id) = run.stage else { return };
        run.stage = Stage::Settled(id);
        run.end = Some((end, now.instant));
        if run.kind.is_urgent() {
            self.say_end(ticket);
        }
    }

    fn say_end(&mut self, ticket: Ticket) {
        let Some(run) = self.runs.get_mut(&ticket) else { return };
        let Some((end, at)) = run.end.take() else { return };
        let took = at.saturating_duration_since(run.submitted);
        let sandbox_time = at.saturating_duration_since(run.started);
        self.outputs.push_back(DeskOutput::Settled { ticket, end, took, sandbox_time });
    }

    /// A run whose function is over leaves once nothing of it is under way. One whose result has been handed over makes room for
    /// the next one until then.
    fn leave_if_over(&mut self, now: Moment, ticket: Ticket) {
        let Some(run) = self.runs.get_mut(&ticket) else { return };
        let Stage::Settled(id) = run.stage else { return };
        if run.pending.values().all(|pending| pending.listens) && self.host.is_quiet(id) {
            self.leave(now, ticket);
        } else if run.kind.is_urgent()
            && !run.aside
            && let Some(gate) = self.gates.get_mut(&run.program.name).filter(|gate| gate.aside < MAX_ASIDE)
        {
            run.aside = true;
            gate.aside += 1;
            gate.running = gate.running.saturating_sub(1);
            let script = run.program.name.clone();
            self.let_in(now, &script);
        }
    }

    /// Ends a run from outside.
    fn end(&mut self, now: Moment, ticket: Ticket, error: RunError) {
        let Some(run) = self.runs.get_mut(&ticket) else { return };
        if let Stage::Settled(_) = run.stage {
            let text = format!("what the script left behind was given up: {error}");
            self.outputs.push_back(DeskOutput::Log { ticket, line: LogLine { level: LogLevel::Warn, text, at: None } });
        } else {
            run.end = Some((Err(error), now.instant));
        }
        self.leave(now, ticket);
    }

    fn leave(&mut self, now: Moment, ticket: Ticket) {
        self.say_end(ticket);
        let Some(run) = self.runs.remove(&ticket) else { return };
        self.deadlines.remove(&(run.deadline, ticket));
        for op in run.pending.into_keys() {
            self.outputs.push_back(DeskOutput::Abandon { ticket, op });
        }
        let mut journal = None;
        let name = &run.program.name;
        match run.stage {
            Stage::Waiting(_) => {
                if let Some(gate) = self.gates.get_mut(name) {
                    gate.waiting.retain(|waiting| *waiting != ticket);
                }
            }
            Stage::Running(id) | Stage::Settled(id) => {
                self.tickets.remove(&id);
                journal = self.host.drop_run(now, id).map(Box::new);
                if run.kind.is_counted()
                    && let Some(gate) = self.gates.get_mut(name)
                {
                    let place = if run.aside { &mut gate.aside } else { &mut gate.running };
                    *place = place.saturating_sub(1);
                }
            }
        }
        self.outputs.push_back(DeskOutput::Gone { ticket, journal });
        self.let_in(now, name);
    }

    /// Starts those whose turn has come.
    fn let_in(&mut self, now: Moment, script: &str) {
        while let Some(gate) = self.gates.get_mut(script) {
            let Some(next) = gate.waiting.front().copied() else {
                if gate.running == 0 && gate.aside == 0 {
                    self.gates.remove(script);
                }
                return;
            };
            let Some(run) = self.runs.get(&next) else {
                gate.waiting.pop_front();
                continue;
            };
            // What the newest version says counts: the program of whoever is next.
            if gate.running >= concurrency(&run.program) {
                return;
            }
            gate.waiting.pop_front();
            self.start(now, next);
        }
    }
}

fn concurrency(program: &Program) -> usize {
    program.settings.concurrency.map_or(DEFAULT_CONCURRENCY, |runs| usize::try_from(runs).unwrap_or(usize::MAX))
}
