//! The thread behind a [`RunsHandle`]: gives the [`Desk`] clocks, workers and host operations.
#![expect(clippy::disallowed_methods, reason = "an IO edge: reads the clocks that the desk is told")]

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use lockstep_ctx_api::OpResult;
use lockstep_ctx_api::journal::{Journal, Mark};
use lockstep_ctx_api::op::OpId;
use lockstep_ctx_api::wire::{LogLevel, LogLine};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{AbortHandle, LocalSet};

use super::desk::{Desk, DeskOutput, Ticket};
use super::handle::{Control, Ordered, RunsHandle, RunsInbox};
use super::host_ops::HostOps;
use super::lines::{LeftOut, LineBounds};
use super::request::{RunError, RunFailure, RunKind, RunLog, RunSuccess, RunSummary, RunsStats};
use crate::alerts::Alert;
use crate::background;
use crate::core::timeline::TimelineEntry;
use crate::core::{EngineEvent, EventLog, SCRIPT_LINES, logged};
use crate::fetch::Fetcher;
use crate::host::{Channel, HostServices, RunContext, Scratch, WorkerMessages};
use crate::jobs::job_of;
use crate::journals::{Begin, Journals, Piece, ScriptStart};
use crate::script::supervisor::RunBounds;
use crate::script::{InProcess, Moment, PoolConfig, Program, ProgramSet, ScriptHost, WorkerPool};

/// Messages of one kind taken before the others get their turn.
const BATCH: usize = 256;

/// Where scripts run.
#[derive(Clone, Debug)]
pub enum ScriptPlace {
    /// In worker processes, started from `program`, the `lockstep` binary.
    Workers { program: PathBuf, workers: usize },
    /// In this process, one turn at a time: a turn ends at the runtime's own limits only.
    InProcess,
}

/// What a thread for runs is made of.
#[derive(Clone)]
pub struct RunsConfig {
    pub place: ScriptPlace,
    pub fetcher: Fetcher,
    pub services: HostServices,
    /// Told of scripts that fail, and what runs write.
    pub events: EventLog,
    /// Where the journals of runs that failed are kept.
    pub journals: Option<Journals>,
}

/// A thread that runs scripts, until dropped or [stopped](Self::stop).
#[derive(Debug)]
pub struct RunsThread {
    handle: RunsHandle,
    thread: Option<JoinHandle<()>>,
}

impl RunsThread {
    /// Starts the thread and its workers behind a handle.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(config: RunsConfig, handle: RunsHandle, inbox: RunsInbox) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let work = move || {
            // At the workers' own priority, what they say one after the other is taken together: ahead of them, this thread would
            // take the core from a worker with every frame.
            background::step_back(background::WAITED_FOR);
            LocalSet::new().block_on(&runtime, async move { Actor::new(config, &inbox).run(inbox).await });
        };
        let thread = std::thread::Builder::new().name("runs".to_owned()).spawn(work)?;
        Ok(Self { handle, thread: Some(thread) })
    }

    /// How runs are asked for.
    pub fn handle(&self) -> RunsHandle {
        self.handle.clone()
    }

    /// Ends every run and waits for the thread.
    pub fn stop(self) {}
}

impl Drop for RunsThread {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of runs panicked");
        }
    }
}

/// A run that has not ended, as those outside know it.
struct Asked {
    id: Arc<str>,
    program: Arc<Program>,
    function: Option<String>,
    kind: RunKind,
    since: Instant,
    lines: Option<mpsc::Sender<LogLine>>,
    scratch: Scratch,
    channel: Option<Channel>,
    messages: Option<WorkerMessages>,
    log: RunLog,
    /// It ended with an error that the script did not mean.
    failed: bool,
    /// Taken when the result is handed over.
    reply: Option<oneshot::Sender<Result<RunSuccess, RunFailure>>>,
}

impl Asked {
    /// Where the run went wrong, for somebody to look at.
    fn alert(&self, error: &RunError) -> Alert {
        let (message, at) = match error {
            RunError::Script(error) => (error.message.clone(), error.at.as_ref().map(ToString::to_string)),
            error => (error.to_string(), None),
        };
        let facts = json!({
            "script": self.program.name, "run": &*self.id, "kind": self.kind, "fn": self.function, "message": message, "at": at,
        });
        alert(&self.program, &message, facts)
    }

