//! What one side of a call heard, or sent.

use std::ops::Range;

use lockstep_media::codec::Codec;
use lockstep_media::rtp::{RtpPacket, is_rtcp};
use lockstep_media::sdp::Negotiated;

use crate::phone::Track;

/// The audio of one direction. Sans-IO.
#[derive(Debug, Default)]
pub(crate) struct Hearing {
    track: Track,
}

impl Hearing {
    /// Takes an RTP packet; whatever is no audio that was agreed on is left out. Audio may overtake the answer that agrees on
    /// it (RFC 3264 section 5.1): then a codec's fixed payload type tells what it is.
    pub(crate) fn take(&mut self, negotiated: Option<&Negotiated>, datagram: &[u8]) {
        if is_rtcp(datagram) {
            return;
        }
        let Ok(packet) = RtpPacket::parse(datagram) else { return };
        let payload_type = packet.header.payload_type;
        let codec = match negotiated {
            Some(negotiated) => negotiated.receive.iter().find(|(known, _)| *known == payload_type).map(|(_, codec)| *codec),
            None => Codec::from_static_payload_type(payload_type.value()),
        };
        if let Some(codec) = codec {
            self.track.place(codec, packet.header.ssrc.0, packet.header.timestamp.0, packet.payload);
        }
    }

    /// Takes an RTP packet of our own.
    pub(crate) fn take_sent(&mut self, negotiated: &Negotiated, datagram: &[u8]) {
        if is_rtcp(datagram) {
            return;
        }
        let Ok(packet) = RtpPacket::parse(datagram) else { return };
        if packet.header.payload_type == negotiated.payload_type {
            self.track.place(negotiated.codec, packet.header.ssrc.0, packet.header.timestamp.0, packet.payload);
        }
    }

    /// As [`Self::take`], without a packet around the audio.
    #[cfg(test)]
    pub(crate) fn place_at(&mut self, codec: Codec, timestamp: u32, payload: &[u8]) {
        self.track.place(codec, 1, timestamp, payload);
    }

    /// The codec of the octets: that of the first packet.
    pub(crate) fn codec(&self) -> Option<Codec> {
        self.track.codec()
    }

    /// One octet a sample, 8 kHz; what never came is silence.
    pub(crate) fn octets(&self) -> &[u8] {
        self.track.octets()
    }

    /// Whether the octet at this place came.
    pub(crate) fn is_known(&self, at: usize) -> bool {
        self.track.is_known(at)
    }

    /// How many octets of these never came.
    pub(crate) fn missing(&self, within: Range<usize>) -> usize {
        self.track.missing(within)
    }

    pub(crate) fn len(&self) -> usize {
        self.octets().len()
    }

    /// As samples, for a file.
    pub(crate) fn samples(&self) -> Vec<i16> {
        let mut samples = Vec::with_capacity(self.len());
        if let Some(codec) = self.codec() {
            codec.decode(self.octets(), &mut samples);
        }
        samples
    }
}
