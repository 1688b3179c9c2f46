//! How the API, the command line and tests talk to a running engine from any thread.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lockstep_ctx_api::journal::Journal;
use lockstep_ctx_api::wire::Bundle;
use lockstep_ctx_api::{CallEndedCause, CallFacts, OpResult};
use lockstep_sip::outbound_registration::Standing;
use serde::Serialize;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use super::channel::{Channel, Execution};
use super::claiming::{Claim, Claimed};
use super::event_log::{EventLog, Watcher};
use super::executions::Asker;
use super::messages::TextMessage;
use super::timeline::Timeline;
use crate::check::Finding;
use crate::freeswitch::Fleet;
use crate::platform::Platform;
use crate::runs::RunsHandle;
use crate::script::programs::{Order, SaveAnswer, SaveError, SaveScript};

/// Requests that may wait for the core before senders wait too.
const REQUEST_QUEUE: usize = 256;

/// A live or past call in a list.
#[derive(Clone, Debug, Serialize)]
pub struct CallSummary {
    #[serde(flatten)]
    pub facts: CallFacts,
    pub script: Option<String>,
    /// Whose call it is: its script's account, or that of the DID, customer or user it belongs to.
    pub account: Arc<str>,
    /// Set once the call is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<CallEndedCause>,
    /// Milliseconds since the call began, or that it lasted.
    pub duration_ms: u64,
}

/// What a call's script has been told and has asked for, in memory.
#[derive(Clone, Debug)]
pub(crate) struct CallJournal {
    pub account: Arc<str>,
    /// Absent for a call without a script, and for one so long ago that only the disk has it.
    pub journal: Option<Arc<Journal>>,
    pub bundle: Option<Arc<Bundle>>,
}

/// Which calls a list shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallFilter {
    pub live: bool,
    pub past: bool,
    /// Only calls of this account.
    pub account: Option<String>,
    /// At most this many, the newest first.
    pub limit: usize,
}

impl Default for CallFilter {
    fn default() -> Self {
        Self { live: true, past: true, account: None, limit: 100 }
    }
}

/// A call to be placed (`POST /v1/calls`).
#[derive(Clone, Debug, Default)]
pub struct Originate {
    /// Whom to call: user, number on a gateway, Class 5 destination or `sip:` URI.
    pub to: String,
    /// Caller id.
    pub from: Option<String>,
    /// Caller id in words.
    pub from_name: Option<String>,
    /// The Class 5 destination whose script owns the call once it is answered.
    pub destination: String,
    /// Who wants it led to `destination`.
    pub asker: Asker,
    /// Nobody takes over when it is answered: it waits for whoever placed it, who means to lead it to `destination`, if to any.
    pub park: bool,
    /// Whose call it is, and whose scripts it may be handed to; absent: whosever its script is.
    pub account: Option<String>,
    /// The call's id; one that is taken is refused.
    pub id: Option<String>,
    /// Call variables.
    pub vars: BTreeMap<String, String>,
    /// `data.vars` of its script; absent: the variables.
    pub data: Option<toml::Table>,
    pub timeout: Option<Duration>,
}

/// A script as the engine has it loaded.
#[derive(Clone, Debug, Serialize)]
pub struct ScriptInfo {
    pub name: String,
    /// `SCRIPTFORGE_ID`.
    pub id: u32,
    pub uuid: String,
    pub file: String,
    #[serde(rename = "type")]
    pub script_type: String,
    pub app: Option<String>,
    /// Whose script it is.
    pub account: String,
    pub class5_destination: Option<String>,
    /// Hash of the sources that new calls run.
    pub version: String,
    /// Why the newest text is not live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How a figure behaves over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    Counter,
    Gauge,
}

/// One figure for `/metrics`, named and explained in Prometheus' manner.
#[derive(Clone, Debug)]
pub struct Metric {
    pub name: &'static str,
    pub help: &'static str,
    pub kind: MetricKind,
    pub labels: Vec<(&'static str, String)>,
    pub value: f64,
}

/// All figures of the engine at one moment.
#[derive(Clone, Debug, Default)]
pub struct StatsSnapshot {
    pub metrics: Vec<Metric>,
}

/// Whether the engine takes calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Readiness {
    pub ready: bool,
    /// Why not: `draining`, `no script worker`, `at capacity: ports`, ….
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub live_calls: usize,
    /// The most there ever were at once.
    #[serde(skip)]
    pub most_calls: usize,
}

