//! Calls between their script and their backend: what the script asks for goes through the queue to the backend, what
//! comes of it goes back; and how scripts end.

use std::sync::Arc;

use lockstep_ctx_api::op::{DtmfMethod, Op};
use lockstep_ctx_api::queue::QueueOutput;
use lockstep_ctx_api::wire::{CallStart, EntryKind, LogLevel, LogLine, RunId, ScriptError, ScriptErrorKind};
use lockstep_ctx_api::{BackendOutput, CallBackend, CallState, EndedBy, ErrorCode, Event, OpClass, OpId, OpResult};
use serde_json::json;

use super::engine_event::EngineEvent;
use super::exchange::{CallKey, Exchange, LegKey, Purpose};
use super::executions::OUTSIDE_TURN;
use super::guard::Exceeded;
use super::live_call::{OnAnswer, PLACED, ScriptState};
use super::switch::Switch;
use super::world::Ticket;
use crate::alerts::Alert;
use crate::backend::native::{Ending, contact_value};
use crate::call::LegEvent;
use crate::config::DEFAULT_ACCOUNT;
use crate::host::RunContext;
use crate::script::{Program, ScriptOutput, StartRun, TurnOutput};

/// Where lines of scripts come from, as filters of the engine's log name it.
pub(crate) const SCRIPT_LINES: &str = module_path!();

impl Switch {
    /// Something happened on a leg's dialog.
    pub(super) fn leg_event(&mut self, (key, leg): LegKey, event: LegEvent) {
        let now = self.now().instant;
        self.exchange.borrow_mut().note_leg_event((key, leg), &event);
        if let Some(call) = self.calls.get_mut(&key) {
            if let Some(backend) = call.backend.native_mut() {
                backend.leg_event(now, leg, event);
            }
            self.touch(key);
        }
    }

    /// The timer of a call is due.
    pub(super) fn call_timeout(&mut self, key: CallKey) {
        let now = self.now().instant;
        let Some(call) = self.calls.get_mut(&key) else { return };
        if call.plan.ring_until.is_some_and(|until| until <= now) {
            call.plan.ring_until = None;
            let (code, reason) = (408, "Request Timeout".to_owned());
            let ending = Ending { refusal: (code, reason.clone()), bye: Some((code, reason)), by: EndedBy::Engine };
            call.backend.end(now, ending);
        }
        call.backend.handle_timeout(now);
        self.touch(key);
    }

    /// Ends calls of customers who have spent what they may, where that is wanted.
    pub(super) fn end_what_is_overspent(&mut self) {
        let now = self.now();
        let overspent = {
            let mut exchange = self.exchange.borrow_mut();
            let exchange = &mut *exchange;
            exchange.guard.overspent(now, &exchange.directory, &exchange.attempts)
        };
        for (key, customer) in overspent {
            let Some(call) = self.calls.get_mut(&key).filter(|call| call.ended.is_none()) else { continue };
            tracing::warn!(customer, call = %call.facts.id, "a call is ended: its customer has spent what may be spent a day");
            let (code, text, _) = Exceeded::Spend.reply();
            let reply = (code, text.to_owned());
            call.backend.end(now.instant, Ending { refusal: reply.clone(), bye: Some(reply), by: EndedBy::Engine });
            self.touch(key);
        }
    }

    /// Carries what a call wants done to its end.
    pub(super) fn pump_call(&mut self, key: CallKey) {
        self.settle_call(key);
        self.end_when_script_is_over(key);
        self.flush_channel(key);
        self.rearm(key);
        self.keep_soon(key);
        if self.calls.get(&key).is_some_and(|call| call.ended.is_some()) {
            self.over.insert(key);
        }
    }

    /// Lets everything happen on a call that needs no time, but its end.
    pub(super) fn settle_call(&mut self, key: CallKey) {
        while self.pump_backend(key) | self.pump_queue(key) {}
    }

