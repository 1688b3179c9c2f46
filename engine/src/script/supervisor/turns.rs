//! Entries in, ends of turns out.

use std::time::Duration;

use lockstep_ctx_api::journal::{Progress, ReplayError, TurnRecord};
use lockstep_ctx_api::op::{Op, OpClass, OpId};
use lockstep_ctx_api::wire::{
    Entry, EntryKind, Epoch, LogLevel, LogLine, RunId, RunState, ScriptError, ScriptErrorKind, ToWorker, TurnEnd, WireError,
    write_frame,
};

use super::deadlines::Timer;
use super::run::{LineFate, Phase, Placement};
use super::{Action, ProtocolError, Supervisor, WorkerKey};
use crate::script::host::{Moment, ScriptOutput, TurnOutput};

/// Timers of one run are not served more often than this, whatever the script asks for.
const SHORTEST_TIMER: Duration = Duration::from_millis(1);

impl Supervisor {
    /// Appends an entry to its journal and sends it, or leaves it there until there is a worker with room for it.
    pub(super) fn deliver(&mut self, now: Moment, id: RunId, entry: Entry) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let is_wake = entry.kind == EntryKind::Wake;
        let frame = ToWorker::Entry { run: id, epoch: run.epoch, entry };
        let worker = run.placement.and_then(|at| self.workers.get_mut(&at.worker).map(|worker| (at.worker, worker)));
        let direct = worker.filter(|(_, worker)| run.sent > 0 && !run.has_unsent() && worker.has_room());
        let (sent_to, size) = match direct {
            Some((key, worker)) => (Some(key), worker.push(&frame)),
            None => (None, size_of(&frame)),
        };
        let ToWorker::Entry { entry, .. } = frame else { return };
        let bytes = match size {
            Ok(bytes) => bytes,
            Err(error) => return self.stop(id, ScriptErrorKind::Limit, format!("an entry cannot be delivered: {error}")),
        };
        if let Err(entry) = run.recorder.entry(entry, bytes)
            && sent_to.is_none()
        {
            run.beyond.push_back((entry, bytes));
            run.beyond_bytes = run.beyond_bytes.saturating_add(bytes);
        }
        run.last_turn = run.last_turn.saturating_add(1);
        if is_wake {
            run.wake_turn = Some(run.last_turn);
        }
        if run.beyond.len() > self.settings.bounds.waiting_entries {
            let bound = self.settings.bounds.waiting_entries;
            return self.stop(id, ScriptErrorKind::Limit, format!("more than {bound} entries wait for the script"));
        }
        if run.beyond_bytes > self.settings.bounds.waiting_bytes {
            let bound = self.settings.bounds.waiting_bytes;
            return self.stop(id, ScriptErrorKind::Limit, format!("entries of more than {bound} bytes wait for the script"));
        }
        if let Some(key) = sent_to {
            run.sent = run.sent.saturating_add(1);
            if let Some(worker) = self.workers.get_mut(&key) {
                worker.sent_one(id, run.epoch);
            }
            self.actions.push_back(Action::Flush(key));
        } else if let Some(at) = run.placement {
            self.make_hungry(at.worker, id);
            self.feed_hungry(at.worker);
        } else {
            self.place(now, id);
        }
        self.watch_if_needed(now);
        self.warn_of_size(id);
    }

    /// A turn has ended.
    pub(super) fn turn_end(&mut self, now: Moment, key: WorkerKey, end: TurnEnd, bytes: usize) -> Result<(), ProtocolError> {
        self.stats.turns += 1;
        self.stats.turn_cpu_us += u64::from(end.cpu_us);
        if let Some(worker) = self.workers.get_mut(&key) {
            worker.answered(end.run, end.epoch);
        }
        self.no_longer_stalled_by(now, key, (end.run, end.epoch));
        let taken = self.take_turn(now, key, end, bytes);
        self.feed_hungry(key);
        taken
    }

    /// Lets a turn take effect, unless its runtime has been given up.
    fn take_turn(&mut self, now: Moment, key: WorkerKey, end: TurnEnd, bytes: usize) -> Result<(), ProtocolError> {
        let id = end.run;
        let at = Placement { worker: key, epoch: end.epoch };
        let Some(run) = self.runs.get_mut(&id).filter(|run| run.placement == Some(at)) else { return Ok(()) };
        if end.turn >= run.sent {
            let message = format!("run {} ended turn {} of {}", id.0, end.turn, run.sent);
            self.stop(id, ScriptErrorKind::WorkerDied, "the script's worker broke the protocol".into());
            return Err(ProtocolError { worker: key, message });
        }
        run.gone = end.gone;
        let progress = run.replayer.turn_end(run.recorder.journal(), &end);
        if let Some(worker) = self.workers.get_mut(&key) {
            worker.outstanding = worker.outstanding.saturating_sub(1);
        }
        match progress {
            Ok(Progress::Repeated) => Ok(()),
            Ok(Progress::New) => {
                self.new_turn(now, end, bytes);
                Ok(())
            }
            Err(ReplayError::Diverged(divergence)) => {
                self.stats.divergences += 1;
                self.stop(id, ScriptErrorKind::Diverged, divergence.to_string());
                Ok(())
            }
            Err(error @ (ReplayError::OutOfTurn { .. } | ReplayError::Closed { .. })) => {
                self.stop(id, ScriptErrorKind::WorkerDied, "the script's worker broke the protocol".into());
                Err(ProtocolError { worker: key, message: format!("run {}: {error}", id.0) })
            }
        }
    }

    /// Records a turn that has not been seen before and lets it take effect.
    fn new_turn(&mut self, now: Moment, end: TurnEnd, bytes: usize) {
        let id = end.run;
        let bounds = self.settings.bounds;
        let Some(run) = self.runs.get_mut(&id) else { return };
        if let RunState::Failed(ScriptError { kind: ScriptErrorKind::Limit, message, .. }) = end.state {
            // What it asked for fits no frame, and its worker has dropped it.
            return self.stop(id, ScriptErrorKind::Limit, message);
        }
        if end.issued.len() > bounds.issued_per_turn {
            let message =
                format!("LimitError: {} operations in one turn, at most {} allowed", end.issued.len(), bounds.issued_per_turn);
            return self.stop(id, ScriptErrorKind::Limit, message);
        }
        run.cpu += Duration::from_micros(end.cpu_us.into());
        run.pending += end.issued.len();
        if run.pending > bounds.pending {
            let message = format!("LimitError: {} operations are pending, at most {} allowed", run.pending, bounds.pending);
            return self.stop(id, ScriptErrorKind::Limit, message);
        }
        let pending_bytes = run.weighty.asked(end.turn, end.issued.len(), bytes);
        if pending_bytes > bounds.pending_bytes {
            let message =
                format!("LimitError: operations of {pending_bytes} bytes are pending, at most {} allowed", bounds.pending_bytes);
            return self.stop(id, ScriptErrorKind::Limit, message);
        }
        run.lingers = end.lingers;
        let (turn, cpu_us) = (end.turn, end.cpu_us);
        let issued = (0..).zip(&end.issued).filter(|(_, issued)| is_errand(&issued.op));
        run.errands.extend(issued.map(|(ordinal, _)| OpId { turn, ordinal }));
        let record = TurnRecord::from(end);
        let settled = match (&record.state, run.phase) {
            (RunState::Running, _) | (_, Phase::Finished | Phase::Failed | Phase::Stopped) => None,
            (RunState::Finished { result }, Phase::Running) => {
                Some((Phase::Finished, ScriptOutput::Finished { run: id, result: result.clone() }))
            }
            (RunState::Failed(error), Phase::Running) => {
                // That the call has ended is no failure.
                let phase = if error.kind == ScriptErrorKind::CallEnded { Phase::Finished } else { Phase::Failed };
                Some((phase, ScriptOutput::Failed { run: id, error: error.clone() }))
            }
        };
        if !record.issued.is_empty() || !record.awaited.is_empty() || !record.cancels.is_empty() {
            let issued =
                (0..).zip(&record.issued).map(|(ordinal, issued)| (OpId { turn, ordinal }, issued.op.clone(), issued.at.clone()));
            let output = TurnOutput {
                turn,
                issued: issued.collect(),
                awaited: record.awaited.clone(),
                cancels: record.cancels.clone(),
                cpu_us,
            };
            self.outputs.push_back(ScriptOutput::Turn(id, output));
        }
        run.ended_turn = Some(turn);
        if let Some((phase, output)) = settled {
            run.phase = phase;
            // A call that was over before may have errands left, and what it was fed meanwhile may begin more.
            if run.is_quiet() {
                self.deadlines.clear(Timer::Grace(id));
            }
            self.outputs.push_back(output);
        }
        run.lines.turn_ended(turn);
        if run.is_quiet() {
            self.outputs.push_back(ScriptOutput::Quiet { run: id });
        }
        // What the engine had to stop is not rebuilt, and its worker holds nothing of it any more.
        let is_gone = matches!(&record.state, RunState::Failed(error)
            if matches!(error.kind, ScriptErrorKind::TurnLimit | ScriptErrorKind::MemoryLimit));
        let wake_at = record.wake_at;
        let is_stuck =
            run.owns_no_call() && run.phase == Phase::Running && run.pending == 0 && run.ended_turn == Some(run.last_turn);
        if is_stuck && wake_at.is_none() {
            self.outputs.push_back(ScriptOutput::Stuck { run: id });
        }
        run.recorder.turn(record, bytes);
        if is_gone && run.phase == Phase::Failed {
            return self.retire_run(id);
        }
        if run.wake_turn.is_none_or(|wake_turn| turn >= wake_turn) {
            run.wake_turn = None;
            run.wake_at = wake_at;
            match wake_at {
                None => self.deadlines.clear(Timer::Wake(id)),
                Some(wake_at) => {
                    let after = Duration::from_millis(wake_at.saturating_sub(run.clock(now))).max(SHORTEST_TIMER);
                    self.deadlines.set(Timer::Wake(id), now.instant, after);
                }
            }
        }
        self.warn_of_size(id);
    }

    /// A console line has come.
    pub(super) fn log_line(&mut self, key: WorkerKey, (id, epoch): (RunId, Epoch), (turn, seq): (u32, u32), line: LogLine) {
        let at = Placement { worker: key, epoch };
        let Some(run) = self.runs.get_mut(&id).filter(|run| run.placement == Some(at)) else { return };
        let bound = self.settings.bounds.lines_per_turn;
        match run.lines.take(turn, seq, bound) {
            LineFate::Show => self.outputs.push_back(ScriptOutput::Log { run: id, line }),
            LineFate::Repeated => {}
            LineFate::FirstDropped => {
                self.stats.log_lines_dropped += 1;
                self.warn(id, format!("more than {bound} lines in one turn: the rest of them is not shown"));
            }
            LineFate::Dropped => self.stats.log_lines_dropped += 1,
        }
    }

    fn warn_of_size(&mut self, id: RunId) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        if !run.recorder.is_rebuildable() && !std::mem::replace(&mut run.size_warned, true) {
            let text = "the journal has reached its bound: the script goes on, but cannot be rebuilt if its worker dies";
            self.outputs
                .push_back(ScriptOutput::Log { run: id, line: LogLine { level: LogLevel::Warn, text: text.into(), at: None } });
        }
    }
}

/// A host operation whose outcome is sure to come.
fn is_errand(op: &Op) -> bool {
    match op {
        Op::Host(call) => !call.listens,
        op => op.class() == OpClass::Host,
    }
}

/// What `frame` will take on the wire.
fn size_of(frame: &ToWorker) -> Result<usize, WireError> {
    let mut scratch = Vec::new();
    write_frame(frame, &mut scratch)?;
    Ok(scratch.len())
}