/// Why the engine refused a request.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EngineError {
    #[error("no call {0}")]
    NoSuchCall(String),
    #[error("the call {0} is over")]
    CallOver(String),
    #[error("{0} is not a Class 5 destination")]
    NoSuchDestination(String),
    #[error("nobody is at {target}: {why}")]
    NobodyThere { target: String, why: String },
    #[error("{target} may not be called: {why}")]
    TargetRefused { target: String, why: String },
    #[error("a call {0} exists already")]
    CallExists(String),
    #[error("{0} operations of others wait in the call's queue already")]
    TooManyOperations(usize),
    #[error("a call cannot be joined with itself")]
    SameCall,
    #[error("the call {0} is not answered")]
    NotAnswered(String),
    #[error("the call {0} is not bridged")]
    NotBridged(String),
    #[error("the call {0} is on another media server")]
    MediaElsewhere(String),
    #[error("the call {0} has no such recording")]
    NoRecording(String),
    #[error(transparent)]
    Save(#[from] SaveError),
    #[error("the message was refused: {code} {reason}")]
    MessageRefused { code: u16, reason: String },
    #[error("at capacity: {0}")]
    AtCapacity(String),
    #[error("the engine is shutting down")]
    Stopped,
}

/// A request and where its answer goes.
#[derive(Debug)]
pub(crate) enum Request {
    Calls(CallFilter, oneshot::Sender<Vec<CallSummary>>),
    Call(String, oneshot::Sender<Result<CallSummary, EngineError>>),
    Timeline(String, oneshot::Sender<Result<Arc<Timeline>, EngineError>>),
    Journal(String, oneshot::Sender<Result<CallJournal, EngineError>>),
    Recording {
        id: String,
        number: Option<usize>,
        reply: oneshot::Sender<Result<PathBuf, EngineError>>,
    },
    Hangup {
        id: String,
        code: Option<u16>,
        reason: Option<String>,
        reply: oneshot::Sender<Result<(), EngineError>>,
    },
    Originate(Originate, oneshot::Sender<Result<String, EngineError>>),
    Channel(String, oneshot::Sender<Result<Arc<Channel>, EngineError>>),
    Channels(oneshot::Sender<Vec<Arc<Channel>>>),
    SetVariable {
        id: String,
        name: String,
        value: Option<String>,
        reply: oneshot::Sender<Result<(), EngineError>>,
    },
    Execute {
        id: String,
        execution: Box<Execution>,
        reply: oneshot::Sender<Result<oneshot::Receiver<OpResult>, EngineError>>,
    },
    /// Play into a conversation.
    Broadcast {
        id: String,
        execution: Box<Execution>,
        far: bool,
        reply: oneshot::Sender<Result<oneshot::Receiver<OpResult>, EngineError>>,
    },
    /// Lead the call that one is joined with elsewhere; `both`: that one, too.
    TransferOther {
        id: String,
        target: String,
        both: bool,
        asker: Asker,
        reply: oneshot::Sender<Result<(), EngineError>>,
    },
    Break {
        id: String,
        all: bool,
        reply: oneshot::Sender<Result<(), EngineError>>,
    },
    Transfer {
        id: String,
        target: String,
        asker: Asker,
        reply: oneshot::Sender<Result<(), EngineError>>,
    },
    /// Whether a call on a media server could be handed to the script of this name.
    WouldTake(String, oneshot::Sender<Result<(), EngineError>>),
    Claim(Claim, oneshot::Sender<Result<Claimed, EngineError>>),
    /// Let the parties of two calls hear each other.
    Join {
        first: String,
        second: String,
        reply: oneshot::Sender<Result<(), EngineError>>,
    },
    /// Put a call's party on hold with a play source as music, or take it off.
    Hold {
        id: String,
        hold: bool,
        music: Option<String>,
        reply: oneshot::Sender<Result<(), EngineError>>,
    },
    /// Whether a call that was placed and answered still waits for whoever placed it.
    IsWaiting(String, oneshot::Sender<bool>),
    /// The application that owns a call by this take-over could not be reached, for a reason, or has let go of it.
    ApplicationOver(String, u64, Result<(), String>),
    Registrations(oneshot::Sender<Vec<Registration>>),
    Gateways(oneshot::Sender<Vec<GatewayStanding>>),
    Scripts(oneshot::Sender<Vec<ScriptInfo>>),
    ChangeScripts(Order, SaveAnswer),
    /// Send a text message; told with which code it was taken.
    Message(TextMessage, oneshot::Sender<Result<u16, EngineError>>),
    /// Take over what is provisioned now.
    Provisioned(oneshot::Sender<()>),
    Stats(oneshot::Sender<StatsSnapshot>),
    Readiness(oneshot::Sender<Readiness>),
    /// Take no more calls; end those that are left after the grace period, then stop.
    Drain(Duration, oneshot::Sender<()>),
    /// Stop without a word to anybody.
    Halt,
}

