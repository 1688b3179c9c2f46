//! What watchers of the engine are told of calls, their legs and registrations, and the picture of each that is kept for them.

use std::net::IpAddr;
use std::sync::Arc;

use lockstep_ctx_api::op::Op;
use lockstep_ctx_api::{CallEndedCause, CallState, EndedBy, Event, OpClass, OpId, OpResult, Outcome};
use lockstep_sip::registrar::{Change, Removal};

use super::channel::{Activity, Channel, ChannelEvent, RunningRecording};
use super::engine_event::{EngineEvent, RegistrationChange};
use super::exchange::{CallKey, Exchange, LegKey};
use super::handle::{EngineError, GatewayStanding, Registration};
use super::switch::Switch;
use crate::call::{LegEvent, LegId};
use crate::config::DEFAULT_ACCOUNT;

/// A step in the life of a leg that a call dials.
#[derive(Clone, Debug)]
pub(crate) enum LegStep {
    Dialled { target: String, remote: Option<IpAddr> },
    Progress { code: u16 },
    Answered,
    Over { code: u16, reason: String },
}

impl Exchange {
    /// Notes what watchers want to know of an event on a dialled leg.
    pub(super) fn note_leg_event(&mut self, leg: LegKey, event: &LegEvent) {
        let step = match event {
            LegEvent::Progress { code, .. } if *code > 100 => LegStep::Progress { code: *code },
            LegEvent::Answered { .. } => LegStep::Answered,
            LegEvent::Failed { code, reason, .. } | LegEvent::Over { code, reason, .. } => {
                LegStep::Over { code: *code, reason: reason.clone() }
            }
            // For the record another attempt, for those who watch the same leg.
            LegEvent::Elsewhere { code, reason } => {
                return self.note_attempt(leg, &LegStep::Over { code: *code, reason: reason.clone() });
            }
            LegEvent::Progress { .. }
            | LegEvent::BranchOver
            | LegEvent::Acked { .. }
            | LegEvent::Offer { .. }
            | LegEvent::OfferAnswered { .. }
            | LegEvent::OfferRefused { .. }
            | LegEvent::MayOffer
            | LegEvent::Refreshed { .. }
            | LegEvent::Digit { .. } => return,
        };
        self.leg_step(leg, step);
    }

    /// A step in the life of a leg: for its attempt's record, and for those who watch.
    pub(super) fn leg_step(&mut self, leg: LegKey, step: LegStep) {
        self.note_attempt(leg, &step);
        if leg.1 != LegId::A {
            self.leg_steps.push_back((leg, step));
        }
    }

    fn note_attempt(&mut self, (call, leg): LegKey, step: &LegStep) {
        let at = self.now.unix_ms;
        let attempts = self.attempts.get_mut(&call).into_iter().flatten();
        let Some((_, attempt)) = attempts.rev().find(|(of, attempt)| *of == leg && attempt.ended_at.is_none()) else { return };
        match step {
            LegStep::Dialled { .. } => {}
            LegStep::Progress { .. } => {
                attempt.ringing_at.get_or_insert(at);
            }
            LegStep::Answered => {
                attempt.answered_at = Some(at);
                (attempt.code, attempt.reason) = (Some(200), Some("OK".to_owned()));
            }
            LegStep::Over { code, reason } => {
                attempt.ended_at = Some(at);
                if attempt.answered_at.is_none() {
                    (attempt.code, attempt.reason) = (Some(*code), Some(reason.clone()));
                }
            }
        }
    }
}

impl Switch {
    /// Tells watchers what happened to a call.
    pub(super) fn channel_event(&self, key: CallKey, what: ChannelEvent) {
        if let Some(call) = self.calls.get(&key) {
            self.publish(|| EngineEvent::Channel { channel: Arc::new(call.channel.clone()), what });
        }
    }

    fn leg_event_seen(&self, key: CallKey, leg: LegId, what: ChannelEvent) {
        if let Some(channel) = self.calls.get(&key).and_then(|call| call.legs.get(&leg)) {
            self.publish(|| EngineEvent::Channel { channel: Arc::new(channel.clone()), what });
        }
    }

