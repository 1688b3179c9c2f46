//! What happens to a call of the softphone.

use serde::Serialize;

/// One thing that happened, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum PhoneEvent {
    /// A provisional response.
    Progress { code: u16, reason: String, early_media: bool },
    /// Both sides agree that the call is up. `codec` is absent when no audio was agreed on.
    Answered { codec: Option<&'static str> },
    /// The first audio packet arrived, from here.
    MediaStarted { from: String },
    /// The other side pressed a key.
    Digit { digit: char, duration_ms: u64 },
    /// Audio that was to be played has been played.
    Played { completed: bool },
    /// Keys that were to be pressed have been pressed.
    Pressed { digits: usize },
    /// The other side put the call on hold.
    Held,
    /// The other side took the call back.
    Resumed,
    /// The call is over; nothing follows.
    Ended(Ended),
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ended {
    /// The final response, or 200 for a call that was up and was hung up.
    pub code: u16,
    pub reason: String,
    pub by: EndedBy,
}

/// Who ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EndedBy {
    Local,
    Remote,
    /// Nobody: a time-out, or the network.
    Network,
}

impl EndedBy {
    /// For people.
    pub(crate) fn in_words(self) -> &'static str {
        match self {
            Self::Local => "this side",
            Self::Remote => "the other side",
            Self::Network => "the network",
        }
    }

    /// As tests and timelines name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
            Self::Network => "network",
        }
    }
}

impl Ended {
    pub(crate) fn new(code: u16, reason: impl Into<String>, by: EndedBy) -> Self {
        Self { code, reason: reason.into(), by }
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let by = self.by.in_words();
        write!(f, "{} {} (by {by})", self.code, self.reason)
    }
}
