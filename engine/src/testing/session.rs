//! One run of a test file: its steps carried out on a stage of its own, in virtual time.
//!
//! The test file is a script like any other, run through the same frames; its steps are host operations of the service
//! `test`. A step that has to wait becomes a [`Wait`], which is looked at whenever something has happened.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, FutureExt as _};
use lockstep_ctx_api::host::{HostCall, HostReply};
use lockstep_ctx_api::op::{Op, OpId, Vars};
use lockstep_ctx_api::wire::LogLine;
use lockstep_ctx_api::{ErrorCode, OpError, OpResult, Outcome};
use serde_json::{Value, json};

use super::options::{Listed, TestOptions, Wrong};
use super::wait::{Awaited, Progress, Wait};
use crate::block_on::block_on;
use crate::host::{Arguments, RunContext};
use crate::jobs::Job;
use crate::runs::{Desk, DeskOutput, Order, RunError, RunKind, Ticket};
use crate::script::supervisor::RunBounds;
use crate::script::{InProcess, Moment, Program};
use crate::simulation::{Conditions, Options, PhoneCallId, PhoneId, Project, Simulation};

/// Virtual time of a test that says nothing of it: each step has a bound of its own.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(7 * 86_400);
/// What a test may do at one moment before it must let time pass.
const MAX_ROUNDS: u32 = 10_000;
/// How often those who listen are asked where nothing but a running engine could say that something has happened.
const LOOK: Duration = Duration::from_millis(10);

/// How far each call's audio and keys have been taken in by steps.
#[derive(Debug, Default)]
pub(super) struct Cursors {
    pub(super) heard: BTreeMap<PhoneCallId, usize>,
    pub(super) keys: BTreeMap<PhoneCallId, usize>,
}

/// A step, for a report.
#[derive(Clone, Debug)]
pub(crate) struct StepTaken {
    pub at: Instant,
    pub call: Option<PhoneCallId>,
    pub what: String,
    /// `None` while it waits.
    pub result: Option<String>,
}

/// How a run of a test file ended.
#[derive(Debug)]
pub(crate) enum Ending {
    Listed(Vec<Listed>),
    Finished(Vec<Wrong>),
    /// The test has a step that cannot be taken here, and why.
    Skipped(String),
}

/// What a run of a test needs to know.
pub(crate) struct Assignment<'a> {
    pub project: &'a Project,
    pub program: &'a Arc<Program>,
    /// The number of the test; `None` lists them.
    pub test: Option<usize>,
    pub options: &'a TestOptions,
    /// Against a running engine, in real time.
    pub realtime: bool,
}

/// See the module.
pub(crate) struct Session {
    pub(super) stage: Simulation,
    pub(super) desk: Desk,
    test: Ticket,
    /// Of the test file.
    context: RunContext,
    program: Arc<Program>,
    pub(super) waits: Vec<Wait>,
    /// Phones by the number the test gave them.
    pub(super) phones: BTreeMap<u64, PhoneId>,
    pub(super) cursors: Cursors,
    /// Runs of scripts outside calls.
    pub(super) runs: BTreeMap<Ticket, Run>,
    /// When the next job comes due, ms since the Unix epoch.
    pub(super) jobs_due: Option<u64>,
    /// What those and the test have asked services that wait for something to happen.
    listening: Vec<Listening>,
    /// Answers that come later: of HTTP, for runs outside calls, and of the Class 4 hook.
    later: BTreeMap<(Instant, u64), (Ticket, OpId, OpResult)>,
    last_later: u64,
    pub(super) steps: Vec<StepTaken>,
    step_of: BTreeMap<OpId, usize>,
    lines: Vec<LogLine>,
    ending: Option<Ending>,
    stopped: Option<Wrong>,
    pub(super) skipped: Option<String>,
}

/// A run of a script outside calls.
pub(super) struct Run {
    pub(super) asker: Asker,
    pub(super) context: RunContext,
}

/// What a run is made for.
pub(super) enum Asker {
    /// A step that waits for it.
    Step(OpId),
    Job(Box<Job>),
}

/// A call of a service that has not answered.
struct Listening {
    ticket: Ticket,
    op: OpId,
    answer: BoxFuture<'static, OpResult>,
}

