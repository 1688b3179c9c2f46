//! What a call asks of the world, and what the world tells a call.
//!
//! The core implements [`Switchboard`] over the SIP endpoint, the media threads and the prompt cache; tests and simulations
//! implement it over a list. No method calls back into the call: what follows from one comes later as a [`LegEvent`], a
//! [`MediaEvent`](lockstep_media::stream::MediaEvent) or a completion.

use std::sync::Arc;

use bytes::Bytes;
use lockstep_ctx_api::op::{Headers, RecordFormat, TtsArgs};
use lockstep_ctx_api::{EndedBy, OpError};
use lockstep_media::codec::Codec;
use lockstep_media::playout::EncodedPrompt;
use lockstep_media::recording::{RecordingId, RecordingOptions};
use lockstep_media::sdp::LocalMedia;
use lockstep_media::stream::Command;

use super::{Hunt, LegId};

/// Carries out what one call wants done.
pub trait Switchboard {
    /// Opens ports for a leg's media, on the thread of `near` when given: legs that will be joined live on one thread.
    /// `route` says where a leg of ours will lead to, before it is dialled.
    fn open_media(&mut self, leg: LegId, near: Option<LegId>, route: Option<RouteId>) -> Result<LocalMedia, OpError>;
    /// Tells a leg's media something.
    fn media(&mut self, leg: LegId, command: Command);
    /// Lets two legs hear each other; both were opened on one thread.
    fn join(&mut self, a: LegId, b: LegId);
    /// Ends what `join` began.
    fn part(&mut self, a: LegId, b: LegId);
    /// Ends a leg's media and frees its ports.
    fn close_media(&mut self, leg: LegId);

    /// Sends a SIP message on a leg's dialog.
    fn signal(&mut self, leg: LegId, signal: Signal);
    /// Finds the routes of a bridge's target. The answer may come at once or later; `Later` is followed by
    /// `NativeBackend::resolved`.
    /// `caller_id` is what the bridge shows, where it says so.
    fn resolve(&mut self, lookup: LookupId, uri: &str, caller_id: Option<&str>) -> Lookup;
    /// What a look-up has found is not dialled or talked to any more; what it has not found yet is not wanted.
    fn forget_routes(&mut self, lookup: LookupId, routes: &[RouteId]);
    /// Sends an INVITE.
    fn dial(&mut self, leg: LegId, dial: Dial, offer: String);

    /// A leg we have dialled is leg A from now on, with its dialog and its media.
    fn adopt(&mut self, leg: LegId);

    /// Gets audio, encoded for `codec`. `Later` is followed by `NativeBackend::loaded`.
    fn load(&mut self, load: LoadId, source: &AudioSource, codec: Codec) -> Loading;
    /// The audio is not wanted any more.
    fn forget(&mut self, load: LoadId);
    /// Starts to record a leg; the name of the file. `NativeBackend::recording_event` tells when it runs.
    fn record(&mut self, leg: LegId, id: RecordingId, file: &RecordingFile, codec: Codec) -> Result<String, OpError>;
}

/// Names one request for audio within a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoadId(pub u64);

/// Audio to be loaded.
#[derive(Clone, Debug, PartialEq)]
pub enum AudioSource {
    /// `user/x.wav`, `tone:…` and so on, one after another.
    Files(Vec<String>),
    Speech(Box<TtsArgs>),
}

/// Whether audio was at hand.
#[derive(Debug)]
pub enum Loading {
    Ready(Result<Vec<Arc<EncodedPrompt>>, OpError>),
    Later,
}

/// Names one search for the routes of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LookupId(pub u64);

/// Whether the routes of a target were known.
#[derive(Debug)]
pub enum Lookup {
    Ready(Result<Routes, Refusal>),
    Later,
}

/// The ways to reach one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes {
    /// What `Dial::route` refers to; chosen by the switchboard.
    pub routes: Vec<RouteId>,
    pub hunt: Hunt,
}

