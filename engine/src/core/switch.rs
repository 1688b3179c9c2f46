//! The core: everything that happens to calls, one input after another.
//!
//! ```text
//!   SIP packets ─► Endpoint ─┐                       ┌─► SIP packets
//!   media reports ───────────┤                       ├─► orders to media threads
//!   audio, names, HTTP ──────┼──► Switch ── calls ───┼─► look-ups, loads, HTTP
//!   script turns ────────────┤    (pump)             ├─► entries to scripts
//!   API requests ────────────┘                       └─► events, timelines
//! ```
//!
//! An input is handed in, then [`Switch::pump`] carries on until nothing is left to do: no call ever waits for another, and
//! nothing in here waits at all. Time is a parameter.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_ctx_api::wire::{LogLevel, LogLine, RunId};
use lockstep_media::io::{LegId as MediaLeg, PoolEvent};
use lockstep_media::stream::StreamStats;
use lockstep_sip::endpoint::Output;
use lockstep_sip::net::{FlowId, Received, TransmitId};

use super::engine_event::EngineEvent;
use super::event_log::EventLog;
use super::exchange::{CallKey, Exchange, Purpose};
use super::freeswitch::Connections;
use super::keeping::Keeping;
use super::live_call::LiveCall;
use super::messages::Messages;
use super::past_calls::PastCalls;
use super::probes::Probes;
use super::refusals::Refusals;
use super::routing;
use super::timeline::TimelineEntry;
use super::trunks::Trunks;
use super::world::{Arrival, Arrived, recording_error};
use crate::backend::native::RecordingEvent;
use crate::config::DEFAULT_ACCOUNT;
use crate::journals::Journals;
use crate::script::{Moment, ProgramSet, ScriptHost};

/// The most that a datagram of UDP over IPv4 carries, in bytes.
const MAX_DATAGRAM: usize = 65_507;
/// A message that no datagram holds is logged once in so long: whoever has us answer in vain must not fill the log.
const OVERSIZED_WINDOW: Duration = Duration::from_secs(60);

/// What the switch has counted since it started.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub calls_taken: u64,
    pub calls_placed: u64,
    pub calls_ended: u64,
    pub operations: u64,
    pub operations_failed: u64,
    pub script_errors: u64,
    pub digits: u64,
}

/// Shutting down: no call is taken any more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draining {
    /// Calls that still live then are ended.
    pub until: Instant,
    pub ended_rest: bool,
}

/// See the module.
pub(crate) struct Switch {
    pub(super) exchange: Rc<RefCell<Exchange>>,
    pub(super) host: Box<dyn ScriptHost>,
    /// Boxed: a tree moves its values whenever one next to them comes or goes.
    pub(super) calls: BTreeMap<CallKey, Box<LiveCall>>,
    pub(super) ids: HashMap<String, CallKey>,
    pub(super) runs: HashMap<RunId, CallKey>,
    pub(super) last_call: u64,
    /// Calls that are not over.
    pub(super) live: usize,
    /// The most there ever were at once.
    pub(super) most: usize,
    pub(super) max_calls: usize,
    pub(super) past: PastCalls,
    /// Journals on their way to disk.
    pub(super) keeping: Keeping,
    pub(super) trunks: Trunks,
    pub(super) probes: Probes,
    pub(super) messages: Messages,
    /// Calls on media servers of others.
    pub(super) connections: Connections,
    pub(super) counters: Counters,
    pub(super) refusals: Refusals,
    pub(super) draining: Option<Draining>,
    pub(super) ringback: String,
    timers: BTreeSet<(Instant, CallKey)>,
    dirty: BTreeSet<CallKey>,
    /// Calls that may be over for good.
    pub(super) over: BTreeSet<CallKey>,
    sip_deadline: Option<Instant>,
    /// Until then nothing more is logged of messages that are too large.
    oversized_until: Option<Instant>,
    pub(super) events: EventLog,
}

/// What a switch is made of.
pub(crate) struct SwitchParts {
    pub exchange: Exchange,
    pub host: Box<dyn ScriptHost>,
    pub events: EventLog,
    /// Calls at once.
    pub max_calls: usize,
    /// What callers hear while the far end rings without audio of its own.
    pub ringback: String,
    /// Where journals are kept.
    pub journals: Option<Journals>,
}

