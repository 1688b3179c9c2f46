//! Where a call leads that no script has: its destinations, one after another.

use std::sync::Arc;

use lockstep_ctx_api::op::{BridgeArgs, BridgeTarget, ContinueOn, Headers, Op};
use lockstep_ctx_api::{CallBackend, CallState, EndedBy, ErrorCode, OpId, OpResult, Outcome};
use lockstep_sip::message::StatusCode;

use super::call_facts::passed_on;
use super::directory::Callee;
use super::exchange::CallKey;
use super::switch::Switch;
use crate::backend::native::Ending;
use crate::config::Destination;

/// Our own reply, or that of others, to a call that goes in circles.
const TOO_MANY_HOPS: u16 = 483;
/// The turn of bridges that lead straight to a user or a number.
const NO_TURN: u32 = u32::MAX;

impl Switch {
    /// Leads a call to the next of its destinations; ends it when none is left.
    pub(super) fn next_destination(&mut self, key: CallKey) {
        loop {
            let now = self.now().instant;
            let Some(call) = self.calls.get_mut(&key) else { return };
            let Some(destination) = call.plan.destinations.pop_front() else {
                let failure = call.plan.failure.take().unwrap_or((404, "Not Found".to_owned()));
                let ending = Ending { refusal: failure.clone(), bye: Some(failure), by: EndedBy::Engine };
                call.backend.end(now, ending);
                return self.touch(key);
            };
            let target = match &destination {
                Destination::Class5(name) => {
                    let program = {
                        let exchange = self.exchange.borrow();
                        exchange.programs.led_to(name, exchange.reach_of(key)).map(Arc::clone)
                    };
                    match program {
                        Some(program) => return self.start_script(key, program),
                        None => {
                            let application = self.exchange.borrow().directory.application(name).cloned();
                            if let Some(application) = application {
                                call.plan.destinations.push_front(application);
                                continue;
                            }
                            tracing::warn!(call = %call.facts.id, destination = %name, "no script answers to this Class 5 destination");
                            continue;
                        }
                    }
                }
                Destination::User(target) | Destination::External(target) | Destination::Sip(target) => target.clone(),
                Destination::Socket { .. } => {
                    if self.call_application(key, &destination) {
                        return self.touch(key);
                    }
                    continue;
                }
            };
            call.plan.bridges += 1;
            let id = OpId { turn: NO_TURN, ordinal: call.plan.bridges };
            call.plan.bridge = Some(id);
            let more = !call.plan.destinations.is_empty();
            let added = &call.plan.everywhere.add;
            let callers = call.headers.get(..call.headers.len().saturating_sub(added.len())).unwrap_or_default();
            let exchange = self.exchange.borrow();
            let callee = exchange.directory.callee(&target, exchange.reach_of(key), &exchange.programs);
            let mut headers = passed_on(callers, call.plan.vouched, matches!(callee, Ok(Callee::User(_))));
            // The rows of a DID's script have them from Class 4.
            if !exchange.planned.contains_key(&key) {
                headers.extend(added.iter().cloned());
            }
            drop(exchange);
            call.backend.submit(now, id, Op::Bridge(direct_bridge(target, headers, more)));
            return self.touch(key);
        }
    }

    /// The bridge to a destination is over.
    pub(super) fn direct_bridge_over(&mut self, key: CallKey, result: OpResult) {
        // Where it could not even begin, they are still there.
        self.exchange.borrow_mut().planned.remove(&key);
        let Some(call) = self.calls.get_mut(&key) else { return };
        call.plan.bridge = None;
        match result {
            Ok(Outcome::Bridged(bridged)) => {
                let phrase = StatusCode::new(bridged.code).map_or("", StatusCode::default_reason);
                let told = call.backend.native_mut().and_then(|backend| backend.take_refusal());
                call.plan.failure = told.or_else(|| Some((bridged.code, phrase.to_owned())));
                // DIDs that lead to each other would be gone round again by each of their destinations.
                if bridged.code == TOO_MANY_HOPS {
                    call.plan.destinations.clear();
                }
            }
            Ok(_) => {}
            Err(error) if error.code == ErrorCode::CallEnded => {}
            Err(error) => {
                tracing::warn!(call = %call.facts.id, %error, "a destination of the DID cannot be called");
                call.plan.failure = Some((500, "Server Internal Error".to_owned()));
            }
        }
        if call.backend.state() != CallState::Ended {
            self.next_destination(key);
        }
    }
}

/// A bridge no script has asked for: a DID or an extension that leads straight to a user or a number.
fn direct_bridge(target: String, headers: Headers, more: bool) -> BridgeArgs {
    BridgeArgs {
        headers,
        continue_on: if more { ContinueOn::Fail } else { ContinueOn::Never },
        ..BridgeArgs::to(vec![BridgeTarget { uri: target, ..BridgeTarget::default() }])
    }
}
