//! Runs outside calls at a moment of virtual time: nothing else happens while one goes on, and what it takes is told afterwards.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use lockstep_ctx_api::op::{FetchArgs, Op};
use lockstep_ctx_api::{ErrorCode, OpError, OpResult};

use crate::block_on::block_on;
use crate::class4::{self, Decision, Facts, Given, Rejection, RouteTable, RoutingObject};
use crate::coverage::Coverage;
use crate::host::{HostServices, RunContext};
use crate::runs::{Desk, DeskOutput, Order, RunError, RunFailure, RunLog, RunRequest, RunSuccess};
use crate::script::supervisor::RunBounds;
use crate::script::{InProcess, Moment, ProgramSet};

/// How long a service takes to answer.
const SERVICE: Duration = Duration::from_millis(1);

/// What runs of a rehearsal reach.
pub(crate) struct Stage<'a> {
    pub programs: &'a Arc<ProgramSet>,
    pub services: &'a HostServices,
    /// Answers a `fetch`, and says how long that takes.
    pub fetch: &'a mut dyn FnMut(FetchArgs) -> (OpResult, Duration),
    pub seed: [u8; 32],
    /// Counts what the scripts reach, where they carry marks.
    pub coverage: Option<Arc<Coverage>>,
}

/// Has the scripts of Class 4 decide on a call; how long they took.
pub(crate) fn route(
    stage: Stage<'_>,
    table: &Arc<RouteTable>,
    facts: &Facts,
    now: Moment,
) -> (Result<Decision, Rejection>, Duration) {
    let programs = Arc::clone(stage.programs);
    let rehearsal = Rehearsal::new(stage, now);
    let decision = block_on(class4::route(table, &programs, &rehearsal, facts));
    (decision, rehearsal.since(now))
}

/// Has `script`, or those that apply to a routing object, change it, as the hook over HTTP does; how long they took.
pub(crate) fn hook(
    stage: Stage<'_>,
    table: &Arc<RouteTable>,
    given: Given,
    script: Option<&str>,
    now: Moment,
) -> (Result<RoutingObject, Rejection>, Duration) {
    let programs = Arc::clone(stage.programs);
    let rehearsal = Rehearsal::new(stage, now);
    let changed = block_on(class4::hook(table, &programs, &rehearsal, given, (script, None)));
    (changed, rehearsal.since(now))
}

struct Rehearsal<'a>(RefCell<State<'a>>);

impl<'a> Rehearsal<'a> {
    fn new(stage: Stage<'a>, now: Moment) -> Self {
        let desk = Desk::new(Box::new(InProcess::covered(now, RunBounds::default(), stage.coverage.clone())));
        Self(RefCell::new(State { stage, desk, now }))
    }

    fn since(&self, began: Moment) -> Duration {
        self.0.borrow().now.instant.saturating_duration_since(began.instant)
    }
}

struct State<'a> {
    stage: Stage<'a>,
    desk: Desk,
    now: Moment,
}

impl class4::Runner for Rehearsal<'_> {
    fn run(&self, request: RunRequest) -> BoxFuture<'_, Result<RunSuccess, RunFailure>> {
        ready(self.0.borrow_mut().run(request)).boxed()
    }

    fn refused(&self, script: &str, _: &Arc<str>, why: &str) {
        tracing::debug!(%script, why, "a routing script failed");
    }

    fn beside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> BoxFuture<'_, Option<T>> {
        ready(Some(work())).boxed()
    }
}

impl State<'_> {
    fn run(&mut self, request: RunRequest) -> Result<RunSuccess, RunFailure> {
        let found = request.program(self.stage.programs).cloned();
        let RunRequest { id, script, kind, function, data, timeout, mut env, .. } = request;
        let failure = |error, took| RunFailure { run: Arc::clone(&id), error, took, log: RunLog::default() };
        let Some(program) = found else {
            return Err(failure(RunError::NoSuchScript(script), Duration::ZERO));
        };
        env.entry("CORRELATION_ID".to_owned()).or_insert_with(|| id.to_string());
        let own = program.settings.timeout_s.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let timeout = timeout.or(own).unwrap_or_else(|| kind.timeout());
        let context = RunContext::of(&program);
        let order = Order { program, kind, function, data, env, timeout, seed: self.stage.seed };
        if let Err(error) = self.desk.submit(self.now, order) {
            return Err(failure(error, Duration::ZERO));
        }
        let mut settled = None;
        loop {
            match self.desk.poll_output() {
                Some(DeskOutput::Perform { ticket, op, what }) => {
                    if let Some(result) = self.perform(&context, what) {
                        self.desk.completed(self.now, ticket, op, result);
                    }
                }
                Some(DeskOutput::Settled { end, took, sandbox_time, .. }) => settled = Some((end, took, sandbox_time)),
                Some(DeskOutput::Gone { .. }) => break,
                Some(DeskOutput::Log { line, .. }) => tracing::debug!(%script, text = %line.text, "routing script"),
                Some(DeskOutput::Abandon { .. }) => {}
                None => {
                    let Some(due) = self.desk.next_timeout() else { break };
                    self.pass(due.saturating_duration_since(self.now.instant));
                    self.desk.handle_timeout(self.now);
                }
            }
        }
        match settled {
            Some((Ok(result), took, sandbox_time)) => {
                Ok(RunSuccess { run: id, result, took, sandbox_time, log: RunLog::default() })
            }
            Some((Err(error), took, _)) => Err(failure(error, took)),
            None => Err(failure(RunError::Stuck, Duration::ZERO)),
        }
    }

    /// `None`: it waits for something that cannot happen meanwhile.
    fn perform(&mut self, context: &RunContext, what: Op) -> Option<OpResult> {
        match what {
            Op::Fetch(args) => {
                let (result, took) = (self.stage.fetch)(args);
                self.pass(took);
                Some(result)
            }
            Op::Host(call) if call.listens => None,
            Op::Host(call) => {
                self.pass(SERVICE);
                Some(block_on(self.stage.services.call(context, call)))
            }
            other => {
                let message = format!("{}: this run owns no call", other.name());
                Some(Err(OpError::new(ErrorCode::InvalidState, message)))
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now.instant += time;
        self.now.unix_ms += u64::try_from(time.as_millis()).unwrap_or_default();
    }
}
