//! The engine's core: one thread that owns the SIP endpoint, every call and the script workers' sockets.
//!
//! [`EngineHandle`] is how every other thread talks to it.

mod handle;
pub mod timeline;

pub use handle::{
    CallFilter, CallSummary, EngineError, EngineEvent, EngineHandle, Metric, MetricKind, Originate, Readiness, ScriptInfo,
    StatsSnapshot,
};
