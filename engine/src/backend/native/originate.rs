//! Calls of ours: every way to reach the callee is tried, and the leg that answers becomes leg A.
//!
//! Until then they are far legs like those of a bridge: a user rings at all bindings, a number tries its gateways in turn,
//! going on unless the callee has spoken.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use lockstep_ctx_api::event::FactsChange;
use lockstep_ctx_api::op::Headers;
use lockstep_ctx_api::{BackendOutput, CallEndedCause, CallState, EndedBy, Event};

use super::bridge::fields_of;
use super::end::{answered_elsewhere, reason_header};
use super::{NativeBackend, NativeSetup};
use crate::backend::set_headers::narrowed;
use crate::call::{Dial, Hunt, Leg, LegEvent, LegId, Lookup, LookupId, Refusal, RouteId, Routes, Switchboard, is_callees_word};

/// A callee who has not answered.
#[derive(Debug)]
pub(super) enum Calling {
    /// The ways to reach them are looked up.
    LookingUp { lookup: LookupId, headers: Headers },
    Ringing {
        /// Fields of every leg's INVITE.
        headers: Headers,
        /// Routes for when those under way fail.
        further: VecDeque<RouteId>,
        /// How long each route but the last may ring.
        ring: Option<Duration>,
        /// When the route under way is given up for the next.
        give_up_at: Option<Instant>,
        /// What the last route came to.
        failure: Option<CallEndedCause>,
    },
}

impl<S: Switchboard> NativeBackend<S> {
    /// A call of ours to `target`, whose INVITEs carry `headers` and what the target's URI adds. How it goes comes as facts:
    /// `Answered` when it is, or its end.
    pub fn originate(now: Instant, board: S, setup: NativeSetup, target: &str, headers: Headers) -> Self {
        let mut backend = Self::new(board, setup, Leg::outbound(LegId::A), true);
        let lookup = backend.next_lookup;
        backend.next_lookup = LookupId(lookup.0 + 1);
        backend.calling = Some(Calling::LookingUp { lookup, headers: narrowed(headers, &fields_of(target)) });
        if let Lookup::Ready(result) = backend.board.resolve(lookup, target, None) {
            backend.callee_found(now, result);
        }
        backend.settle(now);
        backend
    }

    /// Whether a look-up is that of the callee.
    pub(super) fn looks_up_callee(&self, lookup: LookupId) -> bool {
        matches!(self.calling, Some(Calling::LookingUp { lookup: waiting, .. }) if waiting == lookup)
    }

    /// The ways to reach the callee are known, or there are none.
    pub(super) fn callee_found(&mut self, now: Instant, routes: Result<Routes, Refusal>) {
        let Some(Calling::LookingUp { headers, .. }) = self.calling.take() else { return };
        let Routes { routes, hunt } = match routes {
            Ok(routes) => routes,
            Err(Refusal { code, reason, .. }) => return self.finish(CallEndedCause { code, reason, by: EndedBy::Engine }),
        };
        let (together, further, ring) = match hunt {
            Hunt::Together => (routes, VecDeque::new(), None),
            Hunt::InTurn { ring } => (Vec::new(), VecDeque::from(routes), ring),
        };
        self.calling = Some(Calling::Ringing { headers, further, ring, give_up_at: None, failure: None });
        for route in together {
            self.dial_callee(route);
        }
        self.dial_further(now);
    }

    /// Dials the next route when none is under way; the call is over when none is left.
    fn dial_further(&mut self, now: Instant) {
        while self.far.is_empty() {
            let Some(Calling::Ringing { further, ring, give_up_at, failure, .. }) = &mut self.calling else { return };
            let Some(route) = further.pop_front() else {
                let nobody = || CallEndedCause { code: 480, reason: "Temporarily Unavailable".to_owned(), by: EndedBy::Callee };
                let cause = failure.take().unwrap_or_else(nobody);
                self.calling = None;
                return self.finish(cause);
            };
            *give_up_at = ring.filter(|_| !further.is_empty()).and_then(|ring| now.checked_add(ring));
            self.dial_callee(route);
        }
    }

    /// When the route under way has rung long enough.
    pub(super) fn callee_timeout(&self) -> Option<Instant> {
        match &self.calling {
            Some(Calling::Ringing { give_up_at, .. }) => *give_up_at,
            Some(Calling::LookingUp { .. }) | None => None,
        }
    }

