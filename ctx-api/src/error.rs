//! What an operation rejects with, and how a call ended.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The kinds of failure a script can tell apart: each is the `name` of the JavaScript error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorCode {
    /// The operation's signal was aborted.
    AbortError,
    /// As above, by `AbortSignal.timeout`.
    TimeoutError,
    /// The call is over.
    CallEnded,
    /// The operation does not fit the call's state.
    InvalidState,
    /// A file or record does not exist, or lies outside what scripts may see.
    NotFound,
    /// Audio could not be read, or no codec fits.
    MediaError,
    /// This backend has no such operation.
    Unsupported,
    /// A provider is missing in the configuration; the message says which key to set.
    NotConfigured,
    /// An argument is of the wrong shape.
    TypeError,
    /// An argument is out of its range.
    RangeError,
    /// `fetch` could not reach its target, or may not.
    NetworkError,
    /// The store, or an account's database, could not do it; the message is the database's own.
    DatabaseError,
    /// A bound of the engine was reached.
    LimitError,
}

impl ErrorCode {
    /// The `name` of the JavaScript error.
    pub fn name(self) -> &'static str {
        match self {
            Self::AbortError => "AbortError",
            Self::TimeoutError => "TimeoutError",
            Self::CallEnded => "CallEnded",
            Self::InvalidState => "InvalidState",
            Self::NotFound => "NotFound",
            Self::MediaError => "MediaError",
            Self::Unsupported => "Unsupported",
            Self::NotConfigured => "NotConfigured",
            Self::TypeError => "TypeError",
            Self::RangeError => "RangeError",
            Self::NetworkError => "NetworkError",
            Self::DatabaseError => "DatabaseError",
            Self::LimitError => "LimitError",
        }
    }
}

/// Why an operation failed, as the script sees it.
#[derive(Clone, Debug, PartialEq, Error, Serialize, Deserialize)]
#[error("{}: {message}", code.name())]
pub struct OpError {
    pub code: ErrorCode,
    pub message: String,
    /// Set for [`ErrorCode::CallEnded`].
    pub cause: Option<CallEndedCause>,
}

impl OpError {
    /// An error of a kind, with the sentence the script's author will read.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), cause: None }
    }

    /// `operation` does not fit a call that is `state`.
    pub fn invalid_state(operation: &str, state: &str) -> Self {
        Self::new(ErrorCode::InvalidState, format!("{operation}: the call is {state}"))
    }

    /// The call ended while the operation was pending.
    pub fn call_ended(cause: CallEndedCause) -> Self {
        Self { code: ErrorCode::CallEnded, message: cause.to_string(), cause: Some(cause) }
    }

    /// `operation` was asked for when the call was over. A script that has hung up should know that; one that was hung up on is
    /// told what an operation that was under way is told, and it ends normally if it does not listen.
    pub fn after_the_end(operation: &str, cause: &CallEndedCause) -> Self {
        match cause.by {
            EndedBy::Script => Self::invalid_state(operation, "ended"),
            EndedBy::Caller | EndedBy::Callee | EndedBy::Engine => Self::call_ended(cause.clone()),
        }
    }

    /// The operation's signal was aborted.
    pub fn aborted(operation: &str) -> Self {
        Self::new(ErrorCode::AbortError, format!("{operation} was aborted"))
    }
}

/// Who ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndedBy {
    Caller,
    Callee,
    Script,
    Engine,
}

impl EndedBy {
    /// As scripts and the API spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Callee => "callee",
            Self::Script => "script",
            Self::Engine => "engine",
        }
    }
}

/// How a call ended: the `cause` of `CallEnded`, and what `waitForHangup` resolves with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallEndedCause {
    /// SIP status code: 200 for a normal BYE, 487 for a cancelled call, else the final response or the code in Reason.
    pub code: u16,
    pub reason: String,
    pub by: EndedBy,
}

impl std::fmt::Display for CallEndedCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the call was ended by the {} ({} {})", self.by.name(), self.code, self.reason)
    }
}
