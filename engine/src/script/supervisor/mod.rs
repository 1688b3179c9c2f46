//! Owns every run's journal and epoch and decides which worker runs it (architecture, rules of replay).
//!
//! Knows neither process nor clock. In: [`Supervisor::start`], [`Supervisor::entry`], frames, deaths, what the probes show, time.
//! Out: [`Supervisor::poll_output`] for the core and [`Supervisor::poll_action`] for whoever owns the processes. Both are
//! drained after every call.

mod deadlines;
mod placing;
mod run;
mod stall;
#[cfg(test)]
mod tests;
mod turns;
mod worker;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use lockstep_ctx_api::journal::{Bounds, Journal};
use lockstep_ctx_api::wire::{
    Entry, EntryKind, Epoch, FromWorker, LogLevel, LogLine, RunId, ScriptError, ScriptErrorKind, ToWorker,
};

use super::host::{Moment, ScriptOutput, ScriptStats, StartRun};
use deadlines::{Deadlines, Timer};
use run::{Phase, Run, Weighty};
use worker::{Worker, WorkerState};

pub use stall::TurnReading;
pub use worker::WorkerKey;

/// What the supervisor is told once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Workers that take runs.
    pub workers: usize,
    /// Keep one more ready, to take over at once.
    pub spare: bool,
    /// Wait before the second unexplained death in a row is made good, doubled with each further one.
    pub back_off: Duration,
    pub bounds: RunBounds,
}

/// How much one run may ask for.
#[derive(Clone, Copy, Debug)]
pub struct RunBounds {
    pub journal: Bounds,
    /// Operations issued in one turn.
    pub issued_per_turn: usize,
    /// Operations that have not settled.
    pub pending: usize,
    /// Bytes of the turns that asked for them.
    pub pending_bytes: usize,
    /// Entries past the journal's bound that wait for the worker.
    pub waiting_entries: usize,
    /// Bytes of those.
    pub waiting_bytes: usize,
    /// Console lines shown of one turn.
    pub lines_per_turn: usize,
}

impl Default for RunBounds {
    fn default() -> Self {
        Self {
            journal: Bounds::default(),
            issued_per_turn: 10_000,
            pending: 10_000,
            pending_bytes: 64 << 20,
            waiting_entries: 10_000,
            waiting_bytes: 128 << 20,
            lines_per_turn: 1_000,
        }
    }
}

/// What the owner of the processes is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Spawn(WorkerKey),
    /// There is something new in [`Supervisor::outbound`].
    Flush(WorkerKey),
    /// Tell [`Supervisor::observe`] what the worker is doing.
    Observe(WorkerKey),
    /// End the process at once; its death is still to be reported.
    Kill(WorkerKey),
    /// Close the socket, so that the process leaves by itself; its death is still to be reported.
    Stop(WorkerKey),
}

/// The worker broke the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("worker {worker:?}: {message}")]
pub struct ProtocolError {
    pub worker: WorkerKey,
    pub message: String,
}

/// A worker that has lived so long did not die of what kills workers at their start.
const SOUND: Duration = Duration::from_secs(10);

/// See the [module](self).
#[derive(Debug)]
pub struct Supervisor {
    settings: Settings,
    /// Boxed: a tree moves its values whenever one next to them comes or goes.
    runs: BTreeMap<RunId, Box<Run>>,
    workers: BTreeMap<WorkerKey, Worker>,
    /// Retired ones stay: a run that has waited for its turn may still be started with one.
    bundles: BTreeMap<u64, BundleUse>,
    /// Runs with work to do that found no worker ready, in the order in which they came.
    homeless: VecDeque<RunId>,
    deadlines: Deadlines,
    outputs: VecDeque<ScriptOutput>,
    actions: VecDeque<Action>,
    next_run: u64,
    next_worker: u64,
    /// Deaths in a row that no script is to blame for.
    unexplained_deaths: u32,
    stats: ScriptStats,
}

#[derive(Debug, Default)]
struct BundleUse {
    runs: usize,
    retired: bool,
}

impl Supervisor {
    /// A supervisor that asks for its first workers.
    pub fn new(now: Moment, settings: Settings) -> Self {
        let mut supervisor = Self {
            settings,
            runs: BTreeMap::new(),
            workers: BTreeMap::new(),
            bundles: BTreeMap::new(),
            homeless: VecDeque::new(),
            deadlines: Deadlines::default(),
            outputs: VecDeque::new(),
            actions: VecDeque::new(),
            next_run: 1,
            next_worker: 1,
            unexplained_deaths: 0,
            stats: ScriptStats::default(),
        };
        supervisor.keep_staffed(now);
        supervisor
    }