    /// Gives up the route that has rung long enough.
    pub(super) fn handle_callee_timeout(&mut self, now: Instant) {
        if self.callee_timeout().is_some_and(|at| at <= now) {
            self.give_up_callee(&Headers::new());
            self.route_failed(408, "Request Timeout".to_owned(), EndedBy::Callee);
            self.dial_further(now);
        }
    }

    fn dial_callee(&mut self, route: RouteId) {
        let Some(Calling::Ringing { headers, .. }) = &self.calling else { return };
        let dial = Dial { route, caller_id: None, from_name: None, headers: headers.clone() };
        let id = self.next_leg;
        self.next_leg = LegId(id.0 + 1);
        let mut leg = Leg::outbound(id);
        match leg.dial(&mut self.board, None, self.setup.codecs.clone(), dial) {
            Ok(()) => drop(self.far.insert(id, leg)),
            Err(error) => {
                leg.over(&mut self.board);
                self.route_failed(503, error.message, EndedBy::Engine);
            }
        }
    }

    fn route_failed(&mut self, code: u16, reason: String, by: EndedBy) {
        if let Some(Calling::Ringing { further, failure, .. }) = &mut self.calling {
            if is_callees_word(code) {
                further.clear();
            }
            *failure = Some(CallEndedCause { code, reason, by });
        }
    }

    /// Something happened on a leg of a callee who has not answered.
    pub(super) fn callee_event(&mut self, now: Instant, id: LegId, event: LegEvent) {
        let Some(leg) = self.far.get_mut(&id) else { return };
        match event {
            LegEvent::Progress { code, sdp } => {
                leg.progress(&mut self.board, sdp.filter(|_| code > 100));
                if code > 100 {
                    self.callee_rings();
                }
            }
            LegEvent::Answered { branch, sdp } => match leg.answered(&mut self.board, branch, sdp.as_deref()) {
                Ok(()) => self.callee_answered(now, id),
                Err(error) => {
                    leg.hang_up(&mut self.board, vec![reason_header(488, &error.to_string())]);
                    self.callee_leg_over(now, id, (488, error.to_string(), EndedBy::Engine));
                }
            },
            LegEvent::Failed { code, reason, by_peer } | LegEvent::Over { code, reason, by_peer } => {
                let by = if by_peer { EndedBy::Callee } else { EndedBy::Engine };
                self.callee_leg_over(now, id, (code, reason, by));
            }
            LegEvent::Elsewhere { .. } => {
                if let Err(error) = leg.dial_again(&mut self.board) {
                    self.callee_leg_over(now, id, (503, error.message, EndedBy::Engine));
                }
            }
            LegEvent::Offer { offer, branch, sdp } => leg.offered(&mut self.board, offer, branch, sdp.as_deref()),
            LegEvent::BranchOver
            | LegEvent::Acked { .. }
            | LegEvent::Digit { .. }
            | LegEvent::OfferAnswered { .. }
            | LegEvent::OfferRefused { .. }
            | LegEvent::MayOffer
            | LegEvent::Refreshed { .. } => {}
        }
    }

    fn callee_rings(&mut self) {
        if self.told.0 == CallState::New {
            self.told.0 = CallState::Ringing;
            let change = FactsChange { state: Some(CallState::Ringing), ..FactsChange::default() };
            self.outputs.push_back(BackendOutput::Event(Event::Facts(change)));
        }
    }

    fn callee_answered(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.far.remove(&id) else { return };
        self.calling = None;
        self.give_up_callee(&answered_elsewhere());
        self.board.adopt(id);
        self.a = leg.into_near();
        self.a.block(&mut self.board, self.digits.blocked());
        self.tell_facts(now);
    }

    fn callee_leg_over(&mut self, now: Instant, id: LegId, (code, reason, by): (u16, String, EndedBy)) {
        if let Some(mut leg) = self.far.remove(&id) {
            leg.over(&mut self.board);
        }
        self.route_failed(code, reason, by);
        // 6xx speaks for the callee, wherever else it rings (RFC 3261 16.7 step 5).
        if code >= 600 {
            self.give_up_callee(&Headers::new());
        }
        self.dial_further(now);
    }

    /// Ends every leg on which the callee has not answered.
    pub(super) fn give_up_callee(&mut self, headers: &Headers) {
        for (_, mut leg) in std::mem::take(&mut self.far) {
            leg.hang_up(&mut self.board, headers.clone());
        }
    }
}