    /// An event of a call: the picture of its channel follows, and watchers learn of it.
    pub(super) fn watch_event(&mut self, key: CallKey, event: &Event) {
        if matches!(event, Event::Bridge { .. }) {
            // The other leg has rung and was answered before.
            self.take_leg_steps();
        }
        let at = self.now().unix_ms;
        let Some(call) = self.calls.get_mut(&key) else { return };
        let channel = &mut call.channel;
        match event {
            Event::Facts(change) => {
                if change.codec.is_some() {
                    channel.codec.clone_from(&change.codec);
                }
                let Some(state) = change.state else { return };
                let answers = channel.running.as_ref().is_some_and(|running| running.operation == "answer");
                if state == CallState::Early && answers {
                    // Between our 200 and its ACK: audio flows, but nobody has asked for early media.
                    return;
                }
                channel.advance(state, at);
                let what = match state {
                    CallState::Ringing => ChannelEvent::Ringing,
                    CallState::Early => ChannelEvent::EarlyMedia,
                    CallState::Answered => ChannelEvent::Answered,
                    CallState::New | CallState::Ended => return,
                };
                let bridged = state == CallState::Answered && std::mem::take(&mut call.bridge_untold);
                self.channel_event(key, what);
                if bridged {
                    self.channel_event(key, ChannelEvent::Bridged);
                }
            }
            Event::Dtmf { digit, duration_ms, method } => {
                let what = ChannelEvent::Dtmf { digit: *digit, duration_ms: *duration_ms, method: *method };
                self.channel_event(key, what);
            }
            Event::Hold => {
                channel.hold(true, at);
                self.channel_event(key, ChannelEvent::Held);
            }
            Event::Unhold => {
                channel.hold(false, at);
                self.channel_event(key, ChannelEvent::Resumed);
            }
            Event::Bridge { bleg } => {
                if let Some(leg) = call.legs.values_mut().find(|leg| leg.uuid == *bleg) {
                    channel.times.bridged = Some(at);
                    leg.times.bridged = Some(at);
                    channel.other = Some(leg.alone());
                    leg.other = Some(channel.alone());
                }
                // Until the ACK comes to our 200, watchers do not know of the answer.
                call.bridge_untold = channel.state < CallState::Answered;
                if !call.bridge_untold {
                    self.channel_event(key, ChannelEvent::Bridged);
                }
            }
            Event::Unbridge { .. } => {
                let Some(other) = channel.other.take() else { return };
                let is_told = !std::mem::take(&mut call.bridge_untold);
                if let Some(leg) = call.legs.values_mut().find(|leg| leg.uuid == other.uuid) {
                    leg.other = None;
                }
                if is_told {
                    self.channel_event(key, ChannelEvent::Unbridged(other));
                }
            }
            Event::MediaTimeout { .. } => {}
        }
    }

    /// Tells watchers how the legs that calls dial are getting on.
    pub(super) fn take_leg_steps(&mut self) {
        let at = self.now().unix_ms;
        loop {
            let step = self.exchange.borrow_mut().leg_steps.pop_front();
            let Some(((key, leg), step)) = step else { return };
            let Some(call) = self.calls.get_mut(&key) else { continue };
            if let LegStep::Dialled { target, remote } = step {
                // The legs of a call of ours on which its callee rings are that call itself.
                let is_itself = call.channel.outbound && call.channel.times.answered.is_none();
                if is_itself || call.legs.contains_key(&leg) {
                    continue;
                }
                let mut channel = Channel::of_leg(call.leg_name(leg), &call.channel, &target, at);
                channel.network_addr = remote.map(|remote| remote.to_string()).unwrap_or_default();
                call.legs.insert(leg, channel);
                self.leg_event_seen(key, leg, ChannelEvent::Created);
                continue;
            }
            let Some(channel) = call.legs.get_mut(&leg) else { continue };
            match step {
                LegStep::Dialled { .. } => {}
                LegStep::Progress { code } => {
                    let (state, what) = match code {
                        183 => (CallState::Early, ChannelEvent::EarlyMedia),
                        _ => (CallState::Ringing, ChannelEvent::Ringing),
                    };
                    if channel.state < state {
                        channel.advance(state, at);
                        self.leg_event_seen(key, leg, what);
                    }
                }
                LegStep::Answered => {
                    channel.advance(CallState::Answered, at);
                    self.leg_event_seen(key, leg, ChannelEvent::Answered);
                }
                LegStep::Over { code, reason } => {
                    channel.advance(CallState::Ended, at);
                    channel.cause = Some(CallEndedCause { code, reason, by: EndedBy::Callee });
                    self.leg_event_seen(key, leg, ChannelEvent::HungUp);
                    self.leg_event_seen(key, leg, ChannelEvent::Destroyed);
                    if let Some(call) = self.calls.get_mut(&key) {
                        call.legs.remove(&leg);
                    }
                }
            }
        }
    }

