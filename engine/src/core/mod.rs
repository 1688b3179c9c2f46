//! The engine's core: one thread that owns the SIP endpoint, every call and the script workers' sockets.
//!
//! [`EngineHandle`] is how every other thread talks to it.

mod backend;
mod board;
mod broken_off;
mod call_facts;
mod calls;
mod channel;
mod channel_vars;
mod claiming;
mod credentials;
mod customers;
mod destinations;
mod dialog_events;
pub(crate) mod directory;
mod driver;
mod engine_event;
mod event_log;
pub(crate) mod exchange;
mod executions;
mod former;
mod freeswitch;
mod freeswitch_listener;
mod freeswitch_routes;
mod gatekeeper;
mod guard;
pub(crate) mod handle;
mod incoming;
mod joining;
mod keeping;
mod live_call;
mod messages;
mod named_scripts;
mod outgoing;
mod past_calls;
mod probes;
mod provisioned;
mod real_world;
pub(crate) mod recordings;
mod refusals;
mod requests;
mod routing;
pub(crate) mod setup;
mod stats;
pub(crate) mod switch;
pub mod timeline;
mod timeline_log;
mod timeline_replayed;
mod trunks;
mod watching;
pub(crate) mod world;

pub(crate) use calls::SCRIPT_LINES;
pub use channel::{
    Activity, Aftermath, Channel, ChannelEvent, ChannelTimes, Consequences, Execution, RunningRecording, says_yes,
};
pub use channel_vars::ChannelVars;
pub use claiming::{Claim, Claimed};
pub use driver::{Engine, StartError};
pub use engine_event::{EngineEvent, RegistrationChange};
pub use event_log::{EventLog, Missed, Published, Watcher};
pub use executions::Asker;
pub use handle::{
    CallFilter, CallSummary, EngineError, EngineHandle, Metric, MetricKind, Originate, Readiness, Registration, ScriptInfo,
    StatsSnapshot,
};
pub use live_call::PLACED;
pub use messages::TextMessage;
pub(crate) use timeline_log::{detail as op_detail, logged, outcome_text};
pub(crate) use timeline_replayed::{last_ms, timeline_of};
pub use world::{ApplicationCall, LedOn};

#[cfg(test)]
pub(crate) mod tests;
