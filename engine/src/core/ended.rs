//! What a call leaves when it is over: news of it, its record, and, once its script is over as well, a past call.

use std::sync::Arc;

use lockstep_ctx_api::wire::EntryKind;
use lockstep_ctx_api::{CallEndedCause, CallFacts, CallState};
use serde_json::json;

use super::channel::ChannelEvent;
use super::engine_event::EngineEvent;
use super::exchange::CallKey;
use super::live_call::ScriptState;
use super::past_calls::PastCall;
use super::switch::Switch;
use crate::alerts::Alert;
use crate::cdr::{self, Cdr, CdrAttempt};

impl Switch {
    /// A call is over, for its backend; its script may still have something to say.
    pub(super) fn call_ended(&mut self, key: CallKey, cause: CallEndedCause) {
        let now = self.now();
        let Some(call) = self.calls.get_mut(&key) else { return };
        if call.ended.is_some() {
            return;
        }
        self.leave(key);
        let Some(call) = self.calls.get_mut(&key) else { return };
        call.facts.state = CallState::Ended;
        call.ended = Some((cause.clone(), now.unix_ms));
        call.timer = None;
        call.queue.ended(&cause);
        self.live = self.live.saturating_sub(1);
        self.counters.calls_ended += 1;
        let duration_ms = call.duration_ms(now.unix_ms);
        let id = call.facts.id.clone();
        if call.facts.answered_at.is_none() && is_failure(cause.code) {
            let CallFacts { from, to, did, direction, .. } = &call.facts;
            let text = format!("a call from {from} to {to} failed: {} {}", cause.code, cause.reason);
            let facts = json!({
                "call": id, "from": from, "to": to, "did": did, "direction": direction, "code": cause.code, "reason": cause.reason,
                "by": cause.by.name(), "script": call.script_name(),
            });
            self.events.raise(Alert::error("call-failed", &call.account, text, cause.code.to_string(), facts));
        }
        tracing::info!(call = %id, code = cause.code, reason = %cause.reason, by = cause.by.name(), duration_ms, "call ended");
        self.channel_ended(key, &cause);
        // Outcomes of what was done go to the script before the news of the end.
        while self.pump_queue(key) {}
        if let Some(call) = self.calls.get_mut(&key) {
            call.end_told = true;
            if let Some(run) = call.run {
                self.host.entry(now, run, EntryKind::CallEnded(cause.clone()));
            }
        }
        self.write_notes();
        self.keep_record(key, &cause);
        self.exchange.borrow_mut().forget_call(key);
        self.release_outside(key);
        self.channel_event(key, ChannelEvent::Destroyed);
        self.publish(|| EngineEvent::CallEnded { call: id, cause, duration_ms });
    }

    /// Has the record of a call kept, and its cost counted.
    fn keep_record(&mut self, key: CallKey, cause: &CallEndedCause) {
        let now = self.now();
        let Some(call) = self.calls.get(&key) else { return };
        let mut exchange = self.exchange.borrow_mut();
        let attempts = exchange.attempts.remove(&key).unwrap_or_default();
        let mut attempts: Vec<CdrAttempt> = attempts.into_iter().map(|(_, attempt)| attempt).collect();
        for attempt in &mut attempts {
            attempt.ended_at.get_or_insert(now.unix_ms);
        }
        let cost = cdr::total_cost(&attempts, now.unix_ms);
        if let (Some(customer), Some(cost)) = (call.facts.customer_id, cost) {
            exchange.guard.spend(now, customer, cost);
        }
        let origin = exchange.origins.get(&key).map(|(_, facts)| facts.callid.clone());
        let record = Cdr {
            call: call.facts.id.clone(),
            sip_call_id: origin.unwrap_or_default(),
            direction: call.facts.direction.clone(),
            from: call.facts.from.clone(),
            to: call.facts.to.clone(),
            did: call.facts.did.clone(),
            customer: call.facts.customer_id,
            account: call.account.to_string(),
            script: call.script_name(),
            script_ms: call.plan.script_ms,
            started_at: call.facts.started_at,
            ringing_at: call.channel.times.ringing,
            answered_at: call.facts.answered_at,
            ended_at: now.unix_ms,
            code: cause.code,
            reason: cause.reason.clone(),
            by: cause.by.name().to_owned(),
            attempts,
            cost,
        };
        exchange.world.keep_record(Box::new(record));
    }

    /// A call that is over and whose script is too becomes a past call. Asked only once everything scripts have said was
    /// heard: the last thing one says may be about its last operation.
    pub(super) fn remove_when_over(&mut self, key: CallKey) {
        self.let_formers_go(key);
        let over = self.calls.get(&key).is_some_and(|call| {
            let script_is_over = match call.script {
                ScriptState::Absent | ScriptState::Application(_) => true,
                ScriptState::Running => false,
                // Outcomes it did not await may still be news to it, and lead to a warning.
                ScriptState::Over(_) | ScriptState::OverUndecided(_) => call.run.is_none_or(|run| self.host.is_quiet(run)),
            };
            call.ended.is_some() && script_is_over && call.former.is_empty() && !self.exchange.borrow().awaits_figures(key)
        });
        if !over {
            return;
        }
        let now = self.now();
        if let Some(call) = self.calls.get_mut(&key) {
            call.queue.close();
        }
        while self.pump_queue(key) {}
        if let Some(call) = self.calls.get(&key) {
            self.publish(|| EngineEvent::CallOver { call: call.facts.id.clone() });
        }
        let Some(mut call) = self.calls.remove(&key) else { return };
        self.disarm(key, call.armed);
        self.ids.remove(&call.facts.id);
        let journal = match call.run {
            Some(run) => {
                self.runs.remove(&run);
                self.host.drop_run(now, run)
            }
            None => call.journal.take().map(|(_, journal)| journal),
        };
        let journal = journal.map(Arc::new);
        let summary = call.summary(now.unix_ms);
        let recordings = self.exchange.borrow_mut().recorded.remove(&key).unwrap_or_default();
        let (kept, run, program) = (call.kept, call.run, call.program.clone());
        let bundle = program.as_ref().map(|program| Arc::clone(&program.bundle));
        let past = PastCall { summary, timeline: Arc::new(call.into_timeline()), bundle, journal, recordings };
        self.keep_past(key, kept, run.zip(program.as_deref()), &past);
        self.past.push(past);
    }
}

/// Whether a call that ends with this reply has failed, rather than been refused by somebody.
fn is_failure(code: u16) -> bool {
    code == 408 || (500..600).contains(&code)
}