    /// Creates a run.
    pub fn start(&mut self, now: Moment, start: StartRun) -> RunId {
        let id = RunId(self.next_run);
        self.next_run += 1;
        let run = Run::new(now, start, self.settings.bounds.journal);
        self.bundles.entry(run.header.bundle).or_default().runs += 1;
        self.runs.insert(id, Box::new(run));
        self.place(now, id);
        id
    }

    /// Feeds the next entry of a run.
    pub fn entry(&mut self, now: Moment, id: RunId, kind: EntryKind) {
        let Some(run) = self.runs.get_mut(&id).filter(|run| run.phase != Phase::Stopped) else { return };
        if let Some(entry) = run.follow_wall_clock(now) {
            self.deliver(now, id, entry);
        }
        let Some(run) = self.runs.get_mut(&id).filter(|run| run.phase != Phase::Stopped) else { return };
        let mut due = 0;
        match &kind {
            EntryKind::Outcome { op, .. } => {
                run.pending = run.pending.saturating_sub(1);
                run.weighty.settled(*op);
                run.errands.retain(|errand| errand != op);
            }
            // It settles what was pending; host operations may go on, and are counted off as they settle.
            EntryKind::CallEnded(_) => {
                run.pending = 0;
                run.weighty = Weighty::default();
                let grace = Duration::from_millis(run.header.limits.after_end_ms.into());
                self.deadlines.set(Timer::Grace(id), now.instant, grace);
            }
            // Half a millisecond must not make the script find its timer not yet due.
            EntryKind::Wake => due = run.wake_at.take().unwrap_or(0),
            EntryKind::Event(_) | EntryKind::ClockSet { .. } => {}
        }
        let entry = Entry { at: run.advance_clock(now, due), kind };
        self.leave_unwelcome_worker(now, id);
        self.deliver(now, id, entry);
    }

    /// Ends a run, whatever it is doing.
    pub fn drop_run(&mut self, now: Moment, id: RunId) -> Option<Journal> {
        self.displace(id);
        let run = self.runs.remove(&id)?;
        self.deadlines.clear(Timer::Wake(id));
        self.deadlines.clear(Timer::Grace(id));
        if let Some(used) = self.bundles.get_mut(&run.header.bundle) {
            used.runs = used.runs.saturating_sub(1);
        }
        self.forget_bundle(run.header.bundle);
        self.keep_staffed(now);
        Some(run.recorder.into_journal())
    }

    /// Whether a run's function is over and everything that was fed has been taken in. A run that is not there is quiet.
    pub fn is_quiet(&self, id: RunId) -> bool {
        self.runs.get(&id).is_none_or(|run| run.is_quiet())
    }

    /// What a live run has recorded.
    pub fn journal(&self, id: RunId) -> Option<&Journal> {
        self.runs.get(&id).map(|run| run.recorder.journal())
    }

    /// No new run will use `bundle`, but for those that were asked for before.
    pub fn retire(&mut self, bundle: u64) {
        self.bundles.entry(bundle).or_default().retired = true;
        self.forget_bundle(bundle);
    }

    /// A frame came from a worker; `bytes` is its size. After an error the worker is killed.
    pub fn frame(&mut self, now: Moment, worker: WorkerKey, frame: FromWorker, bytes: usize) -> Result<(), ProtocolError> {
        if let Some(worker) = self.workers.get_mut(&worker) {
            worker.heard = Some(now.instant);
        }
        let result = match frame {
            FromWorker::Ready { .. } => {
                self.ready(now, worker);
                Ok(())
            }
            FromWorker::Log { run, epoch, turn, seq, line } => {
                self.log_line(worker, (run, epoch), (turn, seq), line);
                Ok(())
            }
            FromWorker::TurnEnd(end) => self.turn_end(now, worker, end, bytes),
        };
        if result.is_err() {
            self.kill(worker);
        }
        result
    }

    /// A worker sent what cannot be a frame; what it was doing is to blame, as for a death.
    pub fn malformed(&mut self, worker: WorkerKey) {
        self.actions.push_back(Action::Kill(worker));
    }

