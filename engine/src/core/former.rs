//! Scripts that somebody else has taken their call from: for them it has ended, and they run on for the time that they have then.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use lockstep_ctx_api::queue::{OpQueue, QueueOutput};
use lockstep_ctx_api::wire::{EntryKind, LogLevel, LogLine, RunId, ScriptError, ScriptErrorKind};
use lockstep_ctx_api::{CallEndedCause, EndedBy, OpError, OpId, OpResult};

use super::calls::begin_host_operation;
use super::exchange::{CallKey, Purpose};
use super::keeping::Kept;
use super::live_call::ScriptState;
use super::switch::Switch;
use super::world::Ticket;
use crate::host::{RunContext, Scratch};
use crate::script::{Program, ScriptOutput, TurnOutput};

/// How many of one call may run on at once; the longest without it is stopped for one more.
const MAX_FORMER: usize = 16;

/// A script that had a call.
#[derive(Debug)]
pub(crate) struct Former {
    pub run: RunId,
    /// How much of its journal was handed over.
    pub kept: Kept,
    program: Option<Arc<Program>>,
    /// Whose the call was.
    account: Arc<str>,
    /// What it does besides operations on the call.
    queue: OpQueue,
    host_ops: BTreeMap<OpId, (Ticket, Cow<'static, str>)>,
    /// Where the call's timeline has what is open of it.
    open: BTreeMap<OpId, usize>,
    scratch: Scratch,
    /// Its time is over.
    is_over: bool,
}

impl Former {
    fn awaits(&self, op: OpId, ticket: Ticket) -> bool {
        self.host_ops.get(&op).is_some_and(|(awaited, _)| *awaited == ticket)
    }
}

/// How the call ends for the script that it is taken from.
fn transferred() -> CallEndedCause {
    CallEndedCause { code: 200, reason: "Transferred".to_owned(), by: EndedBy::Engine }
}

impl Switch {
    /// Parts a call from its script, for which it ends.
    pub(super) fn part_from_script(&mut self, key: CallKey) {
        let now = self.now();
        // Outcomes of what was done go to the script before the news of the end.
        while self.pump_queue(key) {}
        let Some(call) = self.calls.get_mut(&key) else { return };
        call.script = ScriptState::Absent;
        let program = call.program.take();
        let Some(run) = call.run.take() else { return };
        call.backend.leaves_script(now.instant);
        let cause = transferred();
        let queue = call.queue.part_host_operations(&cause);
        let open = call.log.part(|id| queue.holds(id));
        call.former.push(Former {
            run,
            kept: call.kept.of_run(run).0,
            program,
            account: Arc::clone(&call.account),
            queue,
            host_ops: std::mem::take(&mut call.host_ops),
            open,
            scratch: std::mem::take(&mut call.scratch),
            is_over: false,
        });
        let oldest = call.former.first().map(|former| former.run).filter(|_| call.former.len() > MAX_FORMER);
        self.host.entry(now, run, EntryKind::CallEnded(cause));
        if let Some(oldest) = oldest {
            self.drop_former(key, oldest);
        }
        self.over.insert(key);
    }

    /// A script reports that has no call any more.
    pub(super) fn former_output(&mut self, key: CallKey, output: ScriptOutput) {
        let run = output.run();
        match output {
            ScriptOutput::Turn(_, turn) => self.former_turn(key, run, turn),
            ScriptOutput::Failed { error, .. } => self.former_failed(key, run, &error),
            ScriptOutput::GraceOver { .. } => {
                if let Some(call) = self.calls.get_mut(&key)
                    && let Some(former) = call.former.iter_mut().find(|former| former.run == run)
                {
                    former.is_over = true;
                    let script = former.program.as_ref().map(|program| program.name.clone()).unwrap_or_default();
                    tracing::warn!(call = %call.facts.id, %script, "the script still ran long after its call had gone elsewhere; stopped");
                }
            }
            ScriptOutput::Log { line, .. } => self.log_line(key, &line),
            // Whether it is over is asked once everything was heard.
            ScriptOutput::Finished { .. } | ScriptOutput::Quiet { .. } | ScriptOutput::Stuck { .. } => {}
        }
        self.over.insert(key);
    }

    fn former(&mut self, key: CallKey, run: RunId) -> Option<&mut Former> {
        self.calls.get_mut(&key)?.former.iter_mut().find(|former| former.run == run)
    }