/// A handle to a running engine. Cheap to clone; every method may be called from any thread.
#[derive(Clone, Debug)]
pub struct EngineHandle {
    requests: mpsc::Sender<Request>,
    events: EventLog,
    addresses: Arc<[String]>,
    runs: RunsHandle,
    platform: Platform,
    fleet: Arc<OnceLock<Fleet>>,
}

/// A device that has registered.
#[derive(Clone, Debug, Serialize)]
pub struct Registration {
    pub user: String,
    /// Whose user it is.
    pub account: String,
    pub contact: String,
    /// Where its packets come from.
    pub remote: SocketAddr,
    pub user_agent: Option<String>,
    pub expires_s: u64,
}

/// How a gateway stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayStanding {
    pub id: i64,
    /// Of our registration there; `None`: there is none.
    pub registration: Option<Standing>,
    /// It answers and takes calls, as far as is known.
    pub is_up: bool,
}

impl EngineHandle {
    /// The handle and the core's end of its channels.
    pub(crate) fn new(addresses: Vec<String>, runs: RunsHandle, platform: Platform) -> (Self, mpsc::Receiver<Request>, EventLog) {
        let (requests, receiver) = mpsc::channel(REQUEST_QUEUE);
        let events = platform.events.clone();
        (
            Self { requests, events: events.clone(), addresses: addresses.into(), runs, platform, fleet: Arc::default() },
            receiver,
            events,
        )
    }

    /// The `[[freeswitch]]`s, where there are any.
    pub fn freeswitch(&self) -> Option<&Fleet> {
        self.fleet.get()
    }

    pub(crate) fn set_freeswitch(&self, fleet: Fleet) {
        // Set once, when the core is built.
        let _ = self.fleet.set(fleet);
    }

    /// The store, and what else calls share with everything else.
    pub fn platform(&self) -> &Platform {
        &self.platform
    }

    /// Runs scripts outside calls.
    pub fn runs(&self) -> &RunsHandle {
        &self.runs
    }

    /// Where the engine listens for SIP, as `udp:127.0.0.1:5060`; ports that were 0 in the configuration are filled in.
    pub fn sip_addresses(&self) -> &[String] {
        &self.addresses
    }

    /// The first UDP address, for clients on this machine.
    pub fn sip_udp_address(&self) -> Option<SocketAddr> {
        self.addresses.iter().find_map(|address| address.strip_prefix("udp:")?.parse().ok())
    }

    /// Live and past calls, the newest first.
    pub async fn calls(&self, filter: CallFilter) -> Result<Vec<CallSummary>, EngineError> {
        self.ask(|reply| Request::Calls(filter, reply)).await
    }

    /// One call, live or past.
    pub async fn call(&self, id: &str) -> Result<CallSummary, EngineError> {
        self.ask(|reply| Request::Call(id.to_owned(), reply)).await?
    }

    /// What happened to a call, live or past.
    pub async fn timeline(&self, id: &str) -> Result<Arc<Timeline>, EngineError> {
        self.ask(|reply| Request::Timeline(id.to_owned(), reply)).await?
    }