    /// A worker's socket was read to its end: it is gone. `executing` is what its probe shows.
    pub fn died(&mut self, now: Moment, key: WorkerKey, executing: Option<(RunId, Epoch)>) {
        let Some(worker) = self.workers.remove(&key) else { return };
        let expected = worker.state == WorkerState::Leaving;
        // Without the probe's word it was the entry whose turn was next: the worker takes them in their order.
        let culprit = executing.or_else(|| worker.next_in_flight()).filter(|_| !expected);
        let explained = expected || culprit.is_some();
        if !expected {
            self.stats.worker_deaths += 1;
        }
        let mut due = Vec::new();
        for id in worker.runs {
            let Some(run) = self.runs.get_mut(&id) else { continue };
            let under_way = run.replayer.next_turn().filter(|_| run.outstanding() > 0);
            run.placement = None;
            run.hungry = false;
            if let Some(turn) = under_way.filter(|_| culprit == Some((id, run.epoch)))
                && run.died_at.replace(turn) == Some(turn)
            {
                self.stop(id, ScriptErrorKind::WorkerDied, "the script's worker died twice at the same turn".into());
                continue;
            }
            if !run.is_buildable() {
                let message = "the script's worker died, and its journal had outgrown what can be rebuilt";
                self.stop(id, ScriptErrorKind::WorkerDied, message.into());
            } else if run.has_work() {
                due.push(id);
            }
        }
        if !explained {
            let lasted = now.instant.saturating_duration_since(worker.since);
            self.unexplained_deaths = if lasted > SOUND { 1 } else { self.unexplained_deaths.saturating_add(1) };
            self.hold_respawn(now);
        }
        self.keep_staffed(now);
        for id in due {
            self.place(now, id);
        }
    }

    /// What is to be written to a worker's socket.
    pub fn outbound(&self, worker: WorkerKey) -> &[u8] {
        self.workers.get(&worker).map(Worker::outbound).unwrap_or_default()
    }

    /// The first `bytes` of [`outbound`](Self::outbound) have been written.
    pub fn written(&mut self, key: WorkerKey, bytes: usize) {
        if let Some(worker) = self.workers.get_mut(&key) {
            worker.written(bytes);
            self.feed_hungry(key);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called next.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Moment) {
        while let Some(timer) = self.deadlines.pop_due(now.instant) {
            match timer {
                Timer::Wake(run) => self.entry(now, run, EntryKind::Wake),
                Timer::Grace(run) => self.outputs.push_back(ScriptOutput::GraceOver { run }),
                Timer::Watch => self.watch(now),
                Timer::Respawn => self.keep_staffed(now),
            }
        }
    }

    /// The next thing the core must know.
    pub fn poll_output(&mut self) -> Option<ScriptOutput> {
        self.outputs.pop_front()
    }

    /// [`poll_output`](Self::poll_output) has something.
    pub fn has_output(&self) -> bool {
        !self.outputs.is_empty()
    }

    /// The next thing the owner of the processes must do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Figures of this moment.
    pub fn stats(&self) -> ScriptStats {
        ScriptStats {
            runs: self.runs.len(),
            runs_unplaced: self.runs.values().filter(|run| run.placement.is_none()).count(),
            workers_ready: self.workers.values().filter(|worker| worker.is_open() && !worker.spare).count(),
            ..self.stats
        }
    }

    /// Gives up the runtime of a run: it takes no more entries.
    fn retire_run(&mut self, id: RunId) {
        self.displace(id);
        let Some(run) = self.runs.get_mut(&id) else { return };
        run.phase = Phase::Stopped;
        run.replayer.close();
        self.deadlines.clear(Timer::Wake(id));
        self.deadlines.clear(Timer::Grace(id));
    }

    /// Ends a run for good, and says so.
    fn stop(&mut self, id: RunId, kind: ScriptErrorKind, message: String) {
        let Some(phase) = self.runs.get(&id).map(|run| run.phase).filter(|phase| *phase != Phase::Stopped) else {
            return self.displace(id);
        };
        self.retire_run(id);
        if phase == Phase::Failed {
            self.outputs.push_back(ScriptOutput::Quiet { run: id });
            return;
        }
        let error = ScriptError { sip: None, kind, message, at: None, stack: Vec::new() };
        self.outputs.push_back(ScriptOutput::Failed { run: id, error });
    }

    fn warn(&mut self, run: RunId, text: String) {
        self.outputs.push_back(ScriptOutput::Log { run, line: LogLine { level: LogLevel::Warn, text, at: None } });
    }

    fn kill(&mut self, key: WorkerKey) {
        let Some(worker) = self.workers.get_mut(&key).filter(|worker| worker.state != WorkerState::Leaving) else { return };
        worker.state = WorkerState::Leaving;
        self.actions.push_back(Action::Kill(key));
    }

    /// Workers may forget a retired bundle that no run uses.
    fn forget_bundle(&mut self, bundle: u64) {
        if self.bundles.get(&bundle).is_none_or(|used| used.runs > 0 || !used.retired) {
            return;
        }
        for (key, worker) in &mut self.workers {
            // A frame of one number: it cannot be too large.
            if worker.bundles.remove(&bundle) && worker.push(&ToWorker::DropBundle { bundle }).is_ok() {
                self.actions.push_back(Action::Flush(*key));
            }
        }
    }
}
