//! Calls that FreeSWITCH hands over: a connection becomes a call like any other, with another backend.

use std::collections::BTreeMap;
use std::sync::Arc;

use lockstep_ctx_api::wire::CallStart;
use lockstep_ctx_api::{CallFacts, CallState};

use super::backend::Backend;
use super::call_facts::origin_of_channel;
use super::exchange::CallKey;
use super::handle::{EngineError, EngineHandle, Request};
use super::refusals::Refused;
use super::switch::Switch;
use crate::backend::freeswitch::{Channel, FreeSwitchBackend, Settings};
use crate::config::{Config, Destination, Did};
use crate::esl::{Command, Message};
use crate::script::Program;

/// Names a connection; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConnectionId(u64);

/// The way back to a media server. Dropping it ends the connection once everything is sent.
pub(crate) trait ConnectionLink {
    /// Sends bytes; never waits.
    fn send(&mut self, bytes: Vec<u8>);
}

/// In place of a connection that has broken.
struct NoLink;

impl ConnectionLink for NoLink {
    fn send(&mut self, _: Vec<u8>) {}
}

/// Where a channel leads.
struct Led {
    program: Arc<Program>,
    /// The number it came by.
    did: Option<Did>,
    /// Whose call it is.
    customer: Option<i64>,
}

/// Connections from media servers.
#[derive(Default)]
pub(crate) struct Connections {
    settings: Arc<Settings>,
    last: u64,
    open: BTreeMap<ConnectionId, Connection>,
    /// Connections that brought no call.
    pub(super) refused: u64,
    /// Whether there are hosts we connect to ourselves: another way to a channel whose connection breaks.
    has_hosts: bool,
}

struct Connection {
    link: Box<dyn ConnectionLink>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// `connect` was sent.
    Greeting,
    Call(CallKey),
    /// The call was refused; the media server ends the connection.
    Refused,
}

impl Connections {
    /// None yet.
    pub(crate) fn new(settings: Settings, has_hosts: bool) -> Self {
        Self { settings: Arc::new(settings), has_hosts, ..Self::default() }
    }

    /// These are the users that calls can be bridged to, and whether there are routes; calls that live keep what they knew.
    pub(super) fn know(&mut self, config: &Config) {
        let known_users = Arc::new(config.users.iter().map(|user| user.name.clone()).collect());
        let has_routes = !config.routes.is_empty();
        self.settings = Arc::new(Settings { known_users, has_routes, ..self.settings.as_ref().clone() });
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }
}

impl EngineHandle {
    /// Whether a call on a media server could be handed to a script, named as its dialplan would.
    ///
    /// # Errors
    /// Why it would be refused.
    pub(crate) async fn would_take(&self, script: &str) -> Result<(), EngineError> {
        self.ask(|reply| Request::WouldTake(script.to_owned(), reply)).await?
    }
}

impl Switch {
    pub(super) fn would_take(&self, script: &str) -> Result<(), EngineError> {
        if self.draining.is_some() {
            return Err(EngineError::Stopped);
        }
        if self.live >= self.max_calls {
            return Err(EngineError::AtCapacity(format!("{} calls", self.live)));
        }
        let is_there = self.exchange.borrow().programs.led_to(script, None).is_some();
        if is_there { Ok(()) } else { Err(EngineError::NoSuchDestination(script.to_owned())) }
    }

    /// A media server has connected.
    pub(crate) fn channel_connected(&mut self, mut link: Box<dyn ConnectionLink>) -> ConnectionId {
        self.connections.last += 1;
        let id = ConnectionId(self.connections.last);
        link.send(b"connect\n\n".to_vec());
        self.connections.open.insert(id, Connection { link, stage: Stage::Greeting });
        id
    }

    /// A media server says something.
    pub(crate) fn channel_message(&mut self, id: ConnectionId, message: &Message) {
        let Some(connection) = self.connections.open.get(&id) else { return };
        match connection.stage {
            Stage::Greeting => self.channel_greeted(id, message),
            Stage::Call(key) => {
                let now = self.now().instant;
                if let Some((backend, _)) = self.calls.get_mut(&key).and_then(|call| call.backend.free_switch_mut()) {
                    backend.handle_message(now, message);
                    self.touch(key);
                }
            }
            Stage::Refused => {}
        }
    }