impl Switch {
    /// A switch without calls. Gateways are looked up and registered with from the first [`pump`](Self::pump) on.
    pub(crate) fn new(parts: SwitchParts) -> Self {
        let SwitchParts { exchange, host, events, max_calls, ringback, journals } = parts;
        let mut exchange = exchange;
        let trunks = Trunks::new(&mut exchange);
        let probes = Probes::new(&exchange);
        Self {
            exchange: Rc::new(RefCell::new(exchange)),
            host,
            calls: BTreeMap::new(),
            ids: HashMap::new(),
            runs: HashMap::new(),
            last_call: 0,
            live: 0,
            most: 0,
            max_calls,
            past: PastCalls::default(),
            keeping: Keeping::new(journals),
            trunks,
            probes,
            messages: Messages::default(),
            connections: Connections::default(),
            counters: Counters::default(),
            refusals: Refusals::default(),
            draining: None,
            ringback,
            timers: BTreeSet::new(),
            dirty: BTreeSet::new(),
            over: BTreeSet::new(),
            sip_deadline: None,
            oversized_until: None,
            events,
        }
    }

    /// Sets the time for what follows.
    pub(crate) fn set_time(&mut self, now: Moment) {
        self.exchange.borrow_mut().now = now;
    }

    /// Takes calls from media servers from now on. `has_hosts`: there are some we connect to ourselves.
    pub(crate) fn accept_channels(&mut self, settings: crate::backend::freeswitch::Settings, has_hosts: bool) {
        self.connections = Connections::new(settings, has_hosts);
    }

    pub(super) fn now(&self) -> Moment {
        self.exchange.borrow().now
    }

    /// A SIP message arrived.
    pub(crate) fn received(&mut self, received: Received<'_>) {
        let asks_for_a_call = received.bytes.trim_ascii_start().starts_with(b"INVITE");
        let no_room = if asks_for_a_call { self.admit_or_overload(&received.source) } else { None };
        let refused = {
            let mut exchange = self.exchange.borrow_mut();
            let now = exchange.now.instant;
            exchange.keep_known_peer(&received.source);
            let before = exchange.endpoint.stats().overloaded;
            exchange.endpoint.handle_received(now, received);
            exchange.endpoint.stats().overloaded - before
        };
        if let Some(why) = no_room {
            self.refused_without_state(refused, &why);
        }
    }

    /// A SIP message could not be delivered.
    pub(crate) fn send_failed(&mut self, transmit: TransmitId) {
        let mut exchange = self.exchange.borrow_mut();
        let now = exchange.now.instant;
        exchange.endpoint.handle_transport_error(now, transmit);
    }

    /// A connection has ended.
    pub(crate) fn flow_closed(&mut self, flow: FlowId) {
        let mut exchange = self.exchange.borrow_mut();
        let now = exchange.now.instant;
        exchange.endpoint.handle_flow_closed(now, flow);
        let changes = exchange.registrar.handle_flow_closed(flow);
        drop(exchange);
        self.registrations_changed(changes);
    }

    /// The media threads report.
    pub(crate) fn media_report(&mut self, report: PoolEvent) {
        let (leg, what) = match report {
            // Handled at the time the core learns of it: times that run backwards would confuse every timer.
            PoolEvent::Media { leg, event, .. } => (leg, Ok(event)),
            PoolEvent::RecordingStarted { leg, id } => (leg, Err((id, RecordingEvent::Started))),
            PoolEvent::RecordingSaved { leg, id, path, duration } => {
                self.exchange.borrow_mut().world.recorded(&path);
                (leg, Err((id, RecordingEvent::Saved { duration })))
            }
            PoolEvent::RecordingFailed { leg, id, error } => {
                // Told here, once: no operation may wait for it, as for a bridge's, and a script may not ask.
                let call =
                    self.exchange.borrow().media.get(&leg).map(|(call, _)| *call).filter(|call| self.calls.contains_key(call));
                match call {
                    Some(call) => {
                        self.log_line(call, &LogLine { level: LogLevel::Warn, text: format!("record: {error}"), at: None })
                    }
                    None => tracing::warn!(%error, "a recording failed"),
                }
                (leg, Err((id, RecordingEvent::Failed(recording_error(&error)))))
            }
            PoolEvent::Closed { leg, stats } => return self.media_closed(leg, &stats),
        };
        let Some((key, leg)) = self.exchange.borrow().media.get(&leg).copied() else { return };
        let now = self.now().instant;
        let Some(backend) = self.calls.get_mut(&key).and_then(|call| call.backend.native_mut()) else { return };
        match what {
            Ok(event) => backend.media_event(now, leg, event),
            Err((id, event)) => backend.recording_event(id, event),
        }
        self.dirty.insert(key);
    }

    /// The media of a leg are closed: how they came through goes into the timeline, which the call has waited for.
    fn media_closed(&mut self, media: MediaLeg, stats: &StreamStats) {
        let Some((key, leg)) = self.exchange.borrow_mut().closed_media(media) else { return };
        let unix_ms = self.now().unix_ms;
        if let Some(call) = self.calls.get_mut(&key)
            && stats.packets_sent + stats.packets_received > 0
        {
            let leg = call.leg_name(leg);
            let entry = call.log.media(unix_ms, leg, stats);
            let watched = entry.filter(|_| self.events.is_watched()).cloned();
            self.publish_entry(key, watched);
        }
        self.touch(key);
    }

