//! What those see who watch the engine.

use std::sync::Arc;

use lockstep_ctx_api::{CallEndedCause, CallState};
use serde::Serialize;

use super::channel::{Channel, ChannelEvent};
use super::key_events::KeyChanged;
use super::timeline::TimelineEntry;
use crate::alerts::Alert;
use crate::jobs::Job;

/// Something that subscribers of `/v1/events` and tests see.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum EngineEvent {
    CallStarted {
        call: String,
        from: String,
        to: String,
        script: Option<String>,
    },
    CallState {
        call: String,
        state: CallState,
    },
    /// A new or completed line of a call's timeline.
    Timeline {
        call: String,
        entry: TimelineEntry,
    },
    CallEnded {
        call: String,
        cause: CallEndedCause,
        duration_ms: u64,
    },
    /// A call has ended and so have its scripts: nothing more of it follows.
    CallOver {
        call: String,
    },
    /// What a run outside calls wrote, or how much of it was left out.
    RunLog {
        /// `None`: all of the script's.
        #[serde(skip_serializing_if = "Option::is_none")]
        run: Option<Arc<str>>,
        /// The job that the run is a try of.
        #[serde(skip_serializing_if = "Option::is_none")]
        job: Option<i64>,
        script: String,
        /// Since the run was asked for.
        entry: TimelineEntry,
    },
    /// Something happened to a call or to a leg of its bridge.
    Channel {
        #[serde(flatten)]
        channel: Arc<Channel>,
        #[serde(skip)]
        what: ChannelEvent,
    },
    /// A device has registered or is gone.
    Registration {
        user: String,
        contact: String,
        change: RegistrationChange,
    },
    /// Scripts were loaded again: new calls run the new versions.
    ScriptsLoaded {
        scripts: usize,
    },
    /// A key of an account has changed.
    Kv(KeyChanged),
    /// A job has come as far as this.
    Job(Arc<Job>),
    /// Somebody should look at something.
    Alert(Alert),
}

/// What became of a device's registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RegistrationChange {
    Registered,
    Refreshed,
    Unregistered,
    Expired,
}

/// What an event costs besides what is counted: its parts have bounds of their own.
const EACH: usize = 512;

impl EngineEvent {
    /// About as much as keeping it takes, in octets.
    pub fn octets(&self) -> usize {
        let of = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let own = match self {
            Self::CallStarted { call, from, to, .. } => call.len() + from.len() + to.len(),
            Self::Kv(changed) => changed.key.len() + of(&changed.value),
            Self::Job(job) => job.data.len() + of(&job.progress) + of(&job.result) + of(&job.error),
            Self::Channel { what: ChannelEvent::Started(activity), .. } => activity.octets,
            Self::Alert(alert) => alert.text.len(),
            Self::Channel { .. }
            | Self::CallState { .. }
            | Self::Timeline { .. }
            | Self::CallEnded { .. }
            | Self::CallOver { .. }
            | Self::RunLog { .. }
            | Self::Registration { .. }
            | Self::ScriptsLoaded { .. } => 0,
        };
        EACH + own
    }

    /// The call the event belongs to.
    pub fn call(&self) -> Option<&str> {
        match self {
            Self::CallStarted { call, .. }
            | Self::CallState { call, .. }
            | Self::Timeline { call, .. }
            | Self::CallEnded { call, .. }
            | Self::CallOver { call } => Some(call),
            Self::Channel { channel, .. } => Some(&channel.call),
            Self::RunLog { .. }
            | Self::Registration { .. }
            | Self::ScriptsLoaded { .. }
            | Self::Kv(_)
            | Self::Job(_)
            | Self::Alert(_) => None,
        }
    }
}