    /// An operation has left the queue.
    pub(super) fn operation_started(&mut self, key: CallKey, id: OpId, op: &Op) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        if let Op::Set(args) = op
            && !args.skip_write
        {
            call.channel.set(&args.key, args.value.as_deref());
        }
        let activity = match call.outside.activity(id) {
            Some(activity) => activity,
            None if op.class() != OpClass::Host && self.events.is_watched() => {
                let (application, data) = (None, super::timeline_log::summary(op));
                let set = if let Op::Set(args) = op { args.value.as_ref().map_or(0, String::len) } else { 0 };
                let octets = data.len() + set;
                Arc::new(Activity { uuid: id.to_string(), operation: op.name(), application, data, octets })
            }
            None => return,
        };
        call.activities.insert(id, Arc::clone(&activity));
        if op.class() != OpClass::Immediate {
            call.channel.running = Some(Arc::clone(&activity));
        }
        self.channel_event(key, ChannelEvent::Started(activity));
    }

    /// An operation is over; what comes of it is not known to its sender yet.
    pub(super) fn operation_settled(&mut self, key: CallKey, id: OpId, result: &OpResult) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        match result {
            Ok(Outcome::Recording { file }) => {
                call.channel.recordings.push(RunningRecording { file: file.clone(), started_by: id });
            }
            Ok(Outcome::Recorded { file, .. }) => call.channel.recordings.retain(|running| running.file != *file),
            Ok(_) | Err(_) => {}
        }
        let consequences = call.outside.consequences(id, result);
        for (name, value) in consequences.vars {
            call.channel.set(&name, value.as_deref());
        }
        let Some(activity) = call.activities.remove(&id) else { return };
        let result = Arc::new(result.clone());
        self.channel_event(
            key,
            ChannelEvent::Completed { activity: Arc::clone(&activity), result, response: consequences.response },
        );
        if let Some(call) = self.calls.get_mut(&key) {
            call.channel.running.take_if(|running| running.uuid == activity.uuid);
        }
    }

    /// A call is over; its operations are not settled yet.
    pub(super) fn channel_ended(&mut self, key: CallKey, cause: &CallEndedCause) {
        let at = self.now().unix_ms;
        let Some(call) = self.calls.get_mut(&key) else { return };
        call.channel.hold(false, at);
        call.channel.advance(CallState::Ended, at);
        call.channel.cause = Some(cause.clone());
        self.channel_event(key, ChannelEvent::HungUp);
    }

    /// Tells watchers and the log of devices that came and went.
    pub(super) fn registrations_changed(&self, changes: Vec<Change>) {
        for change in changes {
            tracing::info!(?change, "registration");
            let (user, contact, change) = match change {
                Change::Added { address, contact } => (address, contact, RegistrationChange::Registered),
                Change::Refreshed { address, contact } => (address, contact, RegistrationChange::Refreshed),
                Change::Removed { address, contact, why: Removal::Unregistered } => {
                    (address, contact, RegistrationChange::Unregistered)
                }
                Change::Removed { address, contact, why: Removal::Expired | Removal::FlowClosed | Removal::Displaced } => {
                    (address, contact, RegistrationChange::Expired)
                }
            };
            self.publish(|| EngineEvent::Registration { user, contact, change });
        }
    }

    /// No more events will come.
    pub(crate) fn close_events(&self) {
        self.events.close();
    }

    pub(super) fn find_channel(&self, uuid: &str) -> Result<Arc<Channel>, EngineError> {
        if let Ok(key) = self.live_call(uuid)
            && let Some(call) = self.calls.get(&key)
        {
            return Ok(Arc::new(call.channel.clone()));
        }
        // The legs of a call are named after it.
        let leg = uuid.rsplit_once('-').and_then(|(call, _)| self.calls.get(&self.live_call(call).ok()?));
        let leg = leg.and_then(|call| call.legs.values().find(|leg| leg.uuid == uuid));
        leg.map(|leg| Arc::new(leg.clone())).ok_or_else(|| EngineError::NoSuchCall(uuid.to_owned()))
    }

    pub(super) fn all_channels(&self) -> Vec<Arc<Channel>> {
        let live = self.calls.values().filter(|call| call.ended.is_none());
        live.flat_map(|call| std::iter::once(&call.channel).chain(call.legs.values())).cloned().map(Arc::new).collect()
    }

    pub(super) fn set_variable(&mut self, id: &str, name: &str, value: Option<&str>) -> Result<(), EngineError> {
        let key = self.live_call(id)?;
        let Some(call) = self.calls.get_mut(&key) else { return Err(EngineError::NoSuchCall(id.to_owned())) };
        call.make_room(name, value).map_err(|error| EngineError::AtCapacity(error.message))?;
        let now = self.exchange.borrow().now.instant;
        call.channel.set(name, value);
        call.backend.set_variable(now, name, value);
        Ok(())
    }

    pub(super) fn registered(&self) -> Vec<Registration> {
        let exchange = self.exchange.borrow();
        let now = exchange.now.instant;
        let bindings = exchange.registrar.iter().filter(|binding| binding.expires_at > now);
        bindings
            .map(|binding| Registration {
                account: exchange.directory.user(&binding.address).map_or(DEFAULT_ACCOUNT, |user| &user.account).to_owned(),
                user: binding.address.clone(),
                contact: binding.contact.uri.to_string(),
                remote: binding.source.remote,
                user_agent: binding.user_agent.clone(),
                expires_s: binding.expires_at.saturating_duration_since(now).as_secs(),
            })
            .collect()
    }

    /// How gateways stand.
    pub(super) fn gateways(&self) -> Vec<GatewayStanding> {
        let exchange = self.exchange.borrow();
        let now = exchange.now.instant;
        let ids = exchange.directory.gateways().map(|entry| entry.config.id);
        ids.map(|id| GatewayStanding {
            id,
            registration: self.trunks.standing(id, now),
            is_up: exchange.directory.is_up(now, id),
        })
        .collect()
    }
}
