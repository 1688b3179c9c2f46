//! A call or a leg of its bridge, as those see it who watch from outside: who, where, since when, with which variables.

use std::sync::Arc;

use lockstep_ctx_api::op::{DtmfMethod, Op};
use lockstep_ctx_api::wire::CallStart;
use lockstep_ctx_api::{CallEndedCause, CallFacts, CallState, OpId, OpResult};
use serde::Serialize;

use super::channel_vars::ChannelVars;

/// When the steps of a channel's life were taken, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ChannelTimes {
    pub created: u64,
    pub ringing: Option<u64>,
    pub early: Option<u64>,
    pub answered: Option<u64>,
    pub bridged: Option<u64>,
    /// The current or latest hold.
    pub held: Option<u64>,
    pub ended: Option<u64>,
    /// All holds that are over, in milliseconds.
    pub hold_total_ms: u64,
}

/// A file that is being recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunningRecording {
    /// As `play` finds it.
    pub file: String,
    /// The operation that started it.
    #[serde(skip)]
    pub started_by: OpId,
}

/// One leg of a call at one moment.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Channel {
    /// The call's id for the call's own leg; legs of its bridges have names of their own.
    pub uuid: String,
    /// The call it belongs to.
    pub call: String,
    /// Whether the engine called the peer, not the peer the engine.
    pub outbound: bool,
    pub state: CallState,
    pub held: bool,
    pub caller_number: String,
    pub caller_name: String,
    /// What was dialled.
    pub destination: String,
    /// Address of the peer, without a port; empty while unknown.
    pub network_addr: String,
    /// User and host of the peer, as `user@host`.
    pub peer: String,
    pub codec: Option<String>,
    pub times: ChannelTimes,
    #[serde(skip)]
    pub vars: ChannelVars,
    /// The operation that runs.
    pub running: Option<Arc<Activity>>,
    /// Files that are being recorded.
    pub recordings: Vec<RunningRecording>,
    /// The leg it is joined to.
    #[serde(skip)]
    pub other: Option<Arc<Channel>>,
    pub cause: Option<CallEndedCause>,
}

impl Channel {
    /// The channel of a call that has just begun.
    pub(super) fn of_call(facts: &CallFacts, start: &CallStart) -> Self {
        let vars = &start.vars;
        let var = |name: &str| vars.get(name).cloned().unwrap_or_default();
        let outbound = facts.direction == "outbound";
        let peer = match (var("sip_from_user"), var("sip_from_host")) {
            (_, host) if host.is_empty() => facts.to.clone(),
            (user, host) => format!("{user}@{host}"),
        };
        Self {
            uuid: facts.id.clone(),
            call: facts.id.clone(),
            outbound,
            state: facts.state,
            held: false,
            caller_number: facts.from.clone(),
            caller_name: var("caller_id_name"),
            destination: facts.to.clone(),
            network_addr: var("network_addr"),
            peer,
            codec: facts.codec.clone(),
            times: ChannelTimes { created: facts.started_at, ..ChannelTimes::default() },
            vars: ChannelVars::new(Arc::clone(vars), Arc::clone(&start.headers)),
            running: None,
            recordings: Vec::new(),
            other: None,
            cause: None,
        }
    }

    /// The channel of a leg that a call dials.
    pub(super) fn of_leg(uuid: String, near: &Self, target: &str, at: u64) -> Self {
        Self {
            uuid,
            call: near.call.clone(),
            outbound: true,
            state: CallState::New,
            held: false,
            caller_number: near.caller_number.clone(),
            caller_name: near.caller_name.clone(),
            destination: target.to_owned(),
            network_addr: String::new(),
            peer: target.to_owned(),
            codec: None,
            times: ChannelTimes { created: at, ..ChannelTimes::default() },
            vars: ChannelVars::default(),
            running: None,
            recordings: Vec::new(),
            other: None,
            cause: None,
        }
    }

    /// The same without the leg it is joined to: what that leg shows of it.
    pub(super) fn alone(&self) -> Arc<Self> {
        Arc::new(Self { other: None, ..self.clone() })
    }

    /// It has come to `state`.
    pub(super) fn advance(&mut self, state: CallState, at: u64) {
        self.state = state;
        let step = match state {
            CallState::New => return,
            CallState::Ringing => &mut self.times.ringing,
            CallState::Early => &mut self.times.early,
            CallState::Answered => &mut self.times.answered,
            CallState::Ended => &mut self.times.ended,
        };
        step.get_or_insert(at);
    }

