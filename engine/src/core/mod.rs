//! The engine's core: one thread that owns the SIP endpoint, every call and the script workers' sockets.
//!
//! [`EngineHandle`] is how every other thread talks to it.

mod board;
mod call_facts;
mod calls;
mod dialog_events;
mod directory;
mod driver;
mod exchange;
mod gatekeeper;
mod handle;
mod incoming;
mod live_call;
mod outgoing;
mod past_calls;
mod real_world;
mod recordings;
mod refusals;
mod requests;
mod stats;
mod switch;
pub mod timeline;
mod timeline_log;
mod trunks;
mod world;

pub use driver::{Engine, StartError};
pub use handle::{
    CallFilter, CallSummary, EngineError, EngineEvent, EngineHandle, Metric, MetricKind, Originate, Readiness, ScriptInfo,
    StatsSnapshot,
};

#[cfg(test)]
mod tests;