    /// A connection has ended; the channel whose call waits for another one.
    pub(crate) fn channel_closed(&mut self, id: ConnectionId) -> Option<String> {
        let Some(Connection { stage: Stage::Call(key), .. }) = self.connections.open.remove(&id) else { return None };
        let (now, can_return) = (self.now().instant, self.connections.has_hosts);
        let (backend, _) = self.calls.get_mut(&key).and_then(|call| call.backend.free_switch_mut())?;
        backend.connection_lost(now, can_return);
        let waits = backend.is_lost().then(|| backend.uuid().to_owned());
        if waits.is_some() {
            // What is sent meanwhile waits in the backend.
            self.connections.open.insert(id, Connection { link: Box::new(NoLink), stage: Stage::Call(key) });
        }
        self.touch(key);
        waits
    }

    /// There is another connection to the media server that has the channel; whether it is needed.
    pub(crate) fn channel_back(&mut self, id: ConnectionId, link: Box<dyn ConnectionLink>) -> bool {
        let now = self.now().instant;
        let Some(connection) = self.connections.open.get_mut(&id) else { return false };
        let Stage::Call(key) = connection.stage else { return false };
        connection.link = link;
        let Some((backend, _)) = self.calls.get_mut(&key).and_then(|call| call.backend.free_switch_mut()) else { return false };
        tracing::info!(channel = backend.uuid(), "a call on FreeSWITCH goes on over another connection");
        backend.connection_back(now);
        self.touch(key);
        true
    }

    /// There is no other way to the channel.
    pub(crate) fn channel_gone(&mut self, id: ConnectionId) {
        let Some(Connection { stage: Stage::Call(key), .. }) = self.connections.open.remove(&id) else { return };
        let now = self.now().instant;
        if let Some((backend, _)) = self.calls.get_mut(&key).and_then(|call| call.backend.free_switch_mut()) {
            backend.connection_gone(now);
            self.touch(key);
        }
    }

    /// Whether a connection has become a call.
    pub(crate) fn is_channel(&self, id: ConnectionId) -> bool {
        self.connections.open.get(&id).is_some_and(|connection| matches!(connection.stage, Stage::Call(_)))
    }

    /// Sends what a call wants sent; once it is over, lets go of its connection.
    pub(super) fn flush_channel(&mut self, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let Some((backend, id)) = call.backend.free_switch_mut() else { return };
        if let (Some(bytes), Some(connection)) = (backend.take_transmit(), self.connections.open.get_mut(&id)) {
            connection.link.send(bytes);
        }
        if call.ended.is_some() {
            self.connections.open.remove(&id);
        }
    }

    fn channel_greeted(&mut self, id: ConnectionId, message: &Message) {
        let event = message.connected();
        let channel = match Channel::of(&event) {
            Ok(channel) => channel,
            Err(error) => {
                tracing::warn!(%error, "a connection for FreeSWITCH brings no channel");
                self.connections.refused += 1;
                self.connections.open.remove(&id);
                return;
            }
        };
        match self.program_for(&channel) {
            Ok(led) => self.take_channel(id, channel, led),
            Err((code, reason)) => self.refuse_channel(id, &channel, code, reason),
        }
    }

    /// The script of a channel: the one its dialplan names, else the one that the number leads to, or the destination belongs to.
    fn program_for(&mut self, channel: &Channel) -> Result<Led, (u16, &'static str)> {
        if self.draining.is_some() || self.live >= self.max_calls {
            return Err((503, "Service Unavailable"));
        }
        if channel.state == CallState::Ended {
            return Err((487, "Request Terminated"));
        }
        let exchange = self.exchange.borrow();
        let programs = &exchange.programs;
        let customer = channel.customer.as_ref().map(|named| named.parse().ok().and_then(|id| exchange.directory.customer(id)));
        let account = customer.flatten().map(|customer| customer.account.as_str());
        let (program, did) = match &channel.script {
            // The dialplan is the operator's: it may name anybody's.
            Some(name) => (programs.led_to(name, account).or_else(|| programs.led_to(name, None)), None),
            None => {
                // Where the media server has the call, only scripts are led to; and a number whose script decides needs that decision.
                let did = exchange.directory.did(&channel.to).filter(|did| did.script.is_none());
                let led = did.into_iter().flat_map(|did| did.destinations.iter().map(move |to| (did, to)));
                let mut led = led.filter_map(|(did, to)| match to {
                    Destination::Class5(name) => {
                        Some((programs.led_to(name, Some(exchange.directory.account_of_did(did)))?, did))
                    }
                    _ => None,
                });
                match led.next() {
                    Some((program, did)) => (Some(program), Some(did.clone())),
                    None => (programs.dialled(&channel.to, account), None),
                }
            }
        };
        let program = program.map(Arc::clone).ok_or((404, "Not Found"))?;
        let customer = match customer {
            // What it dials counts as that customer's: nobody else's may be meant.
            Some(known) => Some(known.ok_or((403, "Forbidden"))?.id),
            None => did.as_ref().and_then(|did| did.customer),
        };
        Ok(Led { program, did, customer })
    }

