//! Media in real time: threads that own legs, the sockets and ports of legs, and the files of recordings.
//!
//! ```text
//!  core thread                         media threads, one a core            recorder thread
//!  MediaPool ── mailbox (bounded) ──►  legs: MediaStream + sockets ───────► WAV, Ogg
//!  PoolEvents ◄── channel (bounded) ── wheel, epoll            blocks of samples
//! ```
//!
//! A leg lives on one thread. Joined legs live on the same one: [`MediaPool::join`] moves a leg, sockets and all, if it
//! has to. Nothing on a media thread blocks, and a packet on its way costs no allocation.

mod admission;
mod lateness;
mod leg;
mod legs;
mod mailbox;
mod outbox;
mod pool;
mod port_pool;
mod recorder;
mod sockets;
mod sys;
mod thread;
mod wheel;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

pub use admission::Refusal;
pub use lateness::Lateness;
pub use pool::{Gauges, Leg, MediaPool, PoolConfig, PoolEvents, SendError};
pub use port_pool::PortError;
pub use recorder::{RecordingError, RecordingFile, RecordingFormat, mark_recording, recording_mark};
pub use sys::may_go_ahead;

use crate::{
    recording::RecordingId,
    stream::{MediaEvent, StreamStats},
};

/// Names a leg; never used twice in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LegId(pub u64);

/// What media threads tell the engine's core.
#[derive(Debug)]
pub enum PoolEvent {
    /// Something a stream reports.
    Media {
        /// The leg.
        leg: LegId,
        /// When it happened.
        at: Instant,
        /// What happened.
        event: MediaEvent,
    },
    /// The file of a recording is open, and the recording runs.
    RecordingStarted {
        /// The leg.
        leg: LegId,
        /// The recording.
        id: RecordingId,
    },
    /// A recording ended, and its file is complete.
    RecordingSaved {
        /// The leg.
        leg: LegId,
        /// The recording.
        id: RecordingId,
        /// The file.
        path: PathBuf,
        /// How long it plays.
        duration: Duration,
    },
    /// The file could not be opened or written. The stream goes on recording into nothing until it is told to stop.
    RecordingFailed {
        /// The leg.
        leg: LegId,
        /// The recording.
        id: RecordingId,
        /// What went wrong.
        error: RecordingError,
    },
    /// A leg is gone: the last event about it, but for a recording that is still being written.
    Closed {
        /// The leg.
        leg: LegId,
        /// Its figures.
        stats: StreamStats,
    },
}
