//! Requests of the API and the command line.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lockstep_ctx_api::op::{Headers, RING_TIME, Vars};
use lockstep_ctx_api::wire::CallStart;
use lockstep_ctx_api::{CallFacts, CallState, EndedBy};

use super::backend::Backend;
use super::board::Board;
use super::channel_vars::fold_headers;
use super::directory::Callee;
use super::exchange::CallKey;
use super::executions::{Leading, extension};
use super::handle::{CallFilter, CallJournal, CallSummary, EngineError, Originate, Readiness, Request, ScriptInfo};
use super::live_call::OnAnswer;
use super::switch::{Draining, Switch};
use super::timeline::Timeline;
use crate::backend::native::{Ending, NativeBackend, NativeSetup};
use crate::config::DEFAULT_ACCOUNT;
use crate::script::ProgramSet;

/// The most calls in one answer.
const MAX_LISTED: usize = 10_000;

impl Switch {
    /// Answers one request. Who asked and went away is not told.
    pub(crate) fn request(&mut self, request: Request) {
        match request {
            Request::Calls(filter, reply) => drop(reply.send(self.list(filter))),
            Request::Call(id, reply) => drop(reply.send(self.find_summary(&id))),
            Request::Timeline(id, reply) => drop(reply.send(self.find_timeline(&id))),
            Request::Journal(id, reply) => drop(reply.send(self.find_journal(&id))),
            Request::Recording { id, number, reply } => drop(reply.send(self.find_recording(&id, number))),
            Request::Hangup { id, code, reason, reply } => drop(reply.send(self.hang_up(&id, code, reason))),
            Request::Originate(originate, reply) => drop(reply.send(self.originate(originate))),
            Request::Channel(id, reply) => drop(reply.send(self.find_channel(&id))),
            Request::Channels(reply) => drop(reply.send(self.all_channels())),
            Request::SetVariable { id, name, value, reply } => {
                drop(reply.send(self.set_variable(&id, &name, value.as_deref())));
            }
            Request::Execute { id, execution, reply } => drop(reply.send(self.execute(&id, *execution))),
            Request::Broadcast { id, execution, far, reply } => drop(reply.send(self.broadcast(&id, *execution, far))),
            Request::TransferOther { id, target, both, asker, reply } => {
                drop(reply.send(self.transfer_other(&id, &target, both, asker)));
            }
            Request::Break { id, all, reply } => drop(reply.send(self.break_off(&id, all))),
            Request::Transfer { id, target, asker, reply } => drop(reply.send(self.transfer(&id, &target, asker))),
            Request::WouldTake(script, reply) => drop(reply.send(self.would_take(&script))),
            Request::Claim(claim, reply) => drop(reply.send(self.claim(&claim))),
            Request::Join { first, second, reply } => drop(reply.send(self.join_calls(&first, &second))),
            Request::Hold { id, hold, music, reply } => drop(reply.send(self.set_hold(&id, hold, music))),
            Request::IsWaiting(id, reply) => drop(reply.send(self.is_waiting(&id))),
            Request::ApplicationOver(id, takeover, how) => self.application_over(&id, takeover, how),
            Request::Registrations(reply) => drop(reply.send(self.registered())),
            Request::Gateways(reply) => drop(reply.send(self.gateways())),
            Request::Message(message, reply) => self.messages.send(&mut self.exchange.borrow_mut(), message, reply),
            Request::Scripts(reply) => drop(reply.send(self.scripts())),
            Request::Stats(reply) => drop(reply.send(self.stats())),
            Request::Readiness(reply) => drop(reply.send(self.readiness())),
            // For the driver, which reaches the scripts folder and can stop; it lets none through.
            Request::ChangeScripts(..) | Request::Provisioned(_) | Request::Drain(..) | Request::Halt => {}
        }
    }

    fn list(&self, filter: CallFilter) -> Vec<CallSummary> {
        let unix_ms = self.now().unix_ms;
        let is_theirs = |account: &str| filter.account.as_deref().is_none_or(|wanted| wanted == account);
        let here = || self.calls.values().rev().filter(|call| is_theirs(&call.account));
        let live = here().filter(|call| filter.live && call.ended.is_none());
        let finishing = here().filter(|call| filter.past && call.ended.is_some());
        let past = self.past.newest_first().filter(|call| filter.past && is_theirs(&call.summary.account));
        let past = past.map(|call| call.summary.clone());
        let kept = live.chain(finishing).map(|call| call.summary(unix_ms)).chain(past);
        kept.take(filter.limit.min(MAX_LISTED)).collect()
    }

