//! Numbers that calls on a FreeSWITCH dial: the same limits, routes and scripts as for calls of our own, and the same records.

use super::exchange::CallKey;
use super::switch::Switch;
use super::{outgoing, routing};
use crate::backend::freeswitch::{RouteAnswer, RouteRequest};
use crate::call::{LegId, LookupId};
use crate::cdr::CdrAttempt;

impl Switch {
    /// Does what the backend of a channel wants of routes and records.
    pub(super) fn serve_channel(&mut self, key: CallKey) {
        loop {
            let Some((backend, _)) = self.calls.get_mut(&key).and_then(|call| call.backend.free_switch_mut()) else { return };
            let Some(request) = backend.take_route_request() else { return };
            match request {
                RouteRequest::Find { lookup, target, caller_id } => {
                    let mut exchange = self.exchange.borrow_mut();
                    let answer = routing::answer(&mut exchange, key, lookup, &target, caller_id.as_deref());
                    drop(exchange);
                    self.channel_routed(key, lookup, answer);
                }
                RouteRequest::Forget(lookup) => self.exchange.borrow_mut().forget_lookup(key, lookup, &[]),
                trial => self.note_trial(key, trial),
            }
        }
    }

    /// It is known where a call on a FreeSWITCH goes on.
    pub(super) fn channel_routed(&mut self, key: CallKey, lookup: LookupId, answer: Option<RouteAnswer>) {
        let now = self.now().instant;
        let backend = self.calls.get_mut(&key).and_then(|call| call.backend.free_switch_mut());
        if let (Some(answer), Some((backend, _))) = (answer, backend) {
            backend.routed(now, lookup, answer);
            self.touch(key);
        }
    }

    /// What became of a gateway, for the call's record.
    fn note_trial(&mut self, key: CallKey, trial: RouteRequest) {
        let mut exchange = self.exchange.borrow_mut();
        let unix_ms = exchange.now.unix_ms;
        let mut change = |trial: u32, change: &dyn Fn(&mut CdrAttempt)| {
            let attempts = exchange.attempts.get_mut(&key).into_iter().flatten();
            attempts.filter(|(leg, _)| *leg == LegId(trial)).for_each(|(_, attempt)| change(attempt));
        };
        match trial {
            RouteRequest::Tried { lookup, trial, gateway, number, cli, price } => {
                let cli = Some(cli).filter(|cli| !cli.is_empty());
                let attempt = CdrAttempt { gateway, number, cli, started_at: unix_ms, price, ..CdrAttempt::default() };
                outgoing::tried(&mut exchange, (key, LegId(trial)), attempt, lookup);
            }
            RouteRequest::Answered { trial } => {
                change(trial, &|attempt| attempt.answered_at = Some(unix_ms));
                if let Some(customer) = exchange.customers.get(&key).copied() {
                    exchange.guard.joined(customer, key);
                }
            }
            RouteRequest::Over { trial, code, reason } => change(trial, &|attempt| {
                attempt.ended_at = Some(unix_ms);
                (attempt.code, attempt.reason) = (Some(code), Some(reason.clone()));
            }),
            RouteRequest::Find { .. } | RouteRequest::Forget(_) => {}
        }
    }
}
