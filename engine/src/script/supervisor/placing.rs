//! Which worker a run lives in, and how many workers there are.

use std::time::Duration;

use lockstep_ctx_api::wire::{RunId, ScriptErrorKind, ToWorker, WireError};

use super::deadlines::Timer;
use super::run::Placement;
use super::worker::{Worker, WorkerState};
use super::{Action, Supervisor, WorkerKey};
use crate::script::host::Moment;
use lockstep_ctx_api::journal::Replayer;

/// The longest wait before a worker is started again.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(10);

impl Supervisor {
    /// Builds a run's runtime in the least loaded worker and feeds it everything its journal holds.
    pub(super) fn place(&mut self, now: Moment, id: RunId) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        if run.placement.is_some() {
            return;
        }
        if !run.is_buildable() {
            let message = "the script's journal had outgrown what can be rebuilt";
            return self.stop(id, ScriptErrorKind::WorkerDied, message.into());
        }
        let open = self.workers.iter_mut().filter(|(_, worker)| worker.is_open() && !worker.spare);
        let Some((&key, worker)) = open.min_by_key(|(_, worker)| worker.runs.len()) else {
            if !std::mem::replace(&mut run.homeless, true) {
                self.homeless.push_back(id);
            }
            return;
        };
        let bundle = run.header.bundle;
        if !worker.bundles.contains(&bundle) {
            let sources = run.program.bundle.clone();
            if let Err(error) = worker.push(&ToWorker::Bundle { bundle, sources }) {
                return self.stop(id, load_kind(&error), format!("the script's sources cannot be loaded: {error}"));
            }
            worker.bundles.insert(bundle);
            // A large one leaves no room for the entry that would bring it on its way.
            self.actions.push_back(Action::Flush(key));
        }
        if run.epoch > 0 {
            self.stats.rebuilds += 1;
        }
        run.epoch += 1;
        run.sent = 0;
        run.gone = false;
        run.replayer = Replayer::new(run.recorder.journal());
        run.placement = Some(Placement { worker: key, epoch: run.epoch });
        worker.runs.insert(id);
        self.make_hungry(key, id);
        self.feed_hungry(key);
        self.watch_if_needed(now);
    }

    /// Takes a run out of its worker, if it is in one.
    pub(super) fn displace(&mut self, id: RunId) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let Some(at) = run.placement.take() else { return };
        let outstanding = run.outstanding();
        let was_hungry = std::mem::take(&mut run.hungry);
        let Some(worker) = self.workers.get_mut(&at.worker) else { return };
        worker.runs.remove(&id);
        if was_hungry {
            worker.waits_no_more(id);
        }
        worker.outstanding = worker.outstanding.saturating_sub(outstanding);
        worker.haunted |= outstanding > 0;
        if run.gone && outstanding == 0 {
            return;
        }
        // A frame of two numbers: it cannot be too large.
        if worker.push(&ToWorker::Drop { run: id, epoch: at.epoch }).is_ok() {
            self.actions.push_back(Action::Flush(at.worker));
        }
    }

    /// Notes that a run in worker `key` has entries to be sent.
    pub(super) fn make_hungry(&mut self, key: WorkerKey, id: RunId) {
        let (Some(run), Some(worker)) = (self.runs.get_mut(&id), self.workers.get_mut(&key)) else { return };
        if !std::mem::replace(&mut run.hungry, true) {
            worker.wait_for_room(id, run.sent == 0);
        }
    }

    /// Sends entries that wait, as far as there is room: one of each run after another, each run's in their order.
    pub(super) fn feed_hungry(&mut self, key: WorkerKey) {
        let mut sent_any = false;
        while let Some(worker) = self.workers.get_mut(&key).filter(|worker| worker.has_room()) {
            let Some(id) = worker.next_to_feed() else { break };
            let Some(run) = self.runs.get_mut(&id) else { continue };
            let Some(frame) = run.next_frame(id) else {
                run.hungry = false;
                continue;
            };
            match worker.push(&frame) {
                Ok(_) => {
                    run.sent = run.sent.saturating_add(1);
                    worker.sent_one(id, run.epoch);
                    // Whoever has much to take lets the others go first.
                    worker.hungry.push_back(id);
                    sent_any = true;
                }
                Err(error) => self.stop(id, load_kind(&error), format!("an entry cannot be delivered: {error}")),
            }
        }
        if sent_any {
            self.actions.push_back(Action::Flush(key));
        }
    }

    /// A worker can take runs.
    pub(super) fn ready(&mut self, now: Moment, key: WorkerKey) {
        let Some(worker) = self.workers.get_mut(&key).filter(|worker| worker.state == WorkerState::Starting) else { return };
        worker.state = WorkerState::Ready;
        worker.since = now.instant;
        worker.spare = true;
        self.keep_staffed(now);
    }

    /// Keeps as many workers as are wanted: promotes the spare, starts what is missing, lets go what is too many.
    pub(super) fn keep_staffed(&mut self, now: Moment) {
        let wanted = self.settings.workers;
        let regular = |worker: &Worker| worker.is_open() && !worker.spare;
        while self.workers.values().filter(|worker| regular(worker)).count() < wanted {
            let Some(worker) = self.workers.values_mut().find(|worker| worker.is_open() && worker.spare) else { break };
            worker.spare = false;
        }
        // Back from a stall: one more than needed. The one goes whose runs are rebuilt the sooner.
        while self.workers.values().filter(|worker| regular(worker)).count() > wanted {
            let runs = &self.runs;
            let cpu = |worker: &Worker| worker.runs.iter().filter_map(|id| runs.get(id)).map(|run| run.cpu).sum::<Duration>();
            let open = self.workers.values_mut().filter(|worker| regular(worker));
            let Some(worker) = open.min_by_key(|worker| (cpu(worker), worker.runs.len())) else { break };
            worker.retiring = true;
            for id in worker.runs.clone() {
                if self.runs.get(&id).is_some_and(|run| run.recorder.is_rebuildable() && !run.has_work()) {
                    self.displace(id);
                }
            }
        }
        let spares = usize::from(self.settings.spare);
        let empty = self.workers.iter_mut().filter(|(_, worker)| {
            let unneeded = worker.retiring && worker.runs.is_empty();
            worker.state == WorkerState::Ready && unneeded
        });
        for (key, worker) in empty {
            worker.state = WorkerState::Leaving;
            self.actions.push_back(Action::Stop(*key));
        }
        let usable = |worker: &Worker| worker.is_open() || worker.state == WorkerState::Starting;
        while !self.deadlines.is_set(Timer::Respawn)
            && self.workers.values().filter(|worker| usable(worker)).count() < wanted + spares
            && self.workers.len() < 2 * (wanted + spares)
        {
            let key = WorkerKey(self.next_worker);
            self.next_worker += 1;
            self.workers.insert(key, Worker::new(now.instant));
            self.actions.push_back(Action::Spawn(key));
        }
        self.place_homeless(now);
    }

    /// Waits before the next worker is started, longer with every death that nothing explains.
    pub(super) fn hold_respawn(&mut self, now: Moment) {
        if let Some(doublings) = self.unexplained_deaths.checked_sub(2) {
            let wait = self.settings.back_off.saturating_mul(1 << doublings.min(10)).min(LONGEST_BACK_OFF);
            if !wait.is_zero() {
                self.deadlines.set(Timer::Respawn, now.instant, wait);
            }
        }
    }

    fn place_homeless(&mut self, now: Moment) {
        if !self.workers.values().any(|worker| worker.is_open() && !worker.spare) {
            return;
        }
        for id in std::mem::take(&mut self.homeless) {
            if let Some(run) = self.runs.get_mut(&id) {
                run.homeless = false;
                self.place(now, id);
            }
        }
    }
}

fn load_kind(error: &WireError) -> ScriptErrorKind {
    match error {
        WireError::TooLarge { .. } => ScriptErrorKind::Limit,
        WireError::Malformed(_) | WireError::Unencodable(_) => ScriptErrorKind::Load,
    }
}
