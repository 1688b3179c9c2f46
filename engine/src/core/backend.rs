//! The media server a call is on.

use std::time::Instant;

use lockstep_ctx_api::op::Op;
use lockstep_ctx_api::{BackendOutput, CallBackend, CallState, OpId};

use super::board::Board;
use super::freeswitch::ConnectionId;
use crate::backend::freeswitch::FreeSwitchBackend;
use crate::backend::native::{Ending, NativeBackend};

/// What carries out a call's operations.
#[derive(Debug)]
pub(crate) enum Backend {
    Native(Box<NativeBackend<Board>>),
    FreeSwitch { backend: Box<FreeSwitchBackend>, connection: ConnectionId },
}

impl Backend {
    /// Our own SIP and media, for what only they report.
    pub(super) fn native_mut(&mut self) -> Option<&mut NativeBackend<Board>> {
        match self {
            Self::Native(backend) => Some(backend),
            Self::FreeSwitch { .. } => None,
        }
    }

    /// Whether the call is on our own SIP and media.
    pub(super) fn is_native(&self) -> bool {
        matches!(self, Self::Native(_))
    }

    /// A channel on a FreeSWITCH and its connection.
    pub(super) fn free_switch_mut(&mut self) -> Option<(&mut FreeSwitchBackend, ConnectionId)> {
        match self {
            Self::FreeSwitch { backend, connection } => Some((backend, *connection)),
            Self::Native(_) => None,
        }
    }

    /// Where the call stands.
    pub(super) fn state(&self) -> CallState {
        match self {
            Self::Native(backend) => backend.state(),
            Self::FreeSwitch { backend, .. } => backend.state(),
        }
    }

    /// Another script has the call from now on.
    pub(super) fn has_new_script(&mut self) {
        match self {
            Self::Native(backend) => backend.has_new_script(),
            Self::FreeSwitch { backend, .. } => backend.has_new_script(),
        }
    }

    /// The call is taken from its script: what that has set for what it was about to do is no more.
    pub(super) fn leaves_script(&mut self, now: Instant) {
        match self {
            Self::Native(backend) => backend.leaves_script(),
            Self::FreeSwitch { backend, .. } => backend.leaves_script(now),
        }
    }

    /// Ends the call from outside its script.
    pub(super) fn end(&mut self, now: Instant, ending: Ending) {
        match self {
            Self::Native(backend) => backend.end(now, ending),
            Self::FreeSwitch { backend, .. } => backend.end(now, ending),
        }
    }

    /// Sets a variable for what the call does next, or removes it.
    pub(super) fn set_variable(&mut self, now: Instant, name: &str, value: Option<&str>) {
        match self {
            Self::Native(backend) => backend.set_variable(name, value),
            Self::FreeSwitch { backend, .. } => backend.set_variable(now, name, value),
        }
    }
}

impl CallBackend for Backend {
    fn submit(&mut self, now: Instant, id: OpId, op: Op) {
        match self {
            Self::Native(backend) => backend.submit(now, id, op),
            Self::FreeSwitch { backend, .. } => backend.submit(now, id, op),
        }
    }

    fn cancel(&mut self, now: Instant, id: OpId) {
        match self {
            Self::Native(backend) => backend.cancel(now, id),
            Self::FreeSwitch { backend, .. } => backend.cancel(now, id),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Native(backend) => backend.handle_timeout(now),
            Self::FreeSwitch { backend, .. } => backend.handle_timeout(now),
        }
    }

    fn poll_output(&mut self) -> BackendOutput {
        match self {
            Self::Native(backend) => backend.poll_output(),
            Self::FreeSwitch { backend, .. } => backend.poll_output(),
        }
    }
}
