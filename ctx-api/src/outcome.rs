//! Outcomes: what an operation resolves or rejects with.

use serde::{Deserialize, Serialize};

use crate::error::OpError;
use crate::host::HostReply;
use crate::op::Headers;

/// How an operation settled.
pub type OpResult = Result<Outcome, OpError>;

/// The value an operation resolves with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// Nothing to tell: `undefined`.
    Unit,
    Played(Played),
    Ivr(IvrResult),
    Gathered(Gathered),
    /// A recording has started.
    Recording {
        file: String,
    },
    /// A recording has stopped.
    Recorded {
        file: String,
        duration_ms: u64,
    },
    Bridged(BridgeResult),
    Fetched(FetchResponse),
    /// What a service of the engine answered.
    Host(HostReply),
}

/// Why audio stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlayReason {
    Completed,
    Dtmf,
}

/// Result of `play` and `tts`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Played {
    pub played_ms: u64,
    pub reason: PlayReason,
    pub digit: Option<char>,
}

/// How collecting digits ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CollectStatus {
    Success,
    Timeout,
    Invalid,
}

/// Result of `ivr`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IvrResult {
    pub status: CollectStatus,
    pub value: String,
}

/// Which way a `gather` was satisfied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GatherVia {
    Dtmf,
    Speech,
}

/// Result of `gather`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gathered {
    pub status: CollectStatus,
    pub via: GatherVia,
    pub value: String,
    pub digits: String,
    pub terminator: Option<char>,
    pub speech: Option<SpeechResult>,
}

/// What a recogniser heard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpeechResult {
    pub text: String,
    /// 0–1.
    pub confidence: f64,
}

/// How a bridge ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BridgeStatus {
    Completed,
    Busy,
    NoAnswer,
    Failed,
    Cancelled,
}

/// Result of `bridge`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BridgeResult {
    pub status: BridgeStatus,
    /// SIP status code of the deciding response; 200 when it was answered.
    pub code: u16,
    pub reason: String,
    /// Time joined.
    pub duration_ms: u64,
    /// Call id of the leg that answered.
    pub bleg: Option<String>,
}

/// What `fetch` got back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FetchResponse {
    pub status: u16,
    pub status_text: String,
    /// The URL after redirects.
    pub url: String,
    pub redirected: bool,
    pub headers: Headers,
    #[serde(with = "crate::octets")]
    pub body: Vec<u8>,
}