impl Session {
    /// Sets the stage, and starts the test file.
    ///
    /// # Errors
    /// No engine can be started to run the test against.
    pub(crate) fn start(assignment: &Assignment<'_>) -> Result<Self, Wrong> {
        let options = assignment.options;
        let line = options.network;
        let defaults = Options::default();
        let seed = line.and_then(|line| line.seed).or(options.seed).unwrap_or(defaults.seed);
        let set_up = Options {
            seed,
            conditions: line.map_or(Conditions::CLEAN, |line| line.conditions()),
            unix_ms: options.at.map_or(defaults.unix_ms, |at| at.max(0.0) as u64),
            ..defaults
        };
        let stage = if assignment.realtime {
            let set_up = Options { unix_ms: Moment::now().unix_ms, ..set_up };
            Simulation::outside(assignment.project, &set_up).map_err(|why| wrong(&format!("the engine does not start: {why}")))?
        } else {
            Simulation::new(assignment.project, &set_up)
        };
        let now = stage.clock().moment();
        let mut desk = Desk::new(Box::new(InProcess::covered(now, RunBounds::default(), assignment.project.coverage.clone())));
        let data = match assignment.test {
            Some(index) => json!({ "mode": "run", "index": index }),
            None => json!({ "mode": "list" }),
        };
        let timeout = options.timeout.map_or(DEFAULT_TIMEOUT, super::options::millis);
        let order = Order {
            program: Arc::clone(assignment.program),
            kind: RunKind::Api,
            function: None,
            data: data.to_string(),
            env: Vars::new(),
            timeout,
            seed: [7; 32],
        };
        // A desk without runs takes one in.
        let test = desk.submit(now, order).unwrap_or(Ticket(0));
        Ok(Self {
            stage,
            desk,
            test,
            context: RunContext::of(assignment.program),
            program: Arc::clone(assignment.program),
            waits: Vec::new(),
            phones: BTreeMap::new(),
            cursors: Cursors::default(),
            runs: BTreeMap::new(),
            jobs_due: None,
            listening: Vec::new(),
            later: BTreeMap::new(),
            last_later: 0,
            steps: Vec::new(),
            step_of: BTreeMap::new(),
            lines: Vec::new(),
            ending: None,
            stopped: None,
            skipped: None,
        })
    }

    /// Runs the test to its end.
    pub(crate) fn complete(&mut self) -> Result<Ending, Wrong> {
        let mut rounds = 0;
        loop {
            let acted = self.act();
            if let Some(why) = self.skipped.take() {
                return Ok(Ending::Skipped(why));
            }
            if let Some(ending) = self.ending.take() {
                return Ok(ending);
            }
            if let Some(wrong) = self.stopped.take() {
                return Err(wrong);
            }
            if acted {
                rounds += 1;
                if rounds > MAX_ROUNDS {
                    return Err(wrong("the test goes in circles without letting time pass"));
                }
                continue;
            }
            rounds = 0;
            let due = self.waits.iter().map(|wait| wait.what.due().map_or(wait.deadline, |due| due.min(wait.deadline)));
            let later = self.later.first_key_value().map(|((at, _), _)| *at);
            let look = (self.stage.is_real() && !self.listening.is_empty()).then(|| self.stage.now() + LOOK);
            let others = [self.desk.next_timeout(), self.next_job(), later, look];
            let next = self.stage.next_deadline().into_iter().chain(others.into_iter().flatten()).chain(due).min();
            let Some(next) = next else {
                return Err(wrong("the test waits for something that nothing can bring about"));
            };
            self.advance(next);
        }
    }

    fn advance(&mut self, next: Instant) {
        self.stage.advance_to(next);
        let now = self.stage.clock().moment();
        if self.desk.next_timeout().is_some_and(|due| due <= now.instant) {
            self.desk.handle_timeout(now);
        }
        while self.later.first_key_value().is_some_and(|((at, _), _)| *at <= now.instant)
            && let Some((_, (ticket, op, result))) = self.later.pop_first()
        {
            self.answer(ticket, op, result);
        }
    }