    /// Its peer has put us on hold, or has taken us off.
    pub(super) fn hold(&mut self, held: bool, at: u64) {
        if held {
            self.times.held = Some(at);
        } else if self.held
            && let Some(since) = self.times.held
        {
            self.times.hold_total_ms += at.saturating_sub(since);
        }
        self.held = held;
    }

    /// Sets a variable, or removes it.
    pub(super) fn set(&mut self, name: &str, value: Option<&str>) {
        match value {
            Some(value) => self.vars.insert(name, value),
            None => self.vars.remove(name),
        }
    }
}

/// An operation under way, and what it is called outside.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Activity {
    /// `turn.ordinal` of a script's operation, or the name its sender gave it.
    pub uuid: String,
    /// The operation's name in scripts; empty for one that only its sender knows.
    pub operation: &'static str,
    /// What its sender called it; a script's operations have no other name.
    pub application: Option<String>,
    /// Its arguments: as its sender wrote them, or in a few words.
    pub data: String,
    /// What its pictures of the channel keep because of it: `data`, and what it sets.
    #[serde(skip)]
    pub octets: usize,
}

/// What happened to a channel.
#[derive(Clone, Debug)]
pub enum ChannelEvent {
    Created,
    /// It rings.
    Ringing,
    /// It has early media.
    EarlyMedia,
    Answered,
    Held,
    Resumed,
    /// Joined to [`Channel::other`].
    Bridged,
    /// Parted from the channel it was joined to.
    Unbridged(Arc<Channel>),
    Dtmf {
        digit: char,
        duration_ms: u32,
        method: DtmfMethod,
    },
    Started(Arc<Activity>),
    /// `response` is what its sender calls the outcome; `None` where it has no word for it.
    Completed {
        activity: Arc<Activity>,
        result: Arc<OpResult>,
        response: Option<String>,
    },
    HungUp,
    /// Nothing more comes of it.
    Destroyed,
}

impl ChannelEvent {
    /// As clients of `/v1/events` know it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Ringing => "ringing",
            Self::EarlyMedia => "early-media",
            Self::Answered => "answered",
            Self::Held => "held",
            Self::Resumed => "resumed",
            Self::Bridged => "bridged",
            Self::Unbridged(_) => "unbridged",
            Self::Dtmf { .. } => "dtmf",
            Self::Started(_) => "operation-started",
            Self::Completed { .. } => "operation-completed",
            Self::HungUp => "hung-up",
            Self::Destroyed => "destroyed",
        }
    }
}

/// An operation that somebody outside asks for.
pub struct Execution {
    /// `None`: nothing is done, and it lasts until the call ends or goes elsewhere.
    pub op: Option<Op>,
    pub application: String,
    pub data: String,
    pub uuid: String,
    pub aftermath: Aftermath,
}

/// Reads off an outcome what follows from it.
pub type Aftermath = Box<dyn FnOnce(&OpResult) -> Consequences + Send>;

/// What follows from the outcome of an operation somebody outside has asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Consequences {
    /// Variables that are set, or removed, before anybody learns of the outcome.
    pub vars: Vec<(String, Option<String>)>,
    /// What its sender calls the outcome.
    pub response: Option<String>,
}

impl Execution {
    /// An operation whose outcome has no consequences.
    pub fn new(op: Op, application: &str, data: &str, uuid: String) -> Self {
        let aftermath = Box::new(|_: &OpResult| Consequences::default());
        Self { op: Some(op), application: application.to_owned(), data: data.to_owned(), uuid, aftermath }
    }

    /// Waiting, until the call ends or goes elsewhere.
    pub fn park(uuid: String) -> Self {
        let aftermath = Box::new(|_: &OpResult| Consequences::default());
        Self { op: None, application: "park".to_owned(), data: String::new(), uuid, aftermath }
    }
}

/// Whether the value of a variable means yes.
pub fn says_yes(value: &str) -> bool {
    ["true", "yes", "on", "1", "enabled", "t", "y"].iter().any(|yes| yes.eq_ignore_ascii_case(value))
}

impl std::fmt::Debug for Execution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Execution").field("application", &self.application).field("uuid", &self.uuid).finish_non_exhaustive()
    }
}