    /// Shows a line to those who read the engine's log or watch.
    fn tell(&self, now: Moment, line: &LogLine, events: &EventLog) {
        let (run, script, account) = (&self.id, &self.program.name, &self.program.account);
        let (job, at) = (job_of(run).map(|(job, _)| job), line.at.as_ref().map(tracing::field::display));
        match line.level {
            LogLevel::Debug => tracing::debug!(target: SCRIPT_LINES, %run, job, script, account, at, "{}", line.text),
            LogLevel::Info => tracing::info!(target: SCRIPT_LINES, %run, job, script, account, at, "{}", line.text),
            LogLevel::Warn => tracing::warn!(target: SCRIPT_LINES, %run, job, script, account, at, "{}", line.text),
            LogLevel::Error => tracing::error!(target: SCRIPT_LINES, %run, job, script, account, at, "{}", line.text),
        }
        if events.is_watched() {
            let age = now.instant.saturating_duration_since(self.since);
            let entry = TimelineEntry { at_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX), what: logged(line) };
            let event = EngineEvent::RunLog { run: Some(Arc::clone(run)), job, script: script.clone(), entry };
            events.publish(now.unix_ms, Some(account.as_str().into()), event);
        }
    }
}

/// An operation that has settled.
type Completion = (Ticket, OpId, OpResult);

struct Actor {
    state: Rc<RefCell<State>>,
    completions: mpsc::UnboundedReceiver<Completion>,
    /// Runs have moved without the loop: the next deadline may be nearer.
    rearm: Rc<Notify>,
}

struct State {
    desk: Desk,
    asked: HashMap<Ticket, Asked>,
    tickets: HashMap<Arc<str>, Ticket>,
    tasks: HashMap<(Ticket, OpId), AbortHandle>,
    host_ops: HostOps,
    events: EventLog,
    /// One completion an operation, and those are bounded by the script host: this cannot grow without end.
    completed: mpsc::UnboundedSender<Completion>,
    journals: Option<Journals>,
    /// But for those of the script host.
    stats: RunsStats,
    /// The bundles of the programs seen last.
    bundles: Vec<u64>,
    /// Of what is shown of their consoles.
    bounds: LineBounds,
}

impl Actor {
    fn new(config: RunsConfig, inbox: &RunsInbox) -> Self {
        let rearm = Rc::new(Notify::new());
        let cell: Rc<OnceCell<Weak<RefCell<State>>>> = Rc::default();
        let host: Box<dyn ScriptHost> = match config.place {
            ScriptPlace::InProcess => Box::new(InProcess::new(Moment::now(), RunBounds::default())),
            ScriptPlace::Workers { program, workers } => {
                let (state, rearm) = (Rc::clone(&cell), Rc::clone(&rearm));
                let on_output = move || {
                    if let Some(state) = state.get().and_then(Weak::upgrade) {
                        let mut state = state.borrow_mut();
                        let before = state.next_timeout();
                        state.desk.pump(Moment::now());
                        state.carry_out();
                        if state.next_timeout() != before {
                            rearm.notify_one();
                        }
                    }
                };
                Box::new(WorkerPool::new(PoolConfig { program, workers, bounds: RunBounds::default() }, on_output))
            }
        };
        let (completed, completions) = mpsc::unbounded_channel();
        let state = Rc::new(RefCell::new(State {
            desk: Desk::new(host),
            asked: HashMap::new(),
            tickets: HashMap::new(),
            tasks: HashMap::new(),
            host_ops: HostOps { fetcher: config.fetcher, services: config.services },
            events: config.events,
            completed,
            journals: config.journals.filter(Journals::is_on),
            stats: RunsStats::default(),
            bundles: bundles(&inbox.programs.borrow()),
            bounds: LineBounds::default(),
        }));
        // Set exactly once: the cell was made above.
        let _ = cell.set(Rc::downgrade(&state));
        Self { state, completions, rearm }
    }

    async fn run(mut self, mut inbox: RunsInbox) {
        let mut orders = Vec::with_capacity(BATCH);
        let mut settled = Vec::with_capacity(BATCH);
        let mut programs_live = true;
        loop {
            let deadline = self.state.borrow().next_timeout();
            let sleep = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                taken = inbox.orders.recv_many(&mut orders, BATCH) => {
                    if taken == 0 {
                        return;
                    }
                    let mut state = self.state.borrow_mut();
                    let now = Moment::now();
                    for order in orders.drain(..) {
                        state.order(now, order);
                    }
                    state.desk.pump(now);
                }
                control = inbox.controls.recv() => {
                    let mut state = self.state.borrow_mut();
                    match control {
                        Some(Control::Cancel { id, reply }) => state.cancel(&id, reply),
                        Some(Control::Refused { run, program, why }) => state.refused(&run, &program, &why),
                        // Whoever asked may have gone away.
                        Some(Control::List(reply)) => drop(reply.send(state.list())),
                        Some(Control::Stats(reply)) => {
                            let scripts = state.desk.stats();
                            drop(reply.send(RunsStats { scripts, ..state.stats.clone() }));
                        }
                        Some(Control::Stop) | None => return,
                    }
                }
                // The state keeps a sender: there is always at least one.
                _ = self.completions.recv_many(&mut settled, BATCH) => {
                    let mut state = self.state.borrow_mut();
                    for (ticket, op, result) in &settled {
                        state.tasks.remove(&(*ticket, *op));
                        state.stats.operations_failed += u64::from(result.is_err());
                    }
                    state.desk.all_completed(Moment::now(), settled.drain(..));
                }
                changed = inbox.programs.changed(), if programs_live => {
                    programs_live = changed.is_ok();
                    self.state.borrow_mut().retire(&inbox.programs.borrow_and_update());
                }
                () = self.rearm.notified() => {}
                () = sleep => self.state.borrow_mut().handle_timeout(Moment::now()),
            }
            self.state.borrow_mut().carry_out();
        }
    }
}