    fn former_turn(&mut self, key: CallKey, run: RunId, turn: TurnOutput) {
        let unix_ms = self.now().unix_ms;
        let watched = self.events.is_watched();
        let mut entries = Vec::new();
        let Some(call) = self.calls.get_mut(&key) else { return };
        let Some(former) = call.former.iter_mut().find(|former| former.run == run) else { return };
        call.log.swap_open(&mut former.open);
        for (id, op, at) in turn.issued {
            self.counters.operations += 1;
            let entry = call.log.issued(unix_ms, id, &op, at.as_ref());
            entries.extend(entry.filter(|_| watched).cloned());
            former.queue.submit(id, op);
        }
        call.log.swap_open(&mut former.open);
        for id in turn.awaited {
            former.queue.awaited(id);
        }
        for id in turn.cancels {
            former.queue.cancel(id);
        }
        for entry in entries {
            self.publish_entry(key, Some(entry));
        }
        self.pump_former(key, run);
    }

    fn former_failed(&mut self, key: CallKey, run: RunId, error: &ScriptError) {
        if error.kind == ScriptErrorKind::CallEnded {
            return;
        }
        let Some(former) = self.former(key, run) else { return };
        let account = Arc::clone(&former.account);
        let script = former.program.as_ref().map(|program| program.name.clone()).unwrap_or_default();
        if error.sip.is_none() {
            self.raise_script_error(key, &account, script, error);
        }
        self.write_line(key, &LogLine { level: LogLevel::Error, text: error.message.clone(), at: error.at.clone() });
    }

    fn pump_former(&mut self, key: CallKey, run: RunId) {
        let now = self.now();
        let watched = self.events.is_watched();
        loop {
            let Some(call) = self.calls.get_mut(&key) else { return };
            let Some(former) = call.former.iter_mut().find(|former| former.run == run) else { return };
            let Some(output) = former.queue.poll_output() else { return };
            match output {
                QueueOutput::Start(id, op) => {
                    call.log.swap_open(&mut former.open);
                    call.log.started(now.unix_ms, id);
                    call.log.swap_open(&mut former.open);
                    let context = former.program.as_deref().map(RunContext::of).unwrap_or_default();
                    let context = RunContext { call_id: Some(call.facts.id.clone()), scratch: former.scratch.clone(), ..context };
                    let mut exchange = self.exchange.borrow_mut();
                    let ticket = exchange.ticket(Purpose::Host(key, id));
                    former.host_ops.insert(id, (ticket, op.label()));
                    begin_host_operation(&mut exchange, ticket, context, op);
                }
                QueueOutput::Cancel(id) => {
                    if let Some((ticket, label)) = former.host_ops.remove(&id) {
                        self.exchange.borrow_mut().abandon(ticket);
                        former.queue.completed(id, Err(OpError::aborted(&label)));
                    }
                }
                QueueOutput::Settle(id, result) => {
                    if result.is_err() {
                        self.counters.operations_failed += 1;
                    }
                    call.log.swap_open(&mut former.open);
                    let entry = call.log.ended(now.unix_ms, id, &result).filter(|_| watched).cloned();
                    call.log.swap_open(&mut former.open);
                    self.host.entry(now, run, EntryKind::Outcome { op: id, result });
                    self.publish_entry(key, entry);
                }
                // It has no call that could end for it.
                QueueOutput::Idle => {}
            }
        }
    }

    /// A service answers what the script of a call has asked, or one that has had it.
    pub(super) fn host_answered(&mut self, key: CallKey, op: OpId, ticket: Ticket, result: OpResult) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        if let Some(former) = call.former.iter_mut().find(|former| former.awaits(op, ticket)) {
            former.host_ops.remove(&op);
            former.queue.completed(op, result);
            let run = former.run;
            return self.pump_former(key, run);
        }
        call.host_ops.remove(&op);
        call.queue.completed(op, result);
        self.touch(key);
    }

    /// Lets those go that have nothing left to do, or no time. Asked only once everything scripts have said was heard.
    pub(super) fn let_formers_go(&mut self, key: CallKey) {
        let Some(call) = self.calls.get(&key) else { return };
        let over = call.former.iter().filter(|former| former.is_over || self.host.is_quiet(former.run));
        for run in over.map(|former| former.run).collect::<Vec<_>>() {
            self.drop_former(key, run);
        }
    }

    fn drop_former(&mut self, key: CallKey, run: RunId) {
        let now = self.now();
        if let Some(former) = self.former(key, run) {
            former.queue.close();
        }
        self.pump_former(key, run);
        self.runs.remove(&run);
        let journal = self.host.drop_run(now, run);
        let Some(call) = self.calls.get_mut(&key) else { return };
        let Some(at) = call.former.iter().position(|former| former.run == run) else { return };
        let former = call.former.remove(at);
        let Some(journal) = journal else { return };
        self.keep_former(key, &former, &journal);
        if let Some(call) = self.calls.get_mut(&key)
            && call.journal.as_ref().is_none_or(|(of, _)| *of < run)
        {
            call.journal = Some((run, journal));
        }
    }
}
