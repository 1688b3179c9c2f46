//! The result of an offer/answer exchange.

use std::net::SocketAddr;
use std::time::Duration;

use super::direction::Direction;
use crate::codec::Codec;
use crate::rtp::PayloadType;

/// What offer and answer settled: all that a [`crate::stream::MediaStream`] needs to know about the other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// Where the other side wants RTP; `None` when it gave no usable address (`c=0.0.0.0`, a host name) or no port.
    pub remote: Option<SocketAddr>,
    /// Where the other side wants RTCP; equal to `remote` with rtcp-mux.
    pub remote_rtcp: Option<SocketAddr>,
    /// Both sides agreed to carry RTCP on the RTP port (RFC 5761).
    pub rtcp_mux: bool,
    /// The codec we send.
    pub codec: Codec,
    /// The payload type we send it with.
    pub payload_type: PayloadType,
    /// The packet time we send with.
    pub packet_time: Duration,
    /// The longest packet the other side takes.
    pub max_packet_time: Option<Duration>,
    /// Payload types that may arrive, with what they mean.
    pub receive: Vec<(PayloadType, Codec)>,
    /// Telephone events, when both sides speak them (RFC 4733).
    pub telephone_event: Option<TelephoneEventTypes>,
    /// What we may do: send, receive, both, neither.
    pub direction: Direction,
    /// The other side listens to nothing: it put the call on hold, in whatever spelling.
    pub held: bool,
}

/// Payload types of telephone events in either direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TelephoneEventTypes {
    /// The one the other side wants.
    pub send: PayloadType,
    /// The one we announced.
    pub receive: PayloadType,
}

impl Negotiated {
    /// Whether keys can only arrive as tones in the audio, because telephone events were not agreed on.
    pub fn in_band_dtmf(&self) -> bool {
        self.telephone_event.is_none()
    }
}
