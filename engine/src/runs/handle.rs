//! How everybody else asks for runs, from any thread.

use std::sync::Arc;

use lockstep_ctx_api::wire::LogLine;
use tokio::sync::{mpsc, oneshot, watch};

use super::desk::Order;
use super::request::{RunError, RunFailure, RunKind, RunLog, RunRequest, RunSuccess, RunSummary, RunsError, RunsStats};
use crate::host::{Channel, Scratch, WorkerMessages};
use crate::script::{Program, ProgramSet};

/// Runs that may wait to be taken in before those who ask wait too.
const QUEUE: usize = 4_096;

/// A run on its way to the actor.
#[derive(Debug)]
pub(super) struct Ordered {
    pub(super) id: Arc<str>,
    pub(super) order: Order,
    pub(super) lines: Option<mpsc::Sender<LogLine>>,
    pub(super) scratch: Scratch,
    pub(super) channel: Option<Channel>,
    pub(super) messages: Option<WorkerMessages>,
    pub(super) reply: oneshot::Sender<Result<RunSuccess, RunFailure>>,
}

/// What else the actor is asked.
#[derive(Debug)]
pub(super) enum Control {
    /// Without `reply`: whoever asked for the run has gone away.
    Cancel {
        id: Arc<str>,
        reply: Option<oneshot::Sender<bool>>,
    },
    /// What a routing script returned is no routing object.
    Refused {
        run: Arc<str>,
        program: Arc<Program>,
        why: String,
    },
    List(oneshot::Sender<Vec<RunSummary>>),
    Stats(oneshot::Sender<RunsStats>),
    Stop,
}

/// Asks for runs. Cheap to clone; every method may be called from any thread.
#[derive(Clone, Debug)]
pub struct RunsHandle {
    orders: mpsc::Sender<Ordered>,
    controls: mpsc::UnboundedSender<Control>,
    programs: watch::Receiver<Arc<ProgramSet>>,
}

/// The other end of a handle: what a [`RunsThread`](super::RunsThread) reads.
#[derive(Debug)]
pub struct RunsInbox {
    pub(super) orders: mpsc::Receiver<Ordered>,
    pub(super) controls: mpsc::UnboundedReceiver<Control>,
    pub(super) programs: watch::Receiver<Arc<ProgramSet>>,
}

impl RunsHandle {
    /// A handle and its other end. `programs` are the scripts there are, now and after every change.
    pub fn new(programs: watch::Receiver<Arc<ProgramSet>>) -> (Self, RunsInbox) {
        let (orders, ordered) = mpsc::channel(QUEUE);
        let (controls, controlled) = mpsc::unbounded_channel();
        let inbox = RunsInbox { orders: ordered, controls: controlled, programs: programs.clone() };
        (Self { orders, controls, programs }, inbox)
    }

    /// A handle behind which nothing runs: every request fails with [`RunError::Stopped`].
    pub fn stopped() -> Self {
        let (_, programs) = watch::channel(Arc::default());
        Self::new(programs).0
    }

    /// Nothing runs behind it any more.
    pub fn is_stopped(&self) -> bool {
        self.orders.is_closed()
    }

    /// The scripts there are at this moment.
    pub fn programs(&self) -> Arc<ProgramSet> {
        Arc::clone(&self.programs.borrow())
    }

    /// The scripts there are, and every change of them.
    pub fn changes(&self) -> watch::Receiver<Arc<ProgramSet>> {
        self.programs.clone()
    }

    /// Makes a run and waits for its end. Dropping the future ends the run.
    ///
    /// # Errors
    /// What kept it from giving a result.
    pub async fn run(&self, request: RunRequest) -> Result<RunSuccess, RunFailure> {
        let found = request.program(&self.programs.borrow()).cloned();
        let RunRequest { id, script, kind, function, data, timeout, mut env, lines, scratch, channel, messages, .. } = request;
        let failure = |error| RunFailure { run: Arc::clone(&id), error, took: std::time::Duration::ZERO, log: RunLog::default() };
        if self.is_stopped() {
            return Err(failure(RunError::Stopped));
        }
        let Some(program) = found else { return Err(failure(RunError::NoSuchScript(script))) };
        env.entry("CORRELATION_ID".to_owned()).or_insert_with(|| id.to_string());
        let is_limited = !matches!(kind, RunKind::WebSocket | RunKind::Worker);
        let own = program
            .settings
            .timeout_s
            .filter(|_| is_limited)
            .and_then(|seconds| std::time::Duration::try_from_secs_f64(seconds).ok());
        let timeout = timeout.or(own).unwrap_or_else(|| kind.timeout());
        let order = Order { program, kind, function, data, env, timeout, seed: rand::random() };
        let (reply, answer) = oneshot::channel();
        let ordered = Ordered { id: Arc::clone(&id), order, lines, scratch, channel, messages, reply };
        if self.orders.send(ordered).await.is_err() {
            return Err(failure(RunError::Stopped));
        }
        let mut abandoned = CancelOnDrop { id: Some(Arc::clone(&id)), controls: self.controls.clone() };
        let answer = answer.await;
        abandoned.id = None;
        answer.unwrap_or_else(|_| Err(failure(RunError::Stopped)))
    }

    /// Ends a run, whatever it is doing.
    ///
    /// # Errors
    /// When there is no such run.
    pub async fn cancel(&self, run: &str) -> Result<(), RunsError> {
        let found = self.ask(|reply| Control::Cancel { id: run.into(), reply: Some(reply) }).await?;
        if found { Ok(()) } else { Err(RunsError::NoSuchRun(run.to_owned())) }
    }

    /// Counts the run of the routing script of this name as failed, and has somebody look at it: what it returned is no routing object.
    pub(crate) fn refused(&self, script: &str, run: &Arc<str>, why: &str) {
        let Some(program) = self.programs.borrow().named(script).cloned() else { return };
        // A thread that is gone counts nothing.
        let _ = self.controls.send(Control::Refused { run: Arc::clone(run), program, why: why.to_owned() });
    }

    /// Runs that have not ended, the oldest first.
    ///
    /// # Errors
    /// When the engine is stopping.
    pub async fn list(&self) -> Result<Vec<RunSummary>, RunsError> {
        self.ask(Control::List).await
    }

    /// What runs have done and hold.
    ///
    /// # Errors
    /// When the engine is stopping.
    pub async fn stats(&self) -> Result<RunsStats, RunsError> {
        self.ask(Control::Stats).await
    }

    /// Ends every run, and the thread behind the handle.
    pub(super) fn stop(&self) {
        // A thread that is gone has stopped.
        let _ = self.controls.send(Control::Stop);
    }

    async fn ask<T>(&self, control: impl FnOnce(oneshot::Sender<T>) -> Control) -> Result<T, RunsError> {
        let (reply, answer) = oneshot::channel();
        self.controls.send(control(reply)).map_err(|_| RunsError::Stopped)?;
        answer.await.map_err(|_| RunsError::Stopped)
    }
}

/// Ends a run nobody waits for any more.
struct CancelOnDrop {
    id: Option<Arc<str>>,
    controls: mpsc::UnboundedSender<Control>,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            // A thread that is gone runs nothing.
            let _ = self.controls.send(Control::Cancel { id, reply: None });
        }
    }
}
