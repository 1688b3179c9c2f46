//! The engine's core: one thread that owns the SIP endpoint, every call and the script workers' sockets.
//!
//! [`EngineHandle`] is how every other thread talks to it.
//!
//! | subject | files |
//! |---|---|
//! | the thread | `driver` (its loop), `switch` (everything that happens to calls), `world` and `real_world` (what it needs of sockets, media, names), `setup`, `provisioned` (entries that change while it runs) |
//! | asking it | `handle`, `requests`, `stats` |
//! | who may call | `gatekeeper` (who it is), `guesses` (wrong passwords), `customers`, `guard` (what customers may spend), `refusals` |
//! | coming in | `incoming`, `dialled`, `destinations`, `directory` (who is who), `gateway_entry`, `named_scripts` |
//! | going out | `outgoing`, `routing` (from what is dialled to the ways there), `trunks` (gateways), `probes`, `credentials`, `messages` |
//! | a call | `live_call`, `calls` (between script and backend), `exchange` (what all calls share), `board` (its legs' wishes as SIP and media), `dialog_events`, `call_facts`, `backend` |
//! | changing hands | `executions` (operations that others ask for), `claiming` (who has a call), `former` (scripts that had one), `joining` (two calls made one) |
//! | telling | `timeline`, `timeline_log`, `timeline_replayed`; `event_log`, `engine_event`, `key_events`, `watching`; `channel`, `channel_vars` |
//! | keeping | `keeping` (journals on their way to disk), `past_calls`, `broken_off` (calls in whose midst an engine died), `recordings` |
//! | FreeSWITCH | `freeswitch`, `freeswitch_listener`, `freeswitch_routes` |

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
mod dialled;
mod dialog_events;
pub(crate) mod directory;
mod driver;
mod ended;
mod engine_event;
mod event_log;
pub(crate) mod exchange;
mod executions;
mod former;
mod freeswitch;
mod freeswitch_listener;
mod freeswitch_routes;
mod gatekeeper;
mod gateway_entry;
mod guard;
mod guesses;
pub(crate) mod handle;
mod incoming;
mod joining;
mod keeping;
mod key_events;
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
    CallFilter, CallSummary, EngineError, EngineHandle, GatewayStanding, Metric, MetricKind, Originate, Readiness, Registration,
    ScriptInfo, StatsSnapshot,
};
pub use key_events::{KeyChange, KeyChanged, KeyNotice, KeysWatched};
pub use live_call::PLACED;
pub use messages::TextMessage;
pub(crate) use timeline_log::{detail as op_detail, logged, outcome_text};
pub(crate) use timeline_replayed::{last_ms, timeline_of};
pub use world::{ApplicationCall, LedOn};

#[cfg(test)]
pub(crate) mod tests;
