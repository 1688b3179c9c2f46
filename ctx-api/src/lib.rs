//! What a script sees and what the engine promises about it.
//!
//! The vocabulary ([`op`], [`outcome`], [`event`], [`error`]) is plain data: no sockets, no SIP, no JavaScript. Above it stand
//! the [`queue`], which decides when an operation of a call may start, and the [`journal`], from which a killed script is
//! rebuilt. [`wire`] carries both between the engine and a worker process, and `js` is what runs there.

pub mod backend;
pub mod catalog;
pub mod error;
pub mod event;
pub mod host;
pub mod journal;
#[cfg(feature = "js")]
pub mod js;
mod octets;
pub mod op;
pub mod outcome;
pub mod packages;
pub mod pattern;
pub mod queue;
mod well_formed;
pub mod wire;

pub use backend::{BackendOutput, CallBackend};
pub use error::{CallEndedCause, EndedBy, ErrorCode, OpError};
pub use event::{CallFacts, CallState, Event};
pub use op::{Op, OpClass, OpId};
pub use outcome::{OpResult, Outcome};
pub use queue::{OpQueue, QueueOutput};
pub use well_formed::well_formed;