    /// The journal of a call, live or past, as far as memory has it.
    pub(crate) async fn journal(&self, id: &str) -> Result<CallJournal, EngineError> {
        self.ask(|reply| Request::Journal(id.to_owned(), reply)).await?
    }

    /// The file of a call's recording: the `number`th it has begun, from 1, or the latest. Complete once the recording has ended.
    pub async fn recording(&self, id: &str, number: Option<usize>) -> Result<PathBuf, EngineError> {
        self.ask(|reply| Request::Recording { id: id.to_owned(), number, reply }).await?
    }

    /// Ends a live call, as `ctx.hangup({code, reason})` would.
    pub async fn hangup(&self, id: &str, code: Option<u16>, reason: Option<String>) -> Result<(), EngineError> {
        self.ask(|reply| Request::Hangup { id: id.to_owned(), code, reason, reply }).await?
    }

    /// Places a call; resolves with its id once the INVITE is on its way.
    pub async fn originate(&self, originate: Originate) -> Result<String, EngineError> {
        self.ask(|reply| Request::Originate(originate, reply)).await?
    }

    /// The scripts that new calls can run.
    pub async fn scripts(&self) -> Result<Vec<ScriptInfo>, EngineError> {
        self.ask(Request::Scripts).await
    }

    /// Puts a text into the scripts folder and makes it live; the script as it is then, and what `lockstep check` says of it.
    pub async fn save_script(&self, save: SaveScript) -> Result<(ScriptInfo, Vec<Finding>), EngineError> {
        let file = save.file.clone();
        let findings = self.ask(|reply| Request::ChangeScripts(Order::Save(save), reply)).await??;
        let found = self.scripts().await?.into_iter().find(|script| script.file == file);
        Ok((found.ok_or(SaveError::NoSuchScript(file))?, findings))
    }

    /// Takes a script out of the folder; runs under way go on.
    pub async fn remove_script(&self, file: String) -> Result<(), EngineError> {
        self.ask(|reply| Request::ChangeScripts(Order::Remove(file), reply)).await??;
        Ok(())
    }

    /// Sends a text message over SIP (RFC 3428); the code it was taken with.
    pub async fn message(&self, message: TextMessage) -> Result<u16, EngineError> {
        self.ask(|reply| Request::Message(message, reply)).await?
    }

    /// Has calls take over what is provisioned now; new ones do once this resolves.
    pub async fn provisioned(&self) -> Result<(), EngineError> {
        self.ask(Request::Provisioned).await
    }

    /// Every figure of the engine.
    pub async fn stats(&self) -> Result<StatsSnapshot, EngineError> {
        self.ask(Request::Stats).await
    }

    /// Whether new calls are taken.
    pub async fn readiness(&self) -> Result<Readiness, EngineError> {
        self.ask(Request::Readiness).await
    }

    /// Takes no more calls (503), lets live ones end for up to `grace`, ends the rest with BYE. Resolves once all are over; what
    /// else the engine does goes on until [`halt`](Self::halt).
    pub async fn drain(&self, grace: Duration) -> Result<(), EngineError> {
        self.ask(|reply| Request::Drain(grace, reply)).await
    }

    /// Stops the engine at once. Peers of calls are not told: for an engine that has been drained, or whose peers are gone as well.
    pub async fn halt(&self) -> Result<(), EngineError> {
        self.requests.send(Request::Halt).await.map_err(|_| EngineError::Stopped)
    }

    /// Resolves once the engine has stopped.
    pub async fn stopped(&self) {
        self.requests.closed().await;
    }

    /// Events from now on. A watcher that falls far behind loses the oldest.
    pub fn subscribe(&self) -> Watcher {
        self.events.watch()
    }

    /// The events, to read them from a number on or to add some.
    pub fn events(&self) -> &EventLog {
        &self.events
    }

    /// A live call, or a leg of its bridge, as it is now.
    pub async fn channel(&self, uuid: &str) -> Result<Arc<Channel>, EngineError> {
        self.ask(|reply| Request::Channel(uuid.to_owned(), reply)).await?
    }