    /// Background work is done.
    pub(crate) fn arrived(&mut self, arrival: Arrival) {
        let purpose = {
            let mut exchange = self.exchange.borrow_mut();
            exchange.world.abandon(arrival.ticket);
            exchange.tickets.remove(&arrival.ticket)
        };
        let Some(purpose) = purpose else { return };
        let now = self.now().instant;
        match (purpose, arrival.what) {
            (Purpose::Audio(key, load), Arrived::Audio(result)) => {
                self.exchange.borrow_mut().loads.remove(&(key, load));
                if let Some(backend) = self.calls.get_mut(&key).and_then(|call| call.backend.native_mut()) {
                    backend.loaded(now, load, result);
                    self.dirty.insert(key);
                }
            }
            (Purpose::Lookup(key, lookup), Arrived::NextHops(result)) => {
                let found = routing::resolved(&mut self.exchange.borrow_mut(), key, lookup, result);
                let backend = self.calls.get_mut(&key).and_then(|call| call.backend.native_mut());
                if let (Some(found), Some(backend)) = (found, backend) {
                    backend.resolved(now, lookup, found);
                    self.dirty.insert(key);
                }
            }
            (Purpose::Gateway(id), Arrived::NextHops(result)) => match result {
                Ok(found) => {
                    self.exchange.borrow_mut().directory.set_gateway_destinations(now, id, found);
                    self.trunks.found(id);
                }
                Err(why) => tracing::warn!(gateway = id, %why, "a gateway cannot be found"),
            },
            (Purpose::Routing(key, lookup), Arrived::Routed(decision)) => {
                self.note_decision(key, &decision);
                if self.calls.get(&key).is_some_and(|call| !call.backend.is_native()) {
                    let answer = routing::answered(&mut self.exchange.borrow_mut(), key, lookup, decision);
                    return self.channel_routed(key, lookup, answer);
                }
                let found = routing::routed(&mut self.exchange.borrow_mut(), key, lookup, decision);
                let backend = self.calls.get_mut(&key).and_then(|call| call.backend.native_mut());
                if let (Some(found), Some(backend)) = (found, backend) {
                    backend.resolved(now, lookup, found);
                    self.dirty.insert(key);
                }
            }
            (Purpose::Admission(key), Arrived::Routed(decision)) => {
                self.note_decision(key, &decision);
                self.admitted(key, decision);
            }
            (Purpose::Host(key, op), Arrived::Answered(result)) => self.host_answered(key, op, arrival.ticket, result),
            (purpose, what) => tracing::error!(?purpose, ?what, "background work brought something else than was asked for"),
        }
    }

    /// Other programs from now on; live calls keep theirs. `retired` are bundles that nothing new will run.
    pub(crate) fn set_programs(&mut self, programs: Arc<ProgramSet>, retired: &[u64]) {
        let scripts = programs.iter().count();
        self.exchange.borrow_mut().programs = programs;
        self.publish(|| EngineEvent::ScriptsLoaded { scripts });
        for bundle in retired {
            self.host.retire(*bundle);
        }
    }

    /// SIP transactions that have not ended.
    pub(crate) fn transactions(&self) -> usize {
        self.exchange.borrow().endpoint.transaction_count()
    }