    /// Does what can be done at this moment; whether there was anything.
    fn act(&mut self) -> bool {
        let mut acted = false;
        while let Some(output) = self.desk.poll_output() {
            acted = true;
            self.take(output);
        }
        self.stage.settle();
        acted |= self.run_jobs();
        acted |= self.listen();
        let mut waiting = Vec::new();
        for mut wait in std::mem::take(&mut self.waits) {
            let progress = wait.what.look(&mut self.stage, &mut self.cursors);
            let result = match progress {
                Progress::Waiting if self.stage.now() < wait.deadline => {
                    waiting.push(wait);
                    continue;
                }
                Progress::Waiting => Err(unmet(self.overdue(&wait))),
                Progress::Done(value) => Ok(self.reply(wait.what.call(), value)),
                Progress::Dialled(call) => Ok(self.reply(Some(call), Value::Null)),
                Progress::Failed(why) => Err(unmet(format!("expected {}: {why}", wait.what.expected()))),
            };
            acted = true;
            self.complete_step(wait.op, result);
        }
        waiting.append(&mut self.waits);
        self.waits = waiting;
        self.stage.settle();
        acted
    }

    fn overdue(&self, wait: &Wait) -> String {
        let expected = wait.what.expected();
        let seconds = wait.limit.as_secs_f64();
        let nearest = match &wait.what {
            Awaited::Hears(hears) => hears.nearest().map(|nearest| format!("; {nearest}")).unwrap_or_default(),
            Awaited::Keys { call, from, .. } => {
                let keys: Option<String> =
                    self.stage.phones.call(*call).map(|call| call.keys.iter().skip(*from).map(|key| key.key).collect());
                format!("; it received {:?}", keys.unwrap_or_default())
            }
            _ => String::new(),
        };
        let heard = wait.what.call().filter(|_| matches!(wait.what, Awaited::Hears(_) | Awaited::Bridged { .. }));
        let heard =
            heard.map(|call| super::narrate::heard(&self.stage, call, self.cursors.heard.get(&call).copied().unwrap_or(0)));
        let heard = heard.map(|heard| format!("\n  heard since the step before: {heard}")).unwrap_or_default();
        format!("expected {expected} within {seconds} s{nearest}{heard}")
    }

    fn take(&mut self, output: DeskOutput) {
        match output {
            DeskOutput::Perform { ticket, op, what } => self.perform(ticket, op, what),
            DeskOutput::Log { ticket, line } if ticket == self.test => self.lines.push(line),
            DeskOutput::Settled { ticket, end, .. } if ticket == self.test => {
                if let Err(error) = end
                    && self.ending.is_none()
                {
                    self.stopped = Some(wrong_of(&error));
                }
            }
            DeskOutput::Gone { ticket, .. } if ticket == self.test && self.ending.is_none() && self.stopped.is_none() => {
                self.stopped = Some(wrong("the test waits for something that nothing can bring about"));
            }
            DeskOutput::Settled { ticket, end, .. } => match self.runs.get(&ticket).map(|run| &run.asker) {
                Some(&Asker::Step(op)) => self.run_over(op, end),
                Some(Asker::Job(job)) => {
                    let job = job.clone();
                    // The next one has its place.
                    self.runs.remove(&ticket);
                    self.job_over(&job, end);
                }
                None => {}
            },
            DeskOutput::Abandon { ticket, op } => self.listening.retain(|asked| (asked.ticket, asked.op) != (ticket, op)),
            DeskOutput::Gone { ticket, .. } => {
                self.runs.remove(&ticket);
            }
            DeskOutput::Log { .. } => {}
        }
    }

    /// The run that a step waits for is over.
    fn run_over(&mut self, op: OpId, end: Result<Option<String>, RunError>) {
        self.waits.retain(|wait| wait.op != op);
        let result = match end {
            // As the engine answers it, member for member.
            Ok(result) => Ok(HostReply { value: result.unwrap_or_else(|| "null".to_owned()), body: None }),
            Err(error) => {
                let (code, text) = error.sip();
                let message = if error.is_deliberate() { format!("{code} {text}") } else { error.to_string() };
                Err(OpError::new(ErrorCode::InvalidState, message))
            }
        };
        self.complete_step(op, result);
    }

    /// Asks services that wait for something to happen whether it has; whether one answered.
    fn listen(&mut self) -> bool {
        let mut answered = Vec::new();
        self.listening.retain_mut(|asked| match asked.answer.as_mut().now_or_never() {
            Some(result) => {
                answered.push((asked.ticket, asked.op, result));
                false
            }
            None => true,
        });
        let any = !answered.is_empty();
        if any {
            self.desk.all_completed(self.stage.clock().moment(), answered);
        }
        any
    }