impl State {
    fn next_timeout(&self) -> Option<Instant> {
        [self.desk.next_timeout(), self.bounds.next_timeout()].into_iter().flatten().min()
    }

    fn handle_timeout(&mut self, now: Moment) {
        self.desk.handle_timeout(now);
        for LeftOut { script, account, lines } in self.bounds.left_out(now.instant) {
            let text = format!("{lines} lines of the last minute were left out");
            tracing::warn!(target: SCRIPT_LINES, script, account, "{text}");
            let line = LogLine { level: LogLevel::Warn, text, at: None };
            let entry = TimelineEntry { at_ms: 0, what: logged(&line) };
            let event = EngineEvent::RunLog { run: None, job: None, script, entry };
            self.events.publish(now.unix_ms, Some(account.into()), event);
        }
    }

    fn order(&mut self, now: Moment, ordered: Ordered) {
        let Ordered { id, order, lines, scratch, channel, messages, reply } = ordered;
        if reply.is_closed() {
            return;
        }
        let (program, function, kind) = (Arc::clone(&order.program), order.function.clone(), order.kind);
        let ticket = match self.desk.take(now, order) {
            Ok(ticket) => ticket,
            Err(error) => {
                let failure = RunFailure { run: id, error, took: std::time::Duration::ZERO, log: RunLog::default() };
                // Whoever asked may have gone away.
                let _ = reply.send(Err(failure));
                return;
            }
        };
        self.tickets.insert(Arc::clone(&id), ticket);
        let asked = Asked {
            id,
            program,
            function,
            kind,
            since: now.instant,
            lines,
            scratch,
            channel,
            messages,
            log: RunLog::default(),
            failed: false,
            reply: Some(reply),
        };
        self.asked.insert(ticket, asked);
    }

    fn cancel(&mut self, id: &str, reply: Option<oneshot::Sender<bool>>) {
        let ticket = self.tickets.get(id).copied();
        if let Some(reply) = reply {
            // Whoever asked may have gone away.
            let _ = reply.send(ticket.is_some());
        }
        if let Some(ticket) = ticket {
            self.desk.cancel(Moment::now(), ticket);
        }
    }

    /// A routing script has failed all the same.
    fn refused(&mut self, run: &str, program: &Program, why: &str) {
        let kind = RunKind::Hook;
        self.stats.ended.entry(kind).or_default().failed += 1;
        let facts = json!({ "script": program.name, "run": run, "kind": kind, "fn": null, "message": why, "at": null });
        self.events.raise(alert(program, why, facts));
    }

    fn list(&self) -> Vec<RunSummary> {
        let now = Instant::now();
        let mut listed: Vec<(&Ticket, &Asked)> = self.asked.iter().collect();
        listed.sort_by_key(|(ticket, _)| **ticket);
        let summary = |(ticket, asked): (&Ticket, &Asked)| RunSummary {
            run: Arc::clone(&asked.id),
            script: asked.program.name.clone(),
            account: asked.program.account.clone(),
            function: asked.function.clone(),
            kind: asked.kind,
            waiting: self.desk.is_waiting(*ticket).unwrap_or(false),
            age_ms: u64::try_from(now.saturating_duration_since(asked.since).as_millis()).unwrap_or(u64::MAX),
        };
        listed.into_iter().map(summary).collect()
    }

    /// Lets workers forget programs that nothing new will run.
    fn retire(&mut self, programs: &ProgramSet) {
        let live = bundles(programs);
        for gone in std::mem::replace(&mut self.bundles, live.clone()).into_iter().filter(|bundle| !live.contains(bundle)) {
            self.desk.retire(gone);
        }
    }

