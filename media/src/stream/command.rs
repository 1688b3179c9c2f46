//! What a leg's media can be told to do.

use std::time::Duration;

use crate::digit::{Digit, DigitSet};
use crate::playout::{PlayId, Playlist};
use crate::recording::{RecordingId, RecordingOptions};
use crate::sdp::Negotiated;

/// Names one run of [`Command::SendDtmf`], chosen by whoever starts it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DtmfId(pub u64);

/// How keys travel in the media.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DtmfMethod {
    /// Telephone-event packets (RFC 4733).
    TelephoneEvent,
    /// Tones in the audio.
    InBand,
}

/// Keys to send, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DtmfRequest {
    /// Sent in this order.
    pub digits: Vec<Digit>,
    /// How long each key is held; brought into 40 ms – 8 s.
    pub duration: Duration,
    /// Silence after each key; at least 40 ms.
    pub gap: Duration,
    /// Telephone events fall back to tones when the other side never agreed to them.
    pub method: DtmfMethod,
}

/// A command to one [`super::MediaStream`].
#[derive(Debug)]
pub enum Command {
    /// Takes over what an offer/answer exchange settled. Packets leave at once and keep leaving.
    SetRemote(Box<Negotiated>),
    /// Plays; another playout that is running ends as replaced.
    Play {
        /// Comes back in `PlayoutFinished`.
        id: PlayId,
        /// What to play.
        playlist: Box<Playlist>,
    },
    /// Stops this playout within one packet time. Unknown ids are ignored: it may have ended by itself.
    Stop(PlayId),
    /// Sends keys after those already queued.
    SendDtmf {
        /// Comes back in `DtmfSent`.
        id: DtmfId,
        /// What to send.
        request: DtmfRequest,
    },
    /// Drops keys of this run that were not started; the one being sent is ended properly.
    CancelDtmf(DtmfId),
    /// Returns what arrives, this much later; `None` ends it.
    Echo(Option<Duration>),
    /// Starts a recording.
    Record {
        /// Comes with every chunk.
        id: RecordingId,
        /// What to record.
        options: RecordingOptions,
    },
    /// Leaves a recording's clock standing until it is resumed.
    PauseRecording(RecordingId),
    /// Goes on with a paused recording.
    ResumeRecording(RecordingId),
    /// Ends a recording; its last chunks and `RecordingFinished` follow.
    StopRecording(RecordingId),
    /// Keys that are neither reported nor passed to a bridge.
    BlockDtmf(DigitSet),
    /// From now on packets that arrive are handed out for the other leg.
    Join,
    /// Ends a bridge; the stream goes on without a break.
    Leave,
    /// A key of the joined leg, which its stream reported as a telephone event. Where this side has no telephone events it goes as
    /// a tone; else its packets were forwarded.
    RelayKey {
        /// The key.
        digit: Digit,
        /// How long it was held.
        held: Duration,
    },
}
