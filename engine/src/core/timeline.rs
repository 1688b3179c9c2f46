//! The timeline of a call: what its script asked for, what the wire carried, and when.

use std::sync::Arc;

use lockstep_ctx_api::wire::{Location, LogLevel};
use lockstep_ctx_api::{CallEndedCause, CallFacts};
use serde::Serialize;

/// The most entries one call keeps; what comes after is counted, not kept.
pub const MAX_ENTRIES: usize = 2_000;

/// What happened to one call, in order. Times are milliseconds since the call began.
#[derive(Clone, Debug, Serialize)]
pub struct Timeline {
    pub call: CallFacts,
    /// Name of the script that owned the call.
    pub script: Option<String>,
    pub ended: Option<CallEndedCause>,
    /// How long the call existed; `None` while it lives.
    pub duration_ms: Option<u64>,
    /// The call has ended, and its scripts have not yet: entries may follow.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub finishing: bool,
    pub entries: Vec<TimelineEntry>,
    /// Entries past the bound of [`MAX_ENTRIES`].
    pub dropped: u64,
}

/// One line of a timeline.
#[derive(Clone, Debug, Serialize)]
pub struct TimelineEntry {
    pub at_ms: u64,
    #[serde(flatten)]
    pub what: What,
}

/// What a line of a timeline tells.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum What {
    /// An operation of the script.
    Operation(OperationEntry),
    /// A SIP message: `summary` is the start line, without header fields.
    Sip {
        direction: Direction,
        /// `a` for the caller's leg, else the id of the bridged leg.
        leg: String,
        summary: String,
    },
    /// A key that was pressed.
    Dtmf { digit: char, method: &'static str, duration_ms: u32 },
    /// Hold, unhold, bridge, unbridge, media_timeout.
    Event { name: &'static str, detail: String },
    /// How media came through on a leg whose media are closed.
    Media(MediaEntry),
    /// A line of the script's log, or a warning of the engine.
    Log {
        level: LogLevel,
        text: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        line: Option<String>,
    },
}

/// One operation of the script.
#[derive(Clone, Debug, Serialize)]
pub struct OperationEntry {
    /// `turn.ordinal`
    pub id: String,
    pub name: &'static str,
    /// The arguments in a few words.
    pub detail: String,
    /// `file:line:column` of the call in the script.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    /// When it left the queue and began; `None` while it waits, or when it never began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<u64>,
    /// The outcome in a few words: `ok`, `{…}` or `InvalidState: …`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ok: Option<bool>,
}

/// How media came through on one leg, from its first packet to its last.
#[derive(Clone, Debug, Serialize)]
pub struct MediaEntry {
    /// As of a SIP message.
    pub leg: String,
    /// Packets sent.
    pub sent: u64,
    /// Packets that came.
    pub received: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Interarrival jitter (RFC 3550 section 6.4.1), ms.
    pub jitter_ms: f64,
    /// What a listener on our side would say of what came: the E-model's mean opinion score, 1 to 4.5. `None` when nothing came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mos: Option<f64>,
    /// Packets of ours that the other side says it missed.
    pub remote_lost: u64,
    /// The jitter that the other side says it had, ms.
    pub remote_jitter_ms: f64,
    /// By RTCP, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_trip_ms: Option<f64>,
}

/// Whether a message came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    In,
    Out,
}

/// One line of a call's log, as subscribers of events see it.
#[derive(Clone, Debug, Serialize)]
pub struct LoggedLine {
    pub level: LogLevel,
    pub text: Arc<str>,
    pub at: Option<Location>,
}
