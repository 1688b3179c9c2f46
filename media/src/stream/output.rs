//! What a stream wants done, and what it reports.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::codec::Codec;
use crate::digit::Digit;
use crate::playout::{PlayId, PlayoutEnd};
use crate::recording::RecordingId;
use crate::rtp::{RtpTimestamp, Ssrc};

use super::command::{DtmfId, DtmfMethod};

/// The next thing [`super::MediaStream::poll_output`] wants done.
#[derive(Debug, PartialEq)]
pub enum Output<'a> {
    /// Send this datagram.
    Transmit(Transmit<'a>),
    /// Tell the call.
    Event(MediaEvent),
    /// Append to a recording: mono samples, or left and right in turn.
    Recording {
        /// Which recording.
        id: RecordingId,
        /// 1 or 2.
        channels: u8,
        /// At the stream's sample rate.
        samples: &'a [i16],
    },
    /// Nothing more now; call `handle_timeout` at this time, or earlier when something arrives. `None` waits for nothing but
    /// what arrives.
    Timeout(Option<Instant>),
}

/// A datagram to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmit<'a> {
    /// Where to.
    pub to: SocketAddr,
    /// Which of the leg's ports it leaves from.
    pub channel: Channel,
    /// The datagram.
    pub bytes: &'a [u8],
}

/// The ports of a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// The RTP port; with rtcp-mux it carries RTCP as well.
    Rtp,
    /// The port above it.
    Rtcp,
}

/// Something the call wants to know.
#[derive(Debug, Clone, PartialEq)]
pub enum MediaEvent {
    /// A key was pressed. Reported once per key press, at the first end packet, or when the end is known to be lost.
    Digit {
        /// The key.
        digit: Digit,
        /// How long it was held.
        duration: Duration,
        /// How it travelled.
        method: DtmfMethod,
    },
    /// A playout is over; follows its last packet.
    PlayoutFinished {
        /// Which one.
        id: PlayId,
        /// Audio sent, without the silence that fills the last packet.
        played: Duration,
        /// Why it is over.
        end: PlayoutEnd,
    },
    /// The last packet of the last key, and its gap, are out.
    DtmfSent {
        /// Which run.
        id: DtmfId,
        /// Keys sent; fewer than asked for when cancelled.
        sent: usize,
    },
    /// A recording has delivered its last chunk.
    RecordingFinished {
        /// Which one.
        id: RecordingId,
        /// Length of what was recorded.
        duration: Duration,
    },
    /// The first RTP packet arrived, or the first after a media time-out, or since a description with another address.
    MediaStarted {
        /// Where it came from, and where packets now go.
        source: SocketAddr,
    },
    /// No RTP for the configured time although it is expected. Reported once, until packets come again.
    MediaTimeout {
        /// How long nothing came.
        silent_for: Duration,
    },
    /// The other side said goodbye by RTCP BYE.
    RemoteBye,
}

/// A packet of one leg on its way to the other; see [`super::MediaStream::forward`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward<'p> {
    pub(crate) kind: ForwardKind,
    /// Changes whenever sequence and timestamp start anew.
    pub(crate) generation: u32,
    pub(crate) ssrc: Ssrc,
    pub(crate) sequence: u64,
    pub(crate) timestamp: RtpTimestamp,
    pub(crate) marker: bool,
    pub(crate) payload: &'p [u8],
}

/// What a forwarded payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ForwardKind {
    Audio(Codec),
    TelephoneEvent { clock_rate: u32 },
}

/// Figures of a stream since it began.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StreamStats {
    /// RTP packets sent.
    pub packets_sent: u64,
    /// Octets of payload sent.
    pub octets_sent: u64,
    /// RTP packets accepted.
    pub packets_received: u64,
    /// Octets of payload accepted.
    pub octets_received: u64,
    /// Packets that never came (RFC 3550 appendix A.3); late and repeated ones can make it shrink.
    pub packets_lost: i64,
    /// Interarrival jitter (RFC 3550 section 6.4.1).
    pub jitter: Duration,
    /// Packets that came after one with a higher sequence number.
    pub packets_reordered: u64,
    /// What the other side reported losing, of what we sent, in packets.
    pub remote_packets_lost: i32,
    /// The jitter the other side reported.
    pub remote_jitter: Duration,
    /// Round-trip time by RTCP, once the other side has answered a report.
    pub round_trip: Option<Duration>,
    /// What was dropped on arrival.
    pub dropped: DropStats,
}

/// Packets that arrived and were not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DropStats {
    /// Not RTP, or not RTCP on the RTCP port.
    pub malformed: u64,
    /// From an address that is not the other side's.
    pub wrong_source: u64,
    /// From a second synchronisation source that did not prove itself.
    pub wrong_ssrc: u64,
    /// With a payload type nobody agreed to.
    pub wrong_payload_type: u64,
    /// Before the session description, or while the direction does not let the other side send.
    pub unexpected: u64,
}