    /// Whether calls are no longer taken.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    /// Tells that the time of [`next_deadline`](Self::next_deadline) has come.
    pub(crate) fn handle_timeout(&mut self) {
        let now = self.now();
        self.exchange.borrow_mut().endpoint.handle_timeout(now.instant);
        let changes = self.exchange.borrow_mut().registrar.handle_timeout(now.instant);
        self.registrations_changed(changes);
        self.trunks.handle_timeout(&mut self.exchange.borrow_mut());
        self.probes.handle_timeout(&mut self.exchange.borrow_mut());
        self.host.handle_timeout(now);
        while let Some((due, key)) = self.timers.first().copied().filter(|(due, _)| *due <= now.instant) {
            self.timers.remove(&(due, key));
            if let Some(call) = self.calls.get_mut(&key) {
                call.armed = None;
            }
            self.call_timeout(key);
        }
        self.end_what_is_overspent();
        self.keep_what_is_due();
        self.drain_further();
        self.sum_refusals_up();
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let exchange = self.exchange.borrow();
        [
            self.sip_deadline,
            self.timers.first().map(|(due, _)| *due),
            exchange.registrar.poll_timeout(),
            self.trunks.poll_timeout(),
            self.probes.poll_timeout(),
            self.host.next_timeout(),
            self.refusals.poll_timeout(),
            self.keeping.poll_timeout(),
            exchange.guard.poll_timeout(),
            exchange.guesses.poll_timeout(),
            self.draining.filter(|draining| !draining.ended_rest).map(|draining| draining.until),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Carries on until nothing is left to do.
    pub(crate) fn pump(&mut self) {
        loop {
            self.pump_sip();
            let posted = self.exchange.borrow_mut().posted.pop_front();
            if let Some(((key, leg), event)) = posted {
                self.leg_event((key, leg), event);
                continue;
            }
            if let Some(key) = self.dirty.pop_first() {
                self.pump_call(key);
                continue;
            }
            if let Some(output) = self.host.poll_output() {
                self.script_output(output);
                continue;
            }
            self.write_notes();
            if let Some(key) = self.over.pop_first() {
                self.remove_when_over(key);
                continue;
            }
            if self.trunks.pump(&mut self.exchange.borrow_mut()) {
                continue;
            }
            return;
        }
    }

    fn pump_sip(&mut self) {
        self.exchange.borrow_mut().keep_vouched();
        loop {
            let output = self.exchange.borrow_mut().endpoint.poll_output();
            match output {
                Output::Transmit(transmit) => {
                    let (id, remote, octets) = (transmit.id, transmit.destination.remote, transmit.bytes.len());
                    let mut exchange = self.exchange.borrow_mut();
                    match exchange.world.transmit(transmit) {
                        Ok(None) => {}
                        Ok(Some(flow)) => exchange.endpoint.sent_over(id, flow),
                        Err(why) => {
                            let now = exchange.now.instant;
                            exchange.endpoint.handle_transport_error(now, id);
                            // Of a response or an ACK no transaction tells.
                            if octets > MAX_DATAGRAM && self.oversized_until.is_none_or(|until| until <= now) {
                                self.oversized_until = now.checked_add(OVERSIZED_WINDOW);
                                tracing::warn!(%remote, octets, %why, "a SIP message is too large to be sent");
                            } else {
                                tracing::debug!(%remote, octets, %why, "a SIP message was not sent");
                            }
                        }
                    }
                }
                Output::Event(event) => self.sip_event(event),
                Output::Timeout(deadline) => {
                    self.sip_deadline = deadline;
                    return;
                }
            }
        }
    }

    /// Puts what went over the wire into the timelines of its calls.
    pub(super) fn write_notes(&mut self) {
        let unix_ms = self.now().unix_ms;
        while let Some(note) = self.next_note() {
            let (key, leg) = note.leg;
            let Some(call) = self.calls.get_mut(&key) else { continue };
            let leg = call.leg_name(leg);
            let entry = call.log.sip(unix_ms, note.direction, leg, note.summary);
            let watched = entry.filter(|_| self.events.is_watched()).cloned();
            self.publish_entry(key, watched);
        }
        self.take_leg_steps();
    }

    fn next_note(&mut self) -> Option<super::exchange::SipNote> {
        self.exchange.borrow_mut().notes.pop_front()
    }

    /// Marks a call as having something to do.
    pub(super) fn touch(&mut self, key: CallKey) {
        self.dirty.insert(key);
    }

    /// Keeps the timer of a call in step with what it wants.
    pub(super) fn rearm(&mut self, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let deadline = call.deadline();
        if call.armed != deadline {
            let before = std::mem::replace(&mut call.armed, deadline);
            self.disarm(key, before);
            self.timers.extend(deadline.map(|deadline| (deadline, key)));
        }
    }

    pub(super) fn disarm(&mut self, key: CallKey, armed: Option<Instant>) {
        if let Some(armed) = armed {
            self.timers.remove(&(armed, key));
        }
    }

    pub(super) fn publish(&self, event: impl FnOnce() -> EngineEvent) {
        if self.events.is_watched() {
            let event = event();
            let account = self.account_of(&event);
            self.events.publish(self.now().unix_ms, account, event);
        }
    }

    /// Whom an event concerns; `None`: everybody.
    fn account_of(&self, event: &EngineEvent) -> Option<Arc<str>> {
        match event {
            EngineEvent::Registration { user, .. } => {
                let exchange = self.exchange.borrow();
                let account = exchange.directory.user(user).map(|user| user.account.as_str());
                Some(account.unwrap_or(DEFAULT_ACCOUNT).into())
            }
            event => self.calls.get(self.ids.get(event.call()?)?).map(|call| Arc::clone(&call.account)),
        }
    }

    pub(super) fn publish_entry(&self, key: CallKey, entry: Option<TimelineEntry>) {
        if let (Some(entry), Some(call)) = (entry, self.calls.get(&key)) {
            self.publish(|| EngineEvent::Timeline { call: call.facts.id.clone(), entry });
        }
    }
}