    fn find_summary(&self, id: &str) -> Result<CallSummary, EngineError> {
        let live = self.ids.get(id).and_then(|key| self.calls.get(key)).map(|call| call.summary(self.now().unix_ms));
        live.or_else(|| self.past.find(id).map(|call| call.summary.clone())).ok_or_else(|| no_such_call(id))
    }

    fn find_timeline(&self, id: &str) -> Result<Arc<Timeline>, EngineError> {
        let live = self.ids.get(id).and_then(|key| self.calls.get(key)).map(|call| Arc::new(call.timeline()));
        live.or_else(|| self.past.find(id).map(|call| Arc::clone(&call.timeline))).ok_or_else(|| no_such_call(id))
    }

    fn find_journal(&self, id: &str) -> Result<CallJournal, EngineError> {
        if let Some(call) = self.ids.get(id).and_then(|key| self.calls.get(key)) {
            let journal = call.run.and_then(|run| self.host.journal(run)).map(Arc::new);
            let bundle = call.program.as_ref().map(|program| Arc::clone(&program.bundle));
            return Ok(CallJournal { account: Arc::clone(&call.account), journal, bundle });
        }
        let past = self.past.find(id).ok_or_else(|| no_such_call(id))?;
        Ok(CallJournal { account: Arc::clone(&past.summary.account), journal: past.journal.clone(), bundle: past.bundle.clone() })
    }

    fn find_recording(&self, id: &str, number: Option<usize>) -> Result<PathBuf, EngineError> {
        let exchange = self.exchange.borrow();
        let recordings = match self.ids.get(id) {
            Some(key) => exchange.recorded.get(key).map(Vec::as_slice).unwrap_or_default(),
            None => self.past.find(id).map(|call| call.recordings.as_slice()).ok_or_else(|| no_such_call(id))?,
        };
        let wanted = match number {
            Some(number) => number.checked_sub(1).and_then(|index| recordings.get(index)),
            None => recordings.last(),
        };
        wanted.cloned().ok_or_else(|| EngineError::NoRecording(id.to_owned()))
    }

    /// The call with this id, while it lives.
    pub(super) fn live_call(&self, id: &str) -> Result<CallKey, EngineError> {
        let Some(key) = self.ids.get(id).copied() else {
            return Err(match self.past.find(id) {
                Some(_) => EngineError::CallOver(id.to_owned()),
                None => no_such_call(id),
            });
        };
        let lives = self.calls.get(&key).is_some_and(|call| call.ended.is_none());
        if lives { Ok(key) } else { Err(EngineError::CallOver(id.to_owned())) }
    }

    fn hang_up(&mut self, id: &str, code: Option<u16>, reason: Option<String>) -> Result<(), EngineError> {
        let now = self.now().instant;
        let key = self.live_call(id)?;
        let Some(call) = self.calls.get_mut(&key) else { return Err(EngineError::CallOver(id.to_owned())) };
        let code = code.filter(|code| *code == 200 || (300..700).contains(code));
        let refusal = (
            code.filter(|code| *code >= 300).unwrap_or(480),
            reason.clone().unwrap_or_else(|| "Temporarily Unavailable".to_owned()),
        );
        let bye = code.filter(|code| *code != 200 || reason.is_some()).map(|code| (code, reason.unwrap_or_default()));
        call.backend.end(now, Ending { refusal, bye, by: EndedBy::Engine });
        self.touch(key);
        Ok(())
    }

    fn set_hold(&mut self, id: &str, hold: bool, music: Option<String>) -> Result<(), EngineError> {
        let key = self.live_call(id)?;
        let now = self.now().instant;
        let backend = self.calls.get_mut(&key).and_then(|call| call.backend.native_mut());
        let backend = backend.ok_or_else(|| EngineError::MediaElsewhere(id.to_owned()))?;
        backend.set_hold(now, hold, music).map_err(|_| EngineError::NotAnswered(id.to_owned()))?;
        self.touch(key);
        Ok(())
    }