    fn perform(&mut self, ticket: Ticket, op: OpId, what: Op) {
        let now = self.stage.clock().moment();
        match what {
            Op::Host(call) if call.service == "test" && ticket == self.test => self.step(op, call),
            Op::Host(call) => {
                let context = self.runs.get(&ticket).map_or(&self.context, |run| &run.context);
                // The test itself is not over while it waits for a job, and so does not say that it listens.
                let listens = call.listens || call.label() == "jobs.result";
                let answer = self.stage.services().call(context, call);
                if listens {
                    self.listening.push(Listening { ticket, op, answer });
                } else {
                    self.desk.completed(now, ticket, op, block_on(answer));
                }
            }
            Op::Fetch(args) => {
                let (result, delay) = self.stage.http.answer(args);
                self.answer_after(delay, ticket, op, result);
            }
            op_of_call => {
                let message = format!("{}: this run owns no call", op_of_call.name());
                self.desk.completed(now, ticket, op, Err(OpError::new(ErrorCode::InvalidState, message)));
            }
        }
    }

    /// A step of the test.
    fn step(&mut self, op: OpId, call: HostCall) {
        match call.function.as_str() {
            "listed" => self.end(first(&call.args).map(Ending::Listed)),
            "finished" => self.end(first(&call.args).map(Ending::Finished)),
            function => {
                let Ok(Value::Array(values)) = serde_json::from_str(&call.args) else {
                    return self.complete_step(op, Err(misuse("the arguments are no list".to_owned())));
                };
                self.steps.push(StepTaken { at: self.stage.now(), call: None, what: narrated(function, &values), result: None });
                self.step_of.insert(op, self.steps.len() - 1);
                let arguments = Arguments::new(function.to_owned(), values);
                match self.carry_out(op, function, arguments) {
                    Ok(Some(reply)) => self.complete_step(op, Ok(reply)),
                    Ok(None) => {}
                    Err(error) => self.complete_step(op, Err(error)),
                }
            }
        }
    }

    /// Ends the run with what the test file says; with an error where it is not as expected.
    fn end(&mut self, said: Result<Ending, serde_json::Error>) {
        match said {
            Ok(ending) => self.ending = Some(ending),
            Err(error) => self.stopped = Some(wrong(&format!("what it says of its tests cannot be read: {error}"))),
        }
    }

    /// Runs a function of a script outside any call; its result completes `op`.
    pub(super) fn run_script(&mut self, op: OpId, order: Order, limit: Duration) -> Result<(), OpError> {
        let context = RunContext::of(&order.program);
        let ticket = self.desk.submit(self.stage.clock().moment(), order).map_err(|error| misuse(error.to_string()))?;
        self.runs.insert(ticket, Run { asker: Asker::Step(op), context });
        self.wait(op, Awaited::Run, limit);
        Ok(())
    }

    pub(super) fn wait(&mut self, op: OpId, what: Awaited, limit: Duration) {
        if let (Some(index), Some(call)) = (self.step_of.get(&op), what.call())
            && let Some(step) = self.steps.get_mut(*index)
        {
            step.call = Some(call);
        }
        self.waits.push(Wait { op, what, deadline: self.stage.now() + limit, limit });
    }

    /// What a step answers: a value, and how its call stands.
    pub(super) fn reply(&self, call: Option<PhoneCallId>, value: Value) -> HostReply {
        let facts = call.and_then(|id| self.facts(id));
        match facts {
            Some(facts) => HostReply::json(&json!({ "call": facts, "value": value })),
            None => HostReply::json(&value),
        }
    }

    /// The test file, as it was named.
    pub(super) fn test_file(&self) -> &str {
        &self.program.file
    }

    fn facts(&self, id: PhoneCallId) -> Option<Value> {
        use crate::simulation::State;
        let call = self.stage.phones.call(id)?;
        let unix = |instant: Instant| self.stage.clock().moment_of(instant).unix_ms;
        let state = match call.state {
            State::Calling { .. } if call.progress.is_empty() => "calling",
            State::Calling { .. } | State::Offered { .. } => "ringing",
            State::Answering { .. } | State::Up { .. } => "answered",
            State::Over(_) => "ended",
        };
        let headers: serde_json::Map<String, Value> =
            call.headers.iter().map(|(name, value)| (name.clone(), Value::String(value.clone()))).collect();
        Some(json!({
            "id": id.0,
            "state": state,
            "from": call.from,
            "to": call.to,
            "codec": call.negotiated().map(|negotiated| negotiated.codec.name()),
            "began_at": unix(call.began),
            "answered_at": call.answered.map(unix),
            "ended_at": call.over.map(unix),
            "keys": call.keys.iter().map(|key| key.key).collect::<String>(),
            "headers": headers,
        }))
    }