    /// All live calls and the legs of their bridges, the oldest call first.
    pub async fn channels(&self) -> Result<Vec<Arc<Channel>>, EngineError> {
        self.ask(Request::Channels).await
    }

    /// Sets a variable of a live call, or removes it.
    pub async fn set_variable(&self, id: &str, name: &str, value: Option<&str>) -> Result<(), EngineError> {
        let (id, name, value) = (id.to_owned(), name.to_owned(), value.map(str::to_owned));
        self.ask(|reply| Request::SetVariable { id, name, value, reply }).await?
    }

    /// Puts an operation into a live call's queue, behind what is there. Resolves once it is there, with where its result
    /// will come.
    pub async fn execute(&self, id: &str, execution: Execution) -> Result<oneshot::Receiver<OpResult>, EngineError> {
        self.ask(|reply| Request::Execute { id: id.to_owned(), execution: Box::new(execution), reply }).await?
    }

    /// Plays into a conversation at once, to the call's party or with `far` to the other one; where there is none, the party hears
    /// it when its turn has come. Resolves once it is under way, with where its result will come.
    pub async fn broadcast(&self, id: &str, execution: Execution, far: bool) -> Result<oneshot::Receiver<OpResult>, EngineError> {
        self.ask(|reply| Request::Broadcast { id: id.to_owned(), execution: Box::new(execution), far, reply }).await?
    }

    /// Stops the operation of [`execute`](Self::execute) that runs on a call; with `all`, those that wait, too.
    pub async fn break_off(&self, id: &str, all: bool) -> Result<(), EngineError> {
        self.ask(|reply| Request::Break { id: id.to_owned(), all, reply }).await?
    }

    /// Takes a live call from whoever owns it and leads it to `target`: what a caller could have dialled.
    pub async fn transfer(&self, id: &str, target: &str, asker: Asker) -> Result<(), EngineError> {
        self.ask(|reply| Request::Transfer { id: id.to_owned(), target: target.to_owned(), asker, reply }).await?
    }

    /// Leads the call that this one is joined with to `target`; with `both`, this one, too.
    pub async fn transfer_other(&self, id: &str, target: &str, both: bool, asker: Asker) -> Result<(), EngineError> {
        let (id, target) = (id.to_owned(), target.to_owned());
        self.ask(|reply| Request::TransferOther { id, target, both, asker, reply }).await?
    }

    /// Joins two answered calls, so that their parties hear each other until one of them goes; what runs on them stops.
    pub async fn join(&self, first: &str, second: &str) -> Result<(), EngineError> {
        let (first, second) = (first.to_owned(), second.to_owned());
        self.ask(|reply| Request::Join { first, second, reply }).await?
    }

    /// Puts the party of an answered call on hold, with a play source as music, or takes it off. Resolves once it is asked for;
    /// an event tells when the party has agreed.
    pub async fn hold(&self, id: &str, hold: bool, music: Option<String>) -> Result<(), EngineError> {
        self.ask(|reply| Request::Hold { id: id.to_owned(), hold, music, reply }).await?
    }

    /// Whether a call that was placed and answered still waits for whoever placed it: nobody has led it elsewhere, and it is not over.
    pub async fn is_waiting(&self, id: &str) -> Result<bool, EngineError> {
        self.ask(|reply| Request::IsWaiting(id.to_owned(), reply)).await
    }

    /// The application that owned a call by a take-over has let go of it, or could not be reached.
    pub async fn application_over(&self, id: &str, takeover: u64, how: Result<(), String>) -> Result<(), EngineError> {
        self.requests.send(Request::ApplicationOver(id.to_owned(), takeover, how)).await.map_err(|_| EngineError::Stopped)
    }

    /// Who is registered.
    pub async fn registrations(&self) -> Result<Vec<Registration>, EngineError> {
        self.ask(Request::Registrations).await
    }

    /// How gateways stand.
    pub async fn gateways(&self) -> Result<Vec<GatewayStanding>, EngineError> {
        self.ask(Request::Gateways).await
    }

    pub(super) async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, EngineError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| EngineError::Stopped)?;
        answer.await.map_err(|_| EngineError::Stopped)
    }
}