    fn refuse_channel(&mut self, id: ConnectionId, channel: &Channel, code: u16, reason: &str) {
        let now = self.now().instant;
        let why = if code == 503 { Refused::Capacity } else { Refused::Unknown };
        let script = channel.script.as_deref().unwrap_or_default();
        if self.refusals.note(now, why, 1) {
            tracing::warn!(to = %channel.to, %script, code, "a call on FreeSWITCH was refused; more of these are summed up once a minute");
        }
        self.connections.refused += 1;
        let Some(connection) = self.connections.open.get_mut(&id) else { return };
        connection.stage = Stage::Refused;
        // Neither holds anything that a stranger has sent.
        let command = Command::new("sendmsg").and_then(|command| {
            if channel.state < CallState::Answered && !channel.is_outbound {
                let respond = command.header("call-command", "execute")?.header("execute-app-name", "respond")?;
                respond.header("execute-app-arg", &format!("{code} {reason}"))
            } else {
                command.header("call-command", "hangup")?.header("hangup-cause", "UNALLOCATED_NUMBER")
            }
        });
        let mut bytes = Vec::new();
        if let Ok(command) = command {
            command.write(&mut bytes);
        }
        connection.link.send(bytes);
    }

    fn take_channel(&mut self, id: ConnectionId, channel: Channel, led: Led) {
        let Led { program, did, customer } = led;
        self.last_call += 1;
        let key = CallKey(self.last_call);
        let now = self.now();
        // The channel's own id, so that both sides speak of a call by the same name.
        let wanted = channel.call_id.clone().unwrap_or_else(|| channel.uuid.clone());
        let is_taken = self.ids.contains_key(&wanted) || self.past.find(&wanted).is_some();
        let call_id = if is_taken { self.exchange.borrow_mut().uuid() } else { wanted };
        let facts = CallFacts {
            id: call_id.clone(),
            direction: if channel.is_outbound { "outbound" } else { "inbound" }.to_owned(),
            from: channel.from.clone(),
            to: channel.to.clone(),
            did: did.as_ref().map(|did| did.number.trim_start_matches('+').to_owned()),
            customer_id: customer,
            state: channel.state,
            started_at: now.unix_ms,
            answered_at: (channel.state == CallState::Answered).then_some(now.unix_ms),
            codec: channel.codec.clone(),
            remote_addr: channel.remote_addr.clone(),
        };
        let mut vars = channel.variables.clone();
        vars.insert("call_id".to_owned(), call_id.clone());
        vars.insert("direction".to_owned(), facts.direction.clone());
        let start =
            CallStart { facts: facts.clone(), vars: vars.into(), headers: channel.headers.clone().into(), data_vars: None };
        if let Some(connection) = self.connections.open.get_mut(&id) {
            connection.stage = Stage::Call(key);
        }
        let mut exchange = self.exchange.borrow_mut();
        let name = channel.variables.get("caller_id_name").cloned();
        exchange.callers.insert(key, (channel.from.clone(), name));
        exchange.customers.extend(customer.map(|customer| (key, customer)));
        exchange.origins.insert(key, (now.instant, origin_of_channel(&call_id, &channel)));
        drop(exchange);
        let settings = Arc::clone(&self.connections.settings);
        let backend = FreeSwitchBackend::new(call_id, channel, settings, (now.instant, now.unix_ms));
        let backend = Backend::FreeSwitch { backend: Box::new(backend), connection: id };
        self.counters.calls_taken += 1;
        let mut own = facts.customer_id.map(|customer| self.exchange.borrow().customer_vars(customer)).unwrap_or_default();
        own.extend(did.map(|did| did.vars).unwrap_or_default());
        self.insert_call(key, backend, facts, start, own);
        self.start_script(key, program);
        self.announce(key);
    }
}