/// Names a route the switchboard has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteId(pub u64);

/// Why a target cannot be called, as a SIP response would say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: u16,
    pub reason: String,
    /// The reason is meant for the caller, and this is who refuses; for 3xx it is the Contact.
    pub reply_by: Option<EndedBy>,
    /// After how many seconds another try makes sense.
    pub retry_after: Option<u32>,
}

impl Refusal {
    /// A refusal with its phrase.
    pub fn new(code: u16, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into(), reply_by: None, retry_after: None }
    }

    /// A final response as the caller gets it.
    pub fn reply(code: u16, text: impl Into<String>, by: EndedBy) -> Self {
        Self { reply_by: Some(by), ..Self::new(code, text) }
    }
}

/// An INVITE to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dial {
    pub route: RouteId,
    /// User part of From; `None`: as the route has it.
    pub caller_id: Option<String>,
    /// Display name of From.
    pub from_name: Option<String>,
    pub headers: Headers,
}

/// Where a recording goes and what it holds.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordingFile {
    /// As the script named it.
    pub name: String,
    pub format: RecordFormat,
    pub options: RecordingOptions,
}

/// A SIP message on a leg's dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// 180 or 183.
    Provisional { code: u16, headers: Headers, sdp: Option<String> },
    /// 200 to the INVITE.
    Accept { headers: Headers, sdp: String },
    /// 3xx–6xx to the INVITE.
    Refuse { code: u16, reason: Option<String>, headers: Headers },
    /// CANCEL before the answer, BYE after it.
    HangUp { headers: Headers },
    /// 2xx to a re-INVITE or UPDATE.
    AcceptOffer { offer: OfferId, sdp: Option<String> },
    /// 4xx to a re-INVITE or UPDATE.
    RefuseOffer { offer: OfferId, code: u16 },
    /// A re-INVITE of ours; what comes of it is `OfferAnswered` or `OfferRefused`.
    Offer { sdp: String },
    /// INFO with a key (`application/dtmf-relay`).
    InfoDigit { digit: char, duration_ms: u32 },
}

/// Names a re-INVITE or UPDATE of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OfferId(pub u64);

/// Names a dialog of a leg: an INVITE that proxies fork has one for each of its branches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BranchId(pub u64);

/// What happened on a leg's dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LegEvent {
    /// A provisional response to our INVITE; what it describes is the media of a branch.
    Progress { code: u16, sdp: Option<(BranchId, Bytes)> },
    /// The branch of our INVITE that its media follow is gone, and others ring on.
    BranchOver,
    /// A 2xx to our INVITE.
    Answered { branch: BranchId, sdp: Option<Bytes> },
    /// Our INVITE came to nothing; not by the peer where it has not left us.
    Failed { code: u16, reason: String, by_peer: bool },
    /// Our INVITE has reached nobody, and there are next hops that another address of ours leads to: the leg is to be dialled again.
    Elsewhere { code: u16, reason: String },
    /// The ACK to our 2xx, with the answer when that carried an offer.
    Acked { sdp: Option<Bytes> },
    /// A re-INVITE or UPDATE; without SDP it asks for our offer.
    Offer { offer: OfferId, branch: BranchId, sdp: Option<Bytes> },
    /// The answer to an offer of ours.
    OfferAnswered { sdp: Option<Bytes> },
    /// An offer of ours came to nothing. `again`: only because the peer makes one itself (491); `MayOffer` follows.
    OfferRefused { code: u16, reason: String, again: bool },
    /// An offer that met one of the peer may be made again now.
    MayOffer,
    /// The answer to a re-INVITE by which the endpoint has refreshed the session.
    Refreshed { sdp: Bytes },
    /// A key by INFO.
    Digit { digit: char, duration_ms: u32 },
    /// The dialog is over: BYE, CANCEL, no ACK, session timer.
    Over { code: u16, reason: String, by_peer: bool },
}
