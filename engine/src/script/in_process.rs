//! Scripts in this process: for simulations, tests and `lockstep run`.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use lockstep_ctx_api::journal::Journal;
use lockstep_ctx_api::js;
use lockstep_ctx_api::wire::{EntryKind, FromWorker, RunId, read_frame, write_frame};

use super::host::{Moment, ScriptHost, ScriptOutput, ScriptStats, StartRun};
use super::supervisor::{Action, RunBounds, Settings, Supervisor, WorkerKey};
use crate::coverage::Coverage;

/// What scripts of this process were compiled to: hosts of simulations come and go by the thousand, and run the same ones.
static COMPILED: LazyLock<js::Compiled> = LazyLock::new(js::Compiled::default);

/// A [`ScriptHost`] with one worker that lives in this process and on the caller's clock.
///
/// Frames are encoded and decoded as they are between processes, so that what runs here runs there. A turn that never returns
/// never returns here either, except where the runtime's own limits end it.
pub struct InProcess {
    supervisor: Supervisor,
    worker: Option<(WorkerKey, js::Worker)>,
    coverage: Option<Arc<Coverage>>,
}

impl InProcess {
    /// A host with a fresh worker.
    pub fn new(now: Moment, bounds: RunBounds) -> Self {
        let supervisor = Supervisor::new(now, Settings { workers: 1, spare: false, back_off: Duration::ZERO, bounds });
        let mut host = Self { supervisor, worker: None, coverage: None };
        host.carry_out(now);
        host
    }

    /// A host of instrumented scripts: counts what they reach, and speaks of places in them as they were written.
    pub(crate) fn covered(now: Moment, bounds: RunBounds, coverage: Option<Arc<Coverage>>) -> Self {
        let mut host = Self::new(now, bounds);
        host.coverage = coverage;
        if let Some((key, worker)) = host.worker.take() {
            host.worker = Some((key, host.counting(worker)));
        }
        host
    }

    fn counting(&self, worker: js::Worker) -> js::Worker {
        match self.coverage.clone() {
            Some(coverage) => worker.with_marks(move |mark, value| coverage.passed(mark, value)),
            None => worker,
        }
    }

    /// Loses the worker with every runtime in it, as a crash would.
    pub fn crash(&mut self, now: Moment) {
        if let Some((key, _)) = self.worker.take() {
            self.supervisor.died(now, key, None);
        }
        self.carry_out(now);
    }

    fn carry_out(&mut self, now: Moment) {
        while let Some(action) = self.supervisor.poll_action() {
            match action {
                Action::Spawn(key) => self.spawn(now, key),
                Action::Flush(key) => self.flush(now, key),
                Action::Observe(key) => self.supervisor.observe(now, key, None),
                Action::Kill(key) | Action::Stop(key) => {
                    self.worker.take_if(|(running, _)| *running == key);
                    self.supervisor.died(now, key, None);
                }
            }
        }
    }

    fn spawn(&mut self, now: Moment, key: WorkerKey) {
        match js::Worker::new() {
            Ok(worker) => {
                self.worker = Some((key, self.counting(worker.with_compiled(COMPILED.clone()))));
                self.receive(now, key, vec![FromWorker::Ready { sandbox: Vec::new() }]);
            }
            Err(error) => {
                tracing::error!(%error, "the script runtime cannot be made");
                self.supervisor.died(now, key, None);
            }
        }
    }

    fn flush(&mut self, now: Moment, key: WorkerKey) {
        loop {
            let Some((_, worker)) = self.worker.as_mut().filter(|(running, _)| *running == key) else { return };
            let (frame, taken) = match read_frame(self.supervisor.outbound(key)) {
                Ok(Some(frame)) => frame,
                Ok(None) => return,
                Err(error) => {
                    tracing::error!(%error, "a frame of our own cannot be read");
                    return self.supervisor.malformed(key);
                }
            };
            self.supervisor.written(key, taken);
            let mut answers = Vec::new();
            worker.handle(frame, &mut answers);
            self.receive(now, key, answers);
        }
    }

    fn receive(&mut self, now: Moment, key: WorkerKey, frames: Vec<FromWorker>) {
        let mut encoded = Vec::new();
        for mut frame in frames {
            if let Some(coverage) = &self.coverage {
                coverage.restore(&mut frame);
            }
            encoded.clear();
            let frame = write_frame(&frame, &mut encoded).and_then(|()| read_frame(&encoded));
            let Ok(Some((frame, bytes))) = frame else {
                tracing::error!("a frame of the in-process worker cannot be encoded");
                return self.supervisor.malformed(key);
            };
            if let Err(error) = self.supervisor.frame(now, key, frame, bytes) {
                tracing::error!(%error, "the in-process worker broke the protocol");
            }
        }
    }
}

impl ScriptHost for InProcess {
    fn start(&mut self, now: Moment, run: StartRun) -> RunId {
        let id = self.supervisor.start(now, run);
        self.carry_out(now);
        id
    }

    fn entry(&mut self, now: Moment, run: RunId, kind: EntryKind) {
        self.supervisor.entry(now, run, kind);
        self.carry_out(now);
    }

    fn drop_run(&mut self, now: Moment, run: RunId) -> Option<Journal> {
        let journal = self.supervisor.drop_run(now, run);
        self.carry_out(now);
        journal
    }

    fn is_quiet(&self, run: RunId) -> bool {
        self.supervisor.is_quiet(run)
    }

    fn journal(&self, run: RunId) -> Option<Journal> {
        self.supervisor.journal(run).cloned()
    }

    fn read_journal(&self, run: RunId, read: &mut dyn FnMut(&Journal)) {
        if let Some(journal) = self.supervisor.journal(run) {
            read(journal);
        }
    }

    fn retire(&mut self, bundle: u64) {
        self.supervisor.retire(bundle);
    }

    fn poll_output(&mut self) -> Option<ScriptOutput> {
        self.supervisor.poll_output()
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.supervisor.next_timeout()
    }

    fn handle_timeout(&mut self, now: Moment) {
        self.supervisor.handle_timeout(now);
        self.carry_out(now);
    }

    fn stats(&self) -> ScriptStats {
        self.supervisor.stats()
    }
}
