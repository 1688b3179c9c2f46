//! What the core needs of the world: sockets, media threads, prompts, names, HTTP. The engine implements [`World`] on
//! tokio and real threads; a simulation implements it on a virtual clock.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use lockstep_ctx_api::host::HostCall;
use lockstep_ctx_api::op::{FetchArgs, RecordFormat, TtsArgs};
use lockstep_ctx_api::{ErrorCode, OpError, OpResult};
use lockstep_media::codec::Codec;
use lockstep_media::io::{LegId as MediaLeg, RecordingError};
use lockstep_media::playout::EncodedPrompt;
use lockstep_media::prompt::{PromptError, Source};
use lockstep_media::recording::{RecordingId, RecordingOptions};
use lockstep_media::stream::Command;
use lockstep_sip::net::{FlowId, Protocol, Transmit};
use lockstep_sip::resolve::{NextHops, Target};
use tokio::sync::Notify;

use super::handle::Metric;
use crate::cdr::Cdr;
use crate::class4::{Decision, Facts, Rejection, RouteTable};
use crate::host::RunContext;

/// Names work that the world does in the background; its result comes as an [`Arrival`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(pub u64);

/// The result of background work. Each ticket gives one, unless it was abandoned.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub ticket: Ticket,
    pub what: Arrived,
}

/// What has arrived.
#[derive(Debug)]
pub(crate) enum Arrived {
    Audio(Result<Vec<Arc<EncodedPrompt>>, OpError>),
    /// Next hops, or why there are none.
    NextHops(Result<NextHops, String>),
    /// What a `fetch` or a service answered a script.
    Answered(OpResult),
    /// What the scripts of Class 4 made of a call.
    Routed(Result<Decision, Rejection>),
}

/// A leg's media as it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenedMedia {
    pub leg: MediaLeg,
    /// Where it receives RTP.
    pub rtp: SocketAddr,
}

/// A recording to be written.
#[derive(Clone, Debug)]
pub(crate) struct RecordingOrder {
    pub leg: MediaLeg,
    pub id: RecordingId,
    pub options: RecordingOptions,
    /// The folder that it must lie in.
    pub within: PathBuf,
    pub path: PathBuf,
    pub format: RecordFormat,
    pub codec: Codec,
    /// Id of the call.
    pub call: String,
}

/// A call that an application on an event socket is to take over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplicationCall {
    pub call: String,
    /// Which of the call's take-overs it is.
    pub takeover: u64,
    /// Whose calls the application sees and steers; `None`: everybody's.
    pub account: Option<Arc<str>>,
    /// `host:port`
    pub addr: String,
    /// Operations need not wait for one another's end.
    pub is_async: bool,
    /// The application may use every command, not only those about its call.
    pub full: bool,
    /// Told when others have taken the call over.
    pub led_on: LedOn,
}

/// Says once, to whoever has the other copy, that a call has been led on.
#[derive(Clone, Debug, Default)]
pub struct LedOn(Arc<Notify>);

impl LedOn {
    pub(crate) fn tell(&self) {
        self.0.notify_one();
    }

    /// Waits for it.
    pub async fn told(&self) {
        self.0.notified().await;
    }
}

impl PartialEq for LedOn {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for LedOn {}

/// What a script is told of audio that cannot be played.
pub(crate) fn prompt_error(error: &PromptError) -> OpError {
    let code = match error {
        PromptError::NotFound { .. } => ErrorCode::NotFound,
        PromptError::Media { .. } => ErrorCode::MediaError,
    };
    OpError::new(code, error.to_string())
}

pub(crate) fn recording_error(error: &RecordingError) -> OpError {
    let code = if error.error.kind() == io::ErrorKind::NotFound { ErrorCode::NotFound } else { ErrorCode::MediaError };
    OpError::new(code, error.to_string())
}

/// Sockets, threads and background work, as the core uses them. Nothing here waits.
pub(crate) trait World {
    /// Puts a SIP message on the wire, over the connection it gives; an error says that it will not arrive.
    fn transmit(&mut self, transmit: Transmit) -> Result<Option<FlowId>, String>;
    /// Whoever this connection came from is known, or was let in: it may rest, and gives way to no other.
    fn keep_flow(&mut self, flow: FlowId);
    /// Our own address towards a peer: one it can answer to.
    fn local_for(&mut self, protocol: Protocol, remote: SocketAddr) -> Option<SocketAddr>;
    /// The addresses listened on.
    fn listening(&self) -> &[(Protocol, SocketAddr)];

    /// Whether another leg on `local` can be carried; what stands against it.
    fn admit(&mut self, now: Instant, local: IpAddr) -> Result<(), String>;
    /// Opens a leg's media, on the thread of `near` when given.
    fn open_media(&mut self, now: Instant, local: IpAddr, near: Option<MediaLeg>) -> Result<OpenedMedia, String>;
    fn media(&mut self, leg: MediaLeg, command: Command);
    fn join(&mut self, a: MediaLeg, b: MediaLeg);
    fn part(&mut self, leg: MediaLeg);
    /// Closes a leg's media; `true` when a report with its figures follows.
    fn close_media(&mut self, leg: MediaLeg) -> bool;
    fn record(&mut self, order: RecordingOrder) -> Result<(), OpError>;
    /// A recording has been written to `path`.
    fn recorded(&mut self, path: &Path);

    /// Audio, if all of it can be played without waiting.
    fn audio_at_hand(&mut self, now: Instant, sources: &[Source], codec: Codec) -> Option<Vec<Arc<EncodedPrompt>>>;
    /// Loads audio.
    fn load_audio(&mut self, now: Instant, ticket: Ticket, sources: Vec<Source>, codec: Codec);
    /// Speaks a text.
    fn speak(&mut self, now: Instant, ticket: Ticket, args: TtsArgs, codec: Codec);
    /// Finds the next hops of a URI.
    fn resolve(&mut self, ticket: Ticket, target: Target, seed: u64);
    /// Carries out a `fetch` of a script of `account`.
    fn fetch(&mut self, ticket: Ticket, account: &str, args: FetchArgs);
    /// Has a service do what a script asked for.
    fn call_host(&mut self, ticket: Ticket, context: RunContext, call: HostCall);
    /// Has the scripts of Class 4 decide on a call that `table` has routes for.
    fn route(&mut self, ticket: Ticket, table: Arc<RouteTable>, facts: Box<Facts>);
    /// Keeps the record of a call that is over, when there is time.
    fn keep_record(&mut self, record: Box<Cdr>);
    /// Has an application take a call over; why that cannot be tried. What comes of it comes as a request.
    fn call_application(&mut self, call: ApplicationCall) -> Result<(), String>;
    /// The result is here, or not wanted any more.
    fn abandon(&mut self, ticket: Ticket);

    /// Figures of transports and media threads.
    fn metrics(&self) -> Vec<Metric>;
}
