//! Two calls that somebody outside joins (`uuid_bridge`): their parties hear each other until one of them goes.
//!
//! The call is taken from whoever has it for that time. What an operation of a script was doing stops; the operation itself stays
//! pending as one does that waits for the end of a bridge, and so does all that is queued.

use lockstep_ctx_api::{CallBackend as _, CallState, EndedBy, Event};

use super::channel::{Activity, ChannelEvent, Execution, says_yes};
use super::exchange::CallKey;
use super::executions::{Asker, OUTSIDE_TURN};
use super::handle::EngineError;
use super::live_call::{LiveCall, ScriptState};
use super::switch::Switch;
use crate::backend::native::Ending;
use crate::call::LegId;

/// What cut off an operation, where the call goes on afterwards.
pub(super) const TAKEN_BY: &str = "a bridge from outside";

/// The other call of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Joined {
    pub peer: CallKey,
    /// This one was named first: events about the pair are told of it.
    pub is_first: bool,
}

impl Switch {
    /// Joins two answered calls. What either was joined with before goes the way of a party whose bridge is over.
    pub(super) fn join_calls(&mut self, first: &str, second: &str) -> Result<(), EngineError> {
        let (a, b) = (self.joinable(first)?, self.joinable(second)?);
        if a == b {
            return Err(EngineError::SameCall);
        }
        if self.calls.get(&a).and_then(|call| call.joined).is_some_and(|joined| joined.peer == b) {
            return Ok(());
        }
        for key in [a, b] {
            self.take_out(key);
        }
        let at = self.now().unix_ms;
        for (key, peer, is_first) in [(a, b, true), (b, a, false)] {
            let other = self.calls.get(&peer).map(|call| call.channel.alone());
            let Some(call) = self.calls.get_mut(&key) else { continue };
            call.joined = Some(Joined { peer, is_first });
            call.channel.times.bridged = Some(at);
            call.channel.other = other;
            if let Some(backend) = call.backend.native_mut() {
                backend.set_joined(true);
            }
        }
        {
            let mut exchange = self.exchange.borrow_mut();
            let media = |key| exchange.links.get(&(key, LegId::A)).and_then(|link| link.media);
            if let (Some(a), Some(b)) = (media(a), media(b)) {
                exchange.world.join(a, b);
            }
        }
        tracing::info!(call = %first, other = %second, "joined with another call");
        self.channel_event(a, ChannelEvent::Bridged);
        self.tell_event(a, Event::Bridge { bleg: second.to_owned() });
        self.tell_event(b, Event::Bridge { bleg: first.to_owned() });
        self.touch(a);
        self.touch(b);
        Ok(())
    }

    fn joinable(&self, id: &str) -> Result<CallKey, EngineError> {
        let key = self.live_call(id)?;
        let Some(call) = self.calls.get(&key) else { return Err(EngineError::NoSuchCall(id.to_owned())) };
        if !call.backend.is_native() {
            return Err(EngineError::MediaElsewhere(id.to_owned()));
        }
        if call.facts.state != CallState::Answered {
            return Err(EngineError::NotAnswered(id.to_owned()));
        }
        Ok(key)
    }

    /// Stops what runs on a call, and keeps the rest from running.
    fn take_out(&mut self, key: CallKey) {
        self.leave(key);
        self.abandon_admission(key);
        let now = self.now().instant;
        let Some(call) = self.calls.get_mut(&key) else { return };
        // Whoever asked from outside is told at once; a script's operation waits.
        let running = call.channel.running.as_ref();
        let is_running = |activity: &Activity| running.is_some_and(|running| running.uuid == activity.uuid);
        let outside = call.activities.iter().find(|(id, activity)| id.turn == OUTSIDE_TURN && is_running(activity));
        if let Some(id) = outside.map(|(id, _)| *id) {
            call.queue.cancel(id);
        }
        call.queue.hold_back();
        if let Some(bridge) = call.plan.bridge.take() {
            call.backend.cancel(now, bridge);
        }
        call.plan.destinations.clear();
        self.release_outside(key);
        self.settle_call(key);
        if let Some(call) = self.calls.get_mut(&key) {
            call.channel.running = None;
        }
    }

