//! Calls of ours: every way to reach the callee is tried, and the leg that answers becomes leg A.
//!
//! Until then they are far legs like those of a bridge: a user rings at all bindings, a number tries its gateways in turn,
//! going on unless the callee has spoken.

use std::collections::VecDeque;
use std::time::Instant;

use lockstep_ctx_api::event::FactsChange;
use lockstep_ctx_api::op::Headers;
use lockstep_ctx_api::{BackendOutput, CallEndedCause, CallState, EndedBy, Event};

use super::end::{answered_elsewhere, reason_header};
use super::{NativeBackend, NativeSetup};
use crate::call::{Dial, Hunt, Leg, LegEvent, LegId, Lookup, LookupId, Refusal, RouteId, Routes, Switchboard, is_callees_word};

/// A callee who has not answered.
#[derive(Debug)]
pub(super) enum Calling {
    /// The ways to reach them are looked up.
    LookingUp(LookupId),
    Ringing {
        /// Routes for when those under way fail.
        further: VecDeque<RouteId>,
        /// What the last route came to.
        failure: Option<(u16, String)>,
    },
}

impl<S: Switchboard> NativeBackend<S> {
    /// A call of ours to `target`. How it goes comes as facts: `Answered` when it is, or its end.
    pub fn originate(now: Instant, board: S, setup: NativeSetup, target: &str) -> Self {
        let mut backend = Self::new(board, setup, Leg::outbound(LegId::A), true);
        let lookup = backend.next_lookup;
        backend.next_lookup = LookupId(lookup.0 + 1);
        backend.calling = Some(Calling::LookingUp(lookup));
        if let Lookup::Ready(result) = backend.board.resolve(lookup, target, None) {
            backend.callee_found(result);
        }
        backend.settle(now);
        backend
    }

    /// Whether a look-up is that of the callee.
    pub(super) fn looks_up_callee(&self, lookup: LookupId) -> bool {
        matches!(self.calling, Some(Calling::LookingUp(waiting)) if waiting == lookup)
    }

    /// The ways to reach the callee are known, or there are none.
    pub(super) fn callee_found(&mut self, routes: Result<Routes, Refusal>) {
        let Routes { routes, hunt } = match routes {
            Ok(routes) => routes,
            Err(Refusal { code, reason, .. }) => return self.callee_unreachable(code, reason, EndedBy::Engine),
        };
        let mut further = VecDeque::from(routes);
        let together = if hunt == Hunt::Together { std::mem::take(&mut further) } else { VecDeque::new() };
        self.calling = Some(Calling::Ringing { further, failure: None });
        for route in together {
            self.dial_callee(route);
        }
        self.dial_further();
    }

    /// Dials the next route when none is under way; the call is over when none is left.
    fn dial_further(&mut self) {
        while self.far.is_empty() {
            let Some(Calling::Ringing { further, failure }) = &mut self.calling else { return };
            let Some(route) = further.pop_front() else {
                let (code, reason) = failure.take().unwrap_or((480, "Temporarily Unavailable".to_owned()));
                return self.callee_unreachable(code, reason, EndedBy::Callee);
            };
            self.dial_callee(route);
        }
    }

    fn dial_callee(&mut self, route: RouteId) {
        let id = self.next_leg;
        self.next_leg = LegId(id.0 + 1);
        let dial = Dial { route, caller_id: None, from_name: None, headers: Headers::new() };
        let mut leg = Leg::outbound(id);
        match leg.dial(&mut self.board, None, self.setup.codecs.clone(), dial) {
            Ok(()) => drop(self.far.insert(id, leg)),
            Err(error) => {
                leg.over(&mut self.board);
                self.route_failed(503, error.message);
            }
        }
    }

    fn route_failed(&mut self, code: u16, reason: String) {
        if let Some(Calling::Ringing { further, failure }) = &mut self.calling {
            if is_callees_word(code) {
                further.clear();
            }
            *failure = Some((code, reason));
        }
    }

    fn callee_unreachable(&mut self, code: u16, reason: String, by: EndedBy) {
        self.calling = None;
        self.finish(CallEndedCause { code, reason, by });
    }

    /// Something happened on a leg of a callee who has not answered.
    pub(super) fn callee_event(&mut self, now: Instant, id: LegId, event: LegEvent) {
        let Some(leg) = self.far.get_mut(&id) else { return };
        match event {
            LegEvent::Progress { code, sdp } => {
                leg.progress(&mut self.board, sdp.as_deref().filter(|_| code > 100));
                if code > 100 {
                    self.callee_rings();
                }
            }
            LegEvent::Answered { sdp } => match leg.answered(&mut self.board, sdp.as_deref()) {
                Ok(()) => self.callee_answered(now, id),
                Err(error) => {
                    leg.hang_up(&mut self.board, vec![reason_header(488, &error.to_string())]);
                    self.callee_leg_over(id, 488, error.to_string());
                }
            },
            LegEvent::Failed { code, reason } | LegEvent::Over { code, reason, .. } => self.callee_leg_over(id, code, reason),
            LegEvent::Offer { offer, sdp } => drop(leg.offered(&mut self.board, offer, sdp.as_deref())),
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
        self.tell_facts(now);
    }

    fn callee_leg_over(&mut self, id: LegId, code: u16, reason: String) {
        if let Some(mut leg) = self.far.remove(&id) {
            leg.over(&mut self.board);
        }
        self.route_failed(code, reason);
        // 6xx speaks for the callee, wherever else it rings (RFC 3261 16.7 step 5).
        if code >= 600 {
            self.give_up_callee(&Headers::new());
        }
        self.dial_further();
    }

    /// Ends every leg on which the callee has not answered.
    pub(super) fn give_up_callee(&mut self, headers: &Headers) {
        for (_, mut leg) in std::mem::take(&mut self.far) {
            leg.hang_up(&mut self.board, headers.clone());
        }
    }
}