    fn complete_step(&mut self, op: OpId, result: Result<HostReply, OpError>) {
        self.answer(self.test, op, result.map(Outcome::Host));
    }

    /// Completes a step once `delay` has passed.
    pub(super) fn complete_step_after(&mut self, delay: Duration, op: OpId, result: Result<HostReply, OpError>) {
        self.answer_after(delay, self.test, op, result.map(Outcome::Host));
    }

    fn answer_after(&mut self, delay: Duration, ticket: Ticket, op: OpId, result: OpResult) {
        self.last_later += 1;
        self.later.insert((self.stage.now() + delay, self.last_later), (ticket, op, result));
    }

    /// Gives a run what it has asked for; where that is a step of the test, it is done.
    fn answer(&mut self, ticket: Ticket, op: OpId, result: OpResult) {
        if ticket == self.test
            && let Some(step) = self.step_of.remove(&op).and_then(|index| self.steps.get_mut(index))
        {
            step.result = Some(match &result {
                Ok(_) => "ok".to_owned(),
                Err(error) => error.message.clone(),
            });
        }
        self.desk.completed(self.stage.clock().moment(), ticket, op, result);
    }

    /// Lines that the test file has logged since the last look.
    pub(crate) fn take_lines(&mut self) -> Vec<LogLine> {
        std::mem::take(&mut self.lines)
    }

    /// Virtual time since the test began.
    pub(crate) fn passed(&self) -> Duration {
        self.stage.clock().elapsed_at(self.stage.now())
    }
}

/// An expectation that did not come true: an `AssertionError` in the test.
pub(super) fn unmet(message: String) -> OpError {
    OpError::new(ErrorCode::TimeoutError, message)
}

/// A step that cannot be taken as the test says.
pub(super) fn misuse(message: String) -> OpError {
    OpError::new(ErrorCode::TypeError, message)
}

fn wrong(message: &str) -> Wrong {
    Wrong { name: "Error".to_owned(), message: message.to_owned(), stack: String::new() }
}

fn wrong_of(error: &RunError) -> Wrong {
    match error {
        RunError::Script(script) => {
            let mut stack: Vec<String> = script.at.iter().map(|at| format!("    at {at}")).collect();
            stack.extend(script.stack.iter().map(|frame| format!("    {frame}")));
            Wrong { name: "Error".to_owned(), message: script.message.clone(), stack: stack.join("\n") }
        }
        RunError::TimedOut { limit, .. } => wrong(&format!(
            "the test was ended: it took longer than {} s of virtual time (option `timeout`, ms)",
            limit.as_secs_f64()
        )),
        other => wrong(&other.to_string()),
    }
}

/// The only argument of a step.
fn first<T: serde::de::DeserializeOwned>(args: &str) -> Result<T, serde_json::Error> {
    serde_json::from_str::<(T,)>(args).map(|(value,)| value)
}

/// Where the data of a run is among the arguments of its step: JSON.
const RUN_DATA: usize = 3;

/// A step in a few words.
fn narrated(function: &str, values: &[Value]) -> String {
    let data = values.get(RUN_DATA).and_then(Value::as_str).filter(|_| function == "run");
    let values = if data.is_some() { values.get(..RUN_DATA).unwrap_or_default() } else { values };
    let shown = values.iter().filter(|value| !matches!(value, Value::Null)).filter(|value| match value {
        Value::Object(object) => !object.is_empty(),
        _ => true,
    });
    let data = data.filter(|data| *data != "{}").map(str::to_owned);
    let arguments: Vec<String> = shown.map(ToString::to_string).chain(data).collect();
    let text = format!("{function}({})", arguments.join(", "));
    if text.chars().count() > 120 { text.chars().take(117).chain("…)".chars()).collect() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_no_empty_list() {
        let listed = |seed: &str| {
            let args = format!(r#"[[{{"path":["a"],"skip":false,"todo":false,"options":{{"seed":{seed}}}}}]]"#);
            first::<Vec<Listed>>(&args).map(|tests| tests.len()).ok()
        };
        assert_eq!([listed("7"), listed("-1")], [Some(1), None]);
        assert!(first::<Vec<Wrong>>("[[{}]]").is_err() && first::<Vec<Wrong>>("[]").is_err());
    }
}