    fn pump_backend(&mut self, key: CallKey) -> bool {
        let mut worked = false;
        loop {
            self.serve_channel(key);
            let Some(call) = self.calls.get_mut(&key) else { return false };
            match call.backend.poll_output() {
                BackendOutput::Timeout(timer) => {
                    call.timer = timer;
                    return worked;
                }
                BackendOutput::Completed { id, result } if call.plan.bridge == Some(id) => self.direct_bridge_over(key, result),
                BackendOutput::Completed { id, result } if call.outside.is_aside(id) => self.settled(key, id, result),
                BackendOutput::Completed { id, result } => call.queue.completed(id, result),
                BackendOutput::Event(event) => self.call_event(key, event),
                BackendOutput::Warning(text) => self.log_line(key, &LogLine { level: LogLevel::Warn, text, at: None }),
                BackendOutput::Ended(cause) => self.call_ended(key, cause),
            }
            worked = true;
        }
    }

    pub(super) fn pump_queue(&mut self, key: CallKey) -> bool {
        let mut worked = false;
        let now = self.now();
        loop {
            let Some(call) = self.calls.get_mut(&key) else { return false };
            let Some(output) = call.queue.poll_output() else { return worked };
            worked = true;
            match output {
                QueueOutput::Start(id, op) => {
                    call.log.started(now.unix_ms, id);
                    if let Op::Set(args) = &op
                        && !args.skip_write
                        && let Err(error) = call.make_room(&args.key, args.value.as_deref())
                    {
                        call.queue.completed(id, Err(error));
                        continue;
                    }
                    self.operation_started(key, id, &op);
                    let Some(call) = self.calls.get_mut(&key) else { return false };
                    if op.class() == OpClass::Host {
                        self.start_host_operation(key, id, op);
                    } else {
                        call.backend.submit(now.instant, id, op);
                    }
                }
                QueueOutput::Cancel(id) => {
                    if let Some((ticket, label)) = call.host_ops.remove(&id) {
                        self.exchange.borrow_mut().abandon(ticket);
                        call.queue.completed(id, Err(lockstep_ctx_api::OpError::aborted(&label)));
                    } else {
                        call.backend.cancel(now.instant, id);
                    }
                }
                QueueOutput::Settle(id, result) => self.settled(key, id, result),
                // Whether the call may end is looked at after every round.
                QueueOutput::Idle => {}
            }
        }
    }

    fn settled(&mut self, key: CallKey, id: OpId, result: OpResult) {
        let now = self.now();
        let Some(call) = self.calls.get_mut(&key) else { return };
        if result.is_err() {
            self.counters.operations_failed += 1;
        }
        let entry = call.log.ended(now.unix_ms, id, &result);
        let watched = entry.filter(|_| self.events.is_watched()).cloned();
        let run = call.run;
        // The one entry that tells of the end settles all that were pending then.
        let told_at_once = call.ended.is_some() && !call.end_told;
        self.operation_settled(key, id, &result);
        if id.turn == OUTSIDE_TURN {
            self.settled_outside(key, id, result);
        } else if let Some(run) = run
            && !(told_at_once && result.as_ref().is_err_and(|error| error.code == ErrorCode::CallEnded))
        {
            self.host.entry(now, run, EntryKind::Outcome { op: id, result });
        }
        self.publish_entry(key, watched);
    }

