//! The user agent: transactions, dialogs and the rules between them behind one set of inputs, commands and outputs.

mod config;
mod event;
mod types;

pub use self::config::{Config, SessionTimerConfig};
pub use self::event::{Event, Failure, Output, TerminationCause};
pub use self::types::{Body, CommandError, DialogId, DialogRequest, IncomingId, OutgoingRequest, RequestId};
