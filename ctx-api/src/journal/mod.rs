//! The journal of a run: what pins it, what came in, what it asked for (architecture, rules of replay).
//!
//! A script is a pure function of its journal. The engine appends every inbound entry before it sends it and every turn's end
//! when it comes back, so a run whose worker died is rebuilt by feeding the same entries to a fresh runtime. [`Recorder`]
//! writes the journal, [`Replayer`] tells turns that are being repeated from new ones, [`Divergence`] says how a repeated turn
//! differs from the recorded one, and [`lines`] shows a journal to people.

mod diff;
mod entry;
mod json;
pub mod lines;
mod recorder;
mod redact;
mod replayer;
mod services;

pub use diff::{Divergence, DivergenceCode};
pub use entry::{FORMAT, Journal, JournalHeader, Mark, SourceDigest, Tail, TurnRecord};
pub use recorder::{Bounds, Recorder};
pub use redact::{REDACTED, Redactor, SecretNames, redact_json, redact_text, secrets_of};
pub use replayer::{Progress, ReplayError, Replayer};