    /// Does what the desk wants done.
    fn carry_out(&mut self) {
        while let Some(output) = self.desk.poll_output() {
            match output {
                DeskOutput::Perform { ticket, op, what } => {
                    let Some(asked) = self.asked.get(&ticket) else { continue };
                    self.stats.operations += 1;
                    let context = || RunContext {
                        run_id: Some(asked.id.to_string()),
                        scratch: asked.scratch.clone(),
                        channel: asked.channel.clone(),
                        messages: asked.messages.clone(),
                        ..RunContext::of(&asked.program)
                    };
                    let work = self.host_ops.perform(asked.program.script_type, context, what);
                    let completed = self.completed.clone();
                    let task = tokio::task::spawn_local(async move {
                        let result = work.await;
                        // The actor is gone only when the engine stops.
                        let _ = completed.send((ticket, op, result));
                    });
                    self.tasks.insert((ticket, op), task.abort_handle());
                }
                DeskOutput::Abandon { ticket, op } => {
                    if let Some(task) = self.tasks.remove(&(ticket, op)) {
                        task.abort();
                    }
                }
                DeskOutput::Log { ticket, line } => self.log(ticket, line),
                DeskOutput::Settled { ticket, end, took, sandbox_time } => {
                    let Some(asked) = self.asked.get_mut(&ticket) else { continue };
                    // Who may run anything names what is not there without its being the script's fault.
                    let is_not_there = |error: &RunError| error.is_no_function() && asked.kind.is_anybodys();
                    let failed = end.as_ref().is_err_and(|error| !error.is_deliberate() && !is_not_there(error));
                    asked.failed = failed;
                    let was_ended = matches!(end, Err(RunError::Cancelled | RunError::Stopped));
                    let ended = self.stats.ended.entry(asked.kind).or_default();
                    ended.all += 1;
                    ended.failed += u64::from(failed && !was_ended);
                    let Some(reply) = asked.reply.take() else { continue };
                    let (run, log) = (Arc::clone(&asked.id), std::mem::take(&mut asked.log));
                    let answer = match end {
                        Ok(result) => Ok(RunSuccess { run, result, took, sandbox_time, log }),
                        Err(error) => {
                            if error.is_no_function() && asked.kind.is_anybodys() {
                                tracing::debug!(run = %asked.id, script = asked.program.name, %error, "not found");
                            } else if !error.is_deliberate() {
                                let at = error.at().map(tracing::field::display);
                                tracing::warn!(run = %asked.id, script = asked.program.name, %error, at, "a run failed");
                                // Of a job it counts how it ends.
                                if !matches!(asked.kind, RunKind::Job | RunKind::Schedule) {
                                    self.events.raise(asked.alert(&error));
                                }
                            }
                            Err(RunFailure { run, error, took, log })
                        }
                    };
                    // Whoever asked may have gone away.
                    let _ = reply.send(answer);
                }
                DeskOutput::Gone { ticket, journal } => {
                    if let Some(asked) = self.asked.remove(&ticket) {
                        self.tickets.remove(&asked.id);
                        if let Some(journal) = journal {
                            self.keep(&asked, &journal);
                        }
                    }
                }
            }
        }
    }

    /// Keeps the journal of a run that failed, and of some of those that did not.
    fn keep(&self, asked: &Asked, journal: &Journal) {
        let Some(journals) = &self.journals else { return };
        if !asked.failed && rand::random::<f64>() >= journals.sample_runs() {
            return;
        }
        let script = ScriptStart {
            header: journal.header.clone(),
            start: Arc::clone(&journal.start),
            bundle_id: asked.program.bundle_id,
            bundle: Arc::clone(&asked.program.bundle),
        };
        let begin = Begin {
            name: asked.id.to_string(),
            account: asked.program.account.clone(),
            started_ms: journal.start.at,
            script: Some(script),
        };
        let id = journals.open();
        let piece = Piece {
            journal: id,
            begin: Some(Box::new(begin)),
            tail: Some(journal.since(Mark::default())),
            outcome: None,
            closes: Some(id),
            bytes: journal.bytes,
        };
        if !journals.keep(piece) {
            journals.lost();
        }
    }

    fn log(&mut self, ticket: Ticket, line: LogLine) {
        let Some(asked) = self.asked.get_mut(&ticket) else { return };
        let now = Moment::now();
        if self.bounds.take(now.instant, ticket, &asked.program, line.level, &self.events) {
            asked.tell(now, &line, &self.events);
        }
        if let Some(lines) = &asked.lines {
            // One that does not keep up still finds the line in the result.
            let _ = lines.try_send(line.clone());
        }
        if asked.reply.is_some() {
            asked.log.push(line);
        }
    }
}

/// What `program` did wrong, for somebody to look at. `facts` tells more of it.
fn alert(program: &Program, message: &str, facts: Value) -> Alert {
    let script = program.name.clone();
    Alert::error("script-error", &program.account.as_str().into(), format!("{script} failed: {message}"), script, facts)
}

fn bundles(programs: &ProgramSet) -> Vec<u64> {
    programs.iter().map(|program| program.bundle_id).collect()
}