    /// Parts a call from the one it is joined with, which then goes the way of a party whose bridge is over. What waits on the call
    /// itself waits on: it ends, or goes elsewhere.
    pub(super) fn leave(&mut self, key: CallKey) {
        if let Some(peer) = self.part(key) {
            self.after_join(peer);
        }
    }

    /// Parts two calls; the other one.
    pub(super) fn part(&mut self, key: CallKey) -> Option<CallKey> {
        let Joined { peer, is_first } = self.calls.get_mut(&key)?.joined.take()?;
        let (first, second) = if is_first { (key, peer) } else { (peer, key) };
        {
            let mut exchange = self.exchange.borrow_mut();
            let media = [key, peer].into_iter().find_map(|key| exchange.links.get(&(key, LegId::A))?.media);
            if let Some(media) = media {
                exchange.world.part(media);
            }
        }
        for (of, other) in [(first, second), (second, first)] {
            let bleg = self.calls.get(&other).map(|call| call.facts.id.clone()).unwrap_or_default();
            let Some(call) = self.calls.get_mut(&of) else { continue };
            call.joined = None;
            if let Some(backend) = call.backend.native_mut() {
                backend.set_joined(false);
            }
            if let Some(parted) = call.channel.other.take()
                && of == first
            {
                self.channel_event(of, ChannelEvent::Unbridged(parted));
            }
            self.tell_event(of, Event::Unbridge { bleg });
        }
        Some(peer)
    }

    /// The party that is left alone: its variables say what becomes of it, as clients know them; else it is hung up.
    fn after_join(&mut self, key: CallKey) {
        let now = self.now().instant;
        let Some(call) = self.calls.get_mut(&key).filter(|call| call.ended.is_none()) else { return };
        let id = call.facts.id.clone();
        let variable = |call: &LiveCall, name: &str| call.channel.vars.get(name).map(str::to_owned);
        let target = variable(call, "transfer_after_bridge").filter(|target| !target.is_empty());
        let parks = variable(call, "park_after_bridge").is_some_and(|value| says_yes(&value));
        if let Some(target) = target {
            // `NUMBER[:DIALPLAN[:CONTEXT]]`, where a number has no colon.
            let number =
                if target.starts_with(|c: char| c.is_ascii_digit() || c == '+') { target.split(':').next() } else { None };
            let Err(error) = self.transfer(&id, number.unwrap_or(&target), Asker::Variable) else { return };
            tracing::warn!(call = %id, %error, "the call cannot be transferred after its bridge");
            if let Some(call) = self.calls.get_mut(&key) {
                call.backend.end(now, left_alone());
            }
        } else if parks {
            // A script has the call back; where none has it, it waits.
            call.queue.go_on(TAKEN_BY);
            if call.script != ScriptState::Running {
                call.taken_over();
                let uuid = self.exchange.borrow_mut().uuid();
                if let Err(error) = self.execute(&id, Execution::park(uuid)) {
                    tracing::warn!(call = %id, %error, "the call cannot be parked after its bridge");
                }
            }
        } else {
            call.backend.end(now, left_alone());
        }
        self.touch(key);
    }

    /// Passes on a key that came by INFO; other keys go on with the audio.
    pub(super) fn pass_key_on(&mut self, key: CallKey, digit: char, duration_ms: u32) {
        let peer = self.calls.get(&key).and_then(|call| call.joined).map(|joined| joined.peer);
        let peer = peer.and_then(|peer| self.calls.get_mut(&peer));
        if let Some(backend) = peer.and_then(|peer| peer.backend.native_mut()) {
            backend.pass_key(LegId::A, digit, duration_ms);
        }
    }
}

/// How a call ends whose other party is gone.
fn left_alone() -> Ending {
    Ending { refusal: (480, "Temporarily Unavailable".to_owned()), bye: None, by: EndedBy::Callee }
}