    fn start_host_operation(&mut self, key: CallKey, id: OpId, op: Op) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let mut exchange = self.exchange.borrow_mut();
        let ticket = exchange.ticket(Purpose::Host(key, id));
        call.host_ops.insert(id, (ticket, op.label()));
        let context = call.program.as_deref().map(RunContext::of).unwrap_or_default();
        let context = RunContext { call_id: Some(call.facts.id.clone()), scratch: call.scratch.clone(), ..context };
        begin_host_operation(&mut exchange, ticket, context, op);
    }

    fn call_event(&mut self, key: CallKey, event: Event) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let mut state = None;
        match &event {
            Event::Facts(change) => {
                state = change.state;
                call.facts.state = change.state.unwrap_or(call.facts.state);
                call.facts.answered_at = change.answered_at.or(call.facts.answered_at);
                if change.codec.is_some() {
                    call.facts.codec.clone_from(&change.codec);
                }
            }
            Event::Dtmf { digit, method, duration_ms } => {
                self.counters.digits += 1;
                if *method == DtmfMethod::Info {
                    self.pass_key_on(key, *digit, *duration_ms);
                }
            }
            Event::Hold | Event::Unhold | Event::Bridge { .. } | Event::Unbridge { .. } | Event::MediaTimeout { .. } => {}
        }
        self.watch_event(key, &event);
        self.tell_event(key, event);
        if let (Some(state), Some(call)) = (state, self.calls.get(&key)) {
            self.publish(|| EngineEvent::CallState { call: call.facts.id.clone(), state });
        }
        if state == Some(CallState::Answered) {
            self.start_when_answered(key);
        }
    }

    /// Puts an event into the call's timeline, and tells its script.
    pub(super) fn tell_event(&mut self, key: CallKey, event: Event) {
        let now = self.now();
        let Some(call) = self.calls.get_mut(&key) else { return };
        let entry = call.log.event(now.unix_ms, &event);
        let watched = entry.filter(|_| self.events.is_watched()).cloned();
        if let Some(run) = call.run {
            self.host.entry(now, run, EntryKind::Event(event));
        }
        self.publish_entry(key, watched);
    }

    /// A call of ours was answered: its script takes over.
    fn start_when_answered(&mut self, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        call.plan.ring_until = None;
        match call.plan.on_answer.take() {
            Some(OnAnswer::Script(program)) => self.start_script(key, program),
            Some(OnAnswer::Destinations(destinations)) => {
                call.plan.destinations = destinations;
                self.next_destination(key);
            }
            Some(OnAnswer::Nobody) => call.script = ScriptState::Application(PLACED),
            None => {}
        }
    }

    /// Hands a call to a script.
    pub(super) fn start_script(&mut self, key: CallKey, program: Arc<Program>) {
        let now = self.now();
        let seed = self.exchange.borrow_mut().seed();
        let Some(call) = self.calls.get_mut(&key) else { return };
        let mut vars = program.settings.vars.clone();
        for (name, value) in &call.vars {
            vars.insert(name.clone(), value.clone());
        }
        let mut facts = call.facts.clone();
        if let Some(to) = &call.plan.to {
            facts.to.clone_from(to);
        }
        let start = CallStart {
            facts,
            vars: call.channel.vars.beside_headers(),
            headers: Arc::clone(&call.headers),
            data_vars: Some(serde_json::Value::Object(crate::json::of_table(&vars)).to_string()),
        };
        let env = [("CORRELATION_ID".to_owned(), call.facts.id.clone())].into();
        let run = StartRun {
            program: Arc::clone(&program),
            function: None,
            data: String::new(),
            call: Some(start),
            env,
            seed,
            is_awaited: false,
        };
        let run = self.host.start(now, run);
        call.run = Some(run);
        call.backend.has_new_script();
        let account: Arc<str> = program.account.as_str().into();
        // A call of ours stays whosever it was asked for by.
        if call.facts.direction == "inbound" {
            call.account = Arc::clone(&account);
        }
        call.script = ScriptState::Running;
        call.program = Some(program);
        self.runs.insert(run, key);
        let (id, from, to) = (&call.facts.id, &call.facts.from, &call.facts.to);
        let script = call.script_name();
        tracing::debug!(call = %id, %from, %to, script = script.as_deref().unwrap_or_default(), "script started");
        self.give_audio(key, &account);
        self.exchange.borrow_mut().set_reach(key, Some(account));
    }

    /// From here on the call plays that account's audio, and records where it does.
    pub(super) fn give_audio(&mut self, key: CallKey, account: &Arc<str>) {
        match self.calls.get_mut(&key).and_then(|call| call.backend.free_switch_mut()) {
            Some((backend, _)) => backend.play_audio_of(account),
            None if **account == *DEFAULT_ACCOUNT => drop(self.exchange.borrow_mut().owners.remove(&key)),
            None => drop(self.exchange.borrow_mut().owners.insert(key, Arc::clone(account))),
        }
    }

    /// A script reports.
    pub(super) fn script_output(&mut self, output: ScriptOutput) {
        let run = output.run();
        let Some(key) = self.runs.get(&run).copied() else { return };
        if self.calls.get(&key).is_some_and(|call| call.run != Some(run)) {
            return self.former_output(key, output);
        }
        match output {
            ScriptOutput::Turn(_, turn) => self.turn(key, turn),
            ScriptOutput::Finished { .. } => self.script_finished(key),
            ScriptOutput::Failed { error, .. } => self.script_failed(key, &error),
            ScriptOutput::GraceOver { run } => self.grace_over(key, run),
            // What it did not hear before is heard now: the call may go.
            ScriptOutput::Quiet { .. } => {}
            // Said of runs outside calls only: keys and hang-ups always may come.
            ScriptOutput::Stuck { .. } => {}
            ScriptOutput::Log { line, .. } => self.log_line(key, &line),
        }
        self.touch(key);
    }

    fn turn(&mut self, key: CallKey, turn: TurnOutput) {
        let unix_ms = self.now().unix_ms;
        let watched = self.events.is_watched();
        let mut entries = Vec::new();
        let Some(call) = self.calls.get_mut(&key) else { return };
        for (id, op, at) in turn.issued {
            self.counters.operations += 1;
            let entry = call.log.issued(unix_ms, id, &op, at.as_ref());
            entries.extend(entry.filter(|_| watched).cloned());
            call.queue.submit(id, op);
        }
        for id in turn.awaited {
            call.queue.awaited(id);
        }
        for id in turn.cancels {
            call.queue.cancel(id);
        }
        for entry in entries {
            self.publish_entry(key, Some(entry));
        }
    }

    fn script_finished(&mut self, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let state = call.backend.state();
        let unanswered = call.ended.is_none() && !matches!(state, CallState::Answered | CallState::Ended);
        let will_answer = !call.queue.is_idle();
        if unanswered && !will_answer {
            tracing::warn!(call = %call.facts.id, "the script returned before it answered the call: 480");
        }
        let refusal = (480, "Temporarily Unavailable".to_owned());
        call.script = ScriptState::OverUndecided(Ending { refusal, bye: None, by: EndedBy::Script });
    }

    fn script_failed(&mut self, key: CallKey, error: &ScriptError) {
        let now = self.now().instant;
        let Some(call) = self.calls.get_mut(&key) else { return };
        if error.kind == ScriptErrorKind::CallEnded {
            return self.script_finished(key);
        }
        let (code, reason) = match &error.sip {
            Some((code, reason)) => {
                tracing::info!(call = %call.facts.id, code, %reason, "the script ended the call");
                if (300..400).contains(code) && contact_value(reason).is_none() {
                    let expected = "expected a sip: or tel: URI, or a list of addresses";
                    tracing::warn!(call = %call.facts.id, code, %reason, "the text of a 3xx is its Contact: {expected}");
                }
                (*code, reason.clone())
            }
            None => {
                let script = call.script_name().unwrap_or_default();
                let account = Arc::clone(&call.account);
                self.raise_script_error(key, &account, script, error);
                (500, "Script Error".to_owned())
            }
        };
        let Some(call) = self.calls.get_mut(&key) else { return };
        let ending = Ending { refusal: (code, reason.clone()), bye: Some((code, reason)), by: EndedBy::Script };
        let is_chosen = error.sip.is_some();
        let state = if is_chosen { ScriptState::Over } else { ScriptState::OverUndecided };
        call.script = state(ending.clone());
        self.write_line(key, &LogLine { level: LogLevel::Error, text: error.message.clone(), at: error.at.clone() });
        if let Some(call) = self.calls.get_mut(&key) {
            // What an erroneous script has left in the queue does not run.
            if is_chosen || !call.has_further_destination() {
                call.backend.end(now, ending);
            } else {
                call.queue.cancel_all();
            }
        }
    }

    /// Tells those who watch that a script of a call has failed by itself; `account` has had the call with it.
    pub(super) fn raise_script_error(&mut self, key: CallKey, account: &Arc<str>, script: String, error: &ScriptError) {
        self.counters.script_errors += 1;
        let Some(call) = self.calls.get(&key) else { return };
        let at = error.at.as_ref().map(ToString::to_string).unwrap_or_default();
        tracing::error!(call = %call.facts.id, kind = ?error.kind, %at, error = %error.message, "script error");
        let facts = json!({ "script": script, "call": call.facts.id, "message": error.message, "at": at });
        let text = format!("{script} failed: {}", error.message);
        self.events.raise(Alert::error("script-error", account, text, script, facts));
    }

    fn grace_over(&mut self, key: CallKey, run: RunId) {
        // The call may wait for other things than its script.
        if self.host.is_quiet(run) {
            return;
        }
        if let Some(call) = self.calls.get_mut(&key).filter(|call| call.run == Some(run)) {
            tracing::warn!(call = %call.facts.id, "the script still ran long after the call had ended; stopped");
            call.script = ScriptState::Absent;
        }
    }

    pub(super) fn log_line(&mut self, key: CallKey, line: &LogLine) {
        let Some(call) = self.calls.get(&key) else { return };
        let id = &call.facts.id;
        let at = line.at.as_ref().map(ToString::to_string).unwrap_or_default();
        match line.level {
            LogLevel::Debug => tracing::debug!(call = %id, %at, "{}", line.text),
            LogLevel::Info => tracing::info!(call = %id, %at, "{}", line.text),
            LogLevel::Warn => tracing::warn!(call = %id, %at, "{}", line.text),
            LogLevel::Error => tracing::error!(call = %id, %at, "{}", line.text),
        }
        self.write_line(key, line);
    }

    /// Puts a line into a call's timeline.
    pub(super) fn write_line(&mut self, key: CallKey, line: &LogLine) {
        let unix_ms = self.now().unix_ms;
        let Some(call) = self.calls.get_mut(&key) else { return };
        let entry = call.log.log(unix_ms, line);
        let watched = entry.filter(|_| self.events.is_watched()).cloned();
        self.publish_entry(key, watched);
    }

    /// The script is over and so is everything it left in the queue: the call goes to its next destination, or is hung up.
    fn end_when_script_is_over(&mut self, key: CallKey) {
        let now = self.now().instant;
        let Some(call) = self.calls.get_mut(&key) else { return };
        let (ScriptState::Over(ending) | ScriptState::OverUndecided(ending)) = &call.script else { return };
        if call.ended.is_some() || call.joined.is_some() || !call.queue.is_idle() {
            return;
        }
        let ending = ending.clone();
        if matches!(call.script, ScriptState::OverUndecided(_)) && call.has_further_destination() {
            self.take_away(key);
            if let Some(call) = self.calls.get_mut(&key) {
                call.plan.failure = Some(ending.refusal);
            }
            self.next_destination(key);
        } else {
            call.backend.end(now, ending);
        }
        self.settle_call(key);
    }
}

/// Has the services begin what is no operation on a call.
pub(super) fn begin_host_operation(exchange: &mut Exchange, ticket: Ticket, context: RunContext, op: Op) {
    match op {
        Op::Fetch(args) => exchange.world.fetch(ticket, &context.account, args),
        Op::Host(host_call) => exchange.world.call_host(ticket, context, host_call),
        other => tracing::error!(op = other.name(), "an operation of the call was given to the host services"),
    }
}