    /// Places a call whose script takes over when it is answered.
    fn originate(&mut self, wanted: Originate) -> Result<String, EngineError> {
        if self.draining.is_some() {
            return Err(EngineError::Stopped);
        }
        if self.live >= self.max_calls {
            return Err(EngineError::AtCapacity(format!("{} calls", self.live)));
        }
        {
            let mut exchange = self.exchange.borrow_mut();
            let now = exchange.now.instant;
            // Where its media will be is known once its target is resolved.
            let local = exchange.world.listening().first().map(|(_, address)| address.ip());
            local.map_or(Ok(()), |local| exchange.world.admit(now, local)).map_err(EngineError::AtCapacity)?;
        }
        let programs = Arc::clone(&self.exchange.borrow().programs);
        if let Some(id) = wanted.id.as_ref().filter(|id| self.ids.contains_key(*id) || self.past.find(id).is_some()) {
            return Err(EngineError::CallExists(id.clone()));
        }
        let on_answer = if wanted.park {
            if !wanted.destination.is_empty() {
                self.led_to(&wanted.destination, &Leading::of_placed(wanted.account.as_deref(), wanted.asker))?;
            }
            OnAnswer::Nobody
        } else {
            self.on_answer(&wanted, &programs).ok_or_else(|| EngineError::NoSuchDestination(wanted.destination.clone()))?
        };
        let owner = match &on_answer {
            OnAnswer::Script(program) => wanted.account.as_deref().or(Some(program.account.as_str())),
            OnAnswer::Destinations(_) | OnAnswer::Nobody => wanted.account.as_deref(),
        };
        let owner: Option<Arc<str>> = owner.map(Arc::from);
        // The operator has a call placed that its script's account could not dial.
        let may_dial =
            |account: &Arc<str>| wanted.account.is_some() || self.is_callable(&wanted.to, None, Some(&**account)).is_ok();
        let reach = owner.clone().filter(may_dial);
        let callable = self.is_callable(&wanted.to, None, reach.as_deref());
        callable.map_err(|why| EngineError::TargetRefused { target: wanted.to.clone(), why })?;
        self.last_call += 1;
        let key = CallKey(self.last_call);
        let from = wanted.from.clone().unwrap_or_else(|| wanted.destination.clone());
        let (facts, setup) = {
            let mut exchange = self.exchange.borrow_mut();
            let id = wanted.id.clone().unwrap_or_else(|| exchange.uuid());
            exchange.callers.insert(key, (from.clone(), wanted.from_name.clone()));
            exchange.set_reach(key, reach);
            let facts = CallFacts {
                id: id.clone(),
                direction: "outbound".to_owned(),
                from,
                to: wanted.to.clone(),
                state: CallState::New,
                started_at: exchange.now.unix_ms,
                ..CallFacts::default()
            };
            let clock = (exchange.now.instant, exchange.now.unix_ms);
            let setup = NativeSetup { call_id: id, codecs: exchange.codecs.clone(), clock, ringback: self.ringback.clone() };
            (facts, setup)
        };
        let id = facts.id.clone();
        let destination = extension(&wanted.destination).filter(|name| !name.is_empty()).unwrap_or(&wanted.to);
        let mut vars = wanted.vars;
        fold_headers(&mut vars);
        let headers = header_fields(&vars);
        let as_text = || vars.iter().map(|(name, value)| (name.clone(), toml::Value::String(value.clone()))).collect();
        let data_vars = wanted.data.unwrap_or_else(as_text);
        for (name, value) in [
            ("call_id", id.as_str()),
            ("uuid", id.as_str()),
            ("direction", "outbound"),
            ("destination_number", destination),
            ("caller_id_number", facts.from.as_str()),
        ] {
            vars.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
        if let Some(name) = wanted.from_name {
            vars.entry("caller_id_name".to_owned()).or_insert(name);
        }
        let start = CallStart { facts: facts.clone(), vars: vars.into(), ..CallStart::default() };
        let board = Board { call: key, exchange: std::rc::Rc::clone(&self.exchange) };
        let now = self.now().instant;
        let backend = NativeBackend::originate(now, board, setup, &wanted.to, headers);
        self.counters.calls_placed += 1;
        self.insert_call(key, Backend::Native(Box::new(backend)), facts, start, data_vars);
        if let Some(call) = self.calls.get_mut(&key) {
            if let Some(owner) = owner {
                call.account = owner;
            }
            let account = Arc::clone(&call.account);
            call.plan.on_answer = Some(on_answer);
            call.plan.ring_until = now.checked_add(wanted.timeout.unwrap_or(RING_TIME));
            self.give_audio(key, &account);
        }
        self.announce(key);
        Ok(id)
    }

    /// Who takes over a call that is asked for: a script of the account, or an application, which is no account's but the first.
    fn on_answer(&self, wanted: &Originate, programs: &ProgramSet) -> Option<OnAnswer> {
        let name = &wanted.destination;
        if let Some(program) = programs.led_to(name, wanted.account.as_deref()) {
            let is_theirs = wanted.account.as_ref().is_none_or(|account| program.account == *account);
            return is_theirs.then(|| OnAnswer::Script(Arc::clone(program)));
        }
        let is_theirs = wanted.account.as_ref().is_none_or(|account| account == DEFAULT_ACCOUNT);
        let exchange = self.exchange.borrow();
        let application = exchange.directory.application(name).filter(|_| is_theirs)?;
        Some(OnAnswer::Destinations([application.clone()].into()))
    }

    /// Whether a call of ours, or of `customer`, which reaches what this account does, can be led to `target`; why not otherwise.
    pub(super) fn is_callable(&self, target: &str, customer: Option<i64>, reach: Option<&str>) -> Result<(), String> {
        let exchange = self.exchange.borrow();
        match exchange.directory.callee(target, reach, &exchange.programs) {
            Ok(Callee::Number(number)) if !exchange.table.leads_to(&number, customer) => {
                Err(format!("no route leads to {number}"))
            }
            Ok(Callee::NumberAt(gateway, number)) if !exchange.table.leads_through(gateway, &number, customer) => {
                Err(format!("no route leads to {number} through gateway {gateway}"))
            }
            Ok(
                Callee::Number(_)
                | Callee::NumberAt(..)
                | Callee::User(_)
                | Callee::Class5(_)
                | Callee::Gateway(..)
                | Callee::Did(_),
            ) => Ok(()),
            Err(refusal) => Err(refusal.reason),
        }
    }

    fn scripts(&self) -> Vec<ScriptInfo> {
        let programs = Arc::clone(&self.exchange.borrow().programs);
        programs
            .iter()
            .map(|program| ScriptInfo {
                name: program.name.clone(),
                id: program.id,
                uuid: program.uuid.clone(),
                file: program.file.clone(),
                script_type: format!("{:?}", program.script_type).to_lowercase(),
                app: program.settings.app.clone(),
                account: program.account.clone(),
                class5_destination: program.settings.class5_destination.as_ref().map(ToString::to_string),
                version: program.version.clone(),
                error: programs.problem(&program.file).map(ToString::to_string),
            })
            .collect()
    }

    fn readiness(&self) -> Readiness {
        let reason = if self.draining.is_some() {
            Some("draining".to_owned())
        } else if self.host.stats().workers_ready == 0 {
            Some("no script worker is ready".to_owned())
        } else if self.live >= self.max_calls {
            Some(format!("at capacity: {} calls", self.live))
        } else {
            None
        };
        Readiness { ready: reason.is_none(), reason, live_calls: self.live, most_calls: self.most }
    }

    /// Takes no more calls; lets those that live end for a while.
    pub(crate) fn drain(&mut self, grace: Duration) {
        let now = self.now().instant;
        let until = now.checked_add(grace).unwrap_or(now);
        tracing::info!(live = self.live, grace_s = grace.as_secs(), "shutting down: no more calls are taken");
        self.draining = Some(Draining { until, ended_rest: false });
        self.trunks.unregister(now);
    }

    /// Ends the calls that outlive the grace period.
    pub(super) fn drain_further(&mut self) {
        let now = self.now().instant;
        let Some(draining) = self.draining.as_mut().filter(|draining| !draining.ended_rest && draining.until <= now) else {
            return;
        };
        draining.ended_rest = true;
        let keys: Vec<CallKey> = self.calls.keys().copied().collect();
        for key in keys {
            if let Some(call) = self.calls.get_mut(&key) {
                let gone = (503, "Service Unavailable".to_owned());
                call.backend.end(now, Ending { refusal: gone.clone(), bye: Some(gone), by: EndedBy::Engine });
                self.touch(key);
            }
        }
    }

    /// Whether the engine may stop: it was told to, and nothing is left that the peers have not been told.
    pub(crate) fn is_drained(&self) -> bool {
        self.draining.is_some_and(|draining| {
            let quiet = self.live == 0 && self.exchange.borrow().endpoint.dialog_count() == 0;
            // A script has its time after the end of its call; a peer that is gone does not hold us up for ever.
            quiet && (self.calls.is_empty() || draining.ended_rest)
        })
    }
}

/// `sip_h_NAME` among the variables of a call of ours is a header field of its INVITE.
fn header_fields(vars: &Vars) -> Headers {
    let fields = vars.iter().filter_map(|(name, value)| Some((name.strip_prefix("sip_h_")?, value)));
    fields.filter(|(_, value)| !value.contains(char::is_control)).map(|(name, value)| (name.to_owned(), value.clone())).collect()
}

fn no_such_call(id: &str) -> EngineError {
    EngineError::NoSuchCall(id.to_owned())
}
