//! Turns that go on too long: neighbours move out, the turn goes on alone, and is ended at its limit.

use std::time::Duration;

use lockstep_ctx_api::wire::{Epoch, RunId, ScriptErrorKind};

use super::deadlines::Timer;
use super::run::{Phase, Placement};
use super::worker::{Stall, Worker};
use super::{Action, Supervisor, WorkerKey};
use crate::config::DEFAULT_TURN_MS;
use crate::script::host::Moment;

/// How often busy workers are looked at.
const WATCH: Duration = Duration::from_millis(10);
/// CPU time of one turn after which neighbours no longer wait for it.
const STALL: Duration = Duration::from_millis(50);
/// Added to a turn's limit: a loop in bytecode is ended by the worker itself, which costs nobody a rebuild.
const KILL_GRACE: Duration = Duration::from_millis(30);
/// A worker that has something to do and shows no sign of life for so long is not coming back: stopped, or stuck in the kernel.
const SILENCE: Duration = Duration::from_secs(30);

/// What a worker's probe shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnReading {
    pub run: RunId,
    pub epoch: Epoch,
    /// CPU time since the turn began.
    pub cpu: Duration,
}

impl Supervisor {
    /// Asks for a look at every busy worker, and for the next one.
    pub(super) fn watch(&mut self, now: Moment) {
        for (key, worker) in self.workers.iter_mut().filter(|(_, worker)| worker.is_watched()) {
            self.actions.push_back(Action::Observe(*key));
            let heard = *worker.heard.get_or_insert(now.instant);
            if worker.is_busy() && now.instant.saturating_duration_since(heard) > SILENCE {
                // It stays `Ready`: nobody told it to go, so this counts as a death of whatever it was doing.
                self.actions.push_back(Action::Kill(*key));
            }
        }
        self.watch_if_needed(now);
    }

    pub(super) fn watch_if_needed(&mut self, now: Moment) {
        if !self.deadlines.is_set(Timer::Watch) && self.workers.values().any(Worker::is_watched) {
            self.deadlines.set(Timer::Watch, now.instant, WATCH);
        }
    }

    /// Takes what a worker's probe shows; `None`: no turn is under way.
    pub fn observe(&mut self, now: Moment, key: WorkerKey, reading: Option<TurnReading>) {
        let Some(worker) = self.workers.get_mut(&key) else { return };
        let Some(TurnReading { run: id, epoch, cpu }) = reading else {
            worker.haunted = false;
            if let Some(stall) = worker.stalled {
                self.no_longer_stalled_by(now, key, stall.run);
            }
            return;
        };
        if let Some(stall) = worker.stalled.filter(|stall| stall.run != (id, epoch)) {
            self.no_longer_stalled_by(now, key, stall.run);
        }
        let at = Placement { worker: key, epoch };
        let run = self.runs.get(&id).filter(|run| run.placement == Some(at));
        let limit_ms = run.map_or(DEFAULT_TURN_MS, |run| run.header.limits.turn_ms);
        if cpu >= Duration::from_millis(limit_ms.into()) + KILL_GRACE {
            if run.is_some() {
                let message = format!("a turn of the script took longer than {limit_ms} ms of CPU time and was ended");
                self.stop(id, ScriptErrorKind::TurnLimit, message);
            }
            self.stats.worker_kills += 1;
            self.kill(key);
            self.keep_staffed(now);
            self.evacuate(now, key, id, Duration::MAX);
        } else if cpu >= STALL {
            self.stalled(now, key, Stall { run: (id, epoch), cpu });
        }
    }

    /// Moves those with something to do out of the way of a slow turn.
    ///
    /// Each moves once the turn has taken as long as rebuilding it would: at worst it waits twice as long as it had to, and a run
    /// that takes long to rebuild, and would hold up the next worker with that, does not run away from a short stall.
    fn stalled(&mut self, now: Moment, key: WorkerKey, stall: Stall) {
        let Some(worker) = self.workers.get_mut(&key) else { return };
        if worker.stalled.replace(stall).is_none() {
            self.keep_staffed(now);
        }
        self.evacuate(now, key, stall.run.0, stall.cpu);
    }

    /// Moves runs with something to do that can be rebuilt with so much CPU time.
    fn evacuate(&mut self, now: Moment, key: WorkerKey, except: RunId, within: Duration) {
        let Some(worker) = self.workers.get(&key) else { return };
        let movable = |id: &RunId| {
            let run = self.runs.get(id).filter(|run| *id != except && run.cpu <= within);
            run.is_some_and(|run| run.has_work() && run.recorder.is_rebuildable())
        };
        let moving: Vec<RunId> = worker.runs.iter().copied().filter(movable).collect();
        for id in moving {
            self.displace(id);
            self.place(now, id);
        }
    }

    /// An entry for a run must not wait behind the slow turn of another, and a retiring worker is left when there is work.
    pub(super) fn leave_unwelcome_worker(&mut self, now: Moment, id: RunId) {
        let Some(run) = self.runs.get(&id).filter(|run| run.phase != Phase::Stopped && run.recorder.is_rebuildable()) else {
            return;
        };
        let Some(worker) = run.placement.and_then(|at| self.workers.get(&at.worker)) else { return };
        let unwelcome = worker.retiring || worker.stalled.is_some_and(|stall| stall.run.0 != id && run.cpu <= stall.cpu);
        if unwelcome && self.workers.values().any(|worker| worker.is_open() && !worker.spare) {
            self.displace(id);
            self.place(now, id);
            self.keep_staffed(now);
        }
    }

    /// The slow turn is over: the worker is as good as any other.
    pub(super) fn no_longer_stalled_by(&mut self, now: Moment, key: WorkerKey, slow: (RunId, Epoch)) {
        let Some(worker) = self.workers.get_mut(&key).filter(|worker| worker.stalled.is_some_and(|stall| stall.run == slow))
        else {
            return;
        };
        worker.stalled = None;
        self.keep_staffed(now);
    }
}
