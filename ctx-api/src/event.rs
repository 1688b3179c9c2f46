//! Events: what happens to a call without being asked for, and the facts a script reads synchronously.

use serde::{Deserialize, Serialize};

use crate::op::{DtmfMethod, Vars};

/// Something that happened to the call. Every event of a call is an entry of its journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// A key of the caller, once however often its packets were repeated.
    Dtmf {
        digit: char,
        duration_ms: u32,
        method: DtmfMethod,
    },
    Hold,
    Unhold,
    /// The call was joined to another leg.
    Bridge {
        bleg: String,
    },
    Unbridge {
        bleg: String,
    },
    /// No RTP came for `silent_ms` although it was expected.
    MediaTimeout {
        silent_ms: u64,
        /// The far end of the bridge that is silent; `None`: the caller.
        #[serde(default)]
        bleg: Option<String>,
    },
    /// Facts or variables changed; what `ctx.call` and `ctx.get` read.
    Facts(FactsChange),
}

impl Event {
    /// The name scripts subscribe to with `ctx.on`; `None` for changes of facts, which have no listeners.
    pub fn name(&self) -> Option<&'static str> {
        match self {
            Self::Dtmf { .. } => Some("dtmf"),
            Self::Hold => Some("hold"),
            Self::Unhold => Some("unhold"),
            Self::Bridge { .. } => Some("bridge"),
            Self::Unbridge { .. } => Some("unbridge"),
            Self::MediaTimeout { .. } => Some("media_timeout"),
            Self::Facts(_) => None,
        }
    }
}

/// Where a call stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallState {
    /// The INVITE has come; nothing but 100 was sent.
    #[default]
    New,
    /// 180 was sent.
    Ringing,
    /// 183 with SDP was sent; media flows.
    Early,
    /// 200 was sent and acknowledged.
    Answered,
    Ended,
}

impl CallState {
    /// As scripts and error messages spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Ringing => "ringing",
            Self::Early => "early",
            Self::Answered => "answered",
            Self::Ended => "ended",
        }
    }
}

/// The facts behind `ctx.call`. Times are milliseconds since the Unix epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CallFacts {
    pub id: String,
    /// `inbound` or `outbound`.
    pub direction: String,
    pub from: String,
    pub to: String,
    /// The DID the call came in by, where it did.
    pub did: Option<String>,
    pub customer_id: Option<i64>,
    pub state: CallState,
    pub started_at: u64,
    pub answered_at: Option<u64>,
    pub codec: Option<String>,
    pub remote_addr: String,
}

/// A change of what a script reads synchronously. Absent parts stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FactsChange {
    pub state: Option<CallState>,
    pub answered_at: Option<u64>,
    pub codec: Option<String>,
    pub vars: Vars,
}
