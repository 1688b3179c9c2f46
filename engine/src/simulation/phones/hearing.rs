//! What one side of a call heard, or sent: octets placed by timestamp, with what never came marked as such.

use lockstep_media::codec::Codec;
use lockstep_media::rtp::{RtpPacket, is_rtcp};
use lockstep_media::sdp::Negotiated;

/// The longest kept, in octets: two hours of G.711.
const MAX_OCTETS: usize = 2 * 3600 * 8_000;
/// A timestamp this far from the expected one (in ticks, 10 s) starts anew instead of leaving a gap.
const MAX_JUMP: i64 = 10 * 8_000;

/// The audio of one direction. Sans-IO.
#[derive(Debug, Default)]
pub(crate) struct Hearing {
    codec: Option<Codec>,
    octets: Vec<u8>,
    /// Whether the octet came; those that did not are silence.
    known: Vec<bool>,
    anchor: Option<Anchor>,
}

/// Ties a stream's timestamps to places.
#[derive(Debug)]
struct Anchor {
    ssrc: u32,
    timestamp: u32,
    position: i64,
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
            self.place(codec, packet.header.ssrc.0, packet.header.timestamp.0, packet.payload);
        }
    }

    /// Takes an RTP packet of our own.
    pub(crate) fn take_sent(&mut self, negotiated: &Negotiated, datagram: &[u8]) {
        if is_rtcp(datagram) {
            return;
        }
        let Ok(packet) = RtpPacket::parse(datagram) else { return };
        if packet.header.payload_type == negotiated.payload_type {
            self.place(negotiated.codec, packet.header.ssrc.0, packet.header.timestamp.0, packet.payload);
        }
    }

    /// As [`Self::take`], without a packet around the audio.
    #[cfg(test)]
    pub(crate) fn place_at(&mut self, codec: Codec, timestamp: u32, payload: &[u8]) {
        self.place(codec, 1, timestamp, payload);
    }

    fn place(&mut self, codec: Codec, ssrc: u32, timestamp: u32, payload: &[u8]) {
        let end = self.octets.len() as i64;
        let position = match &self.anchor {
            Some(anchor) if anchor.ssrc == ssrc => {
                // The difference as a signed number: timestamps wrap, and packets overtake each other.
                let position = anchor.position + i64::from(timestamp.wrapping_sub(anchor.timestamp) as i32);
                if (position - end).abs() > MAX_JUMP { end } else { position }
            }
            Some(_) | None => end,
        };
        self.anchor = Some(Anchor { ssrc, timestamp, position });
        let Ok(start) = usize::try_from(position) else { return };
        let Some(stop) = start.checked_add(payload.len()).filter(|stop| *stop <= MAX_OCTETS) else { return };
        let own = *self.codec.get_or_insert(codec);
        if self.octets.len() < stop {
            self.octets.resize(stop, own.silence());
            self.known.resize(stop, false);
        }
        let (Some(octets), Some(known)) = (self.octets.get_mut(start..stop), self.known.get_mut(start..stop)) else { return };
        if codec == own {
            octets.copy_from_slice(payload);
        } else {
            for (to, from) in octets.iter_mut().zip(payload) {
                *to = own.encode_sample(codec.decode_sample(*from));
            }
        }
        known.fill(true);
    }

    /// The codec of the octets: that of the first packet.
    pub(crate) fn codec(&self) -> Option<Codec> {
        self.codec
    }

    /// One octet a sample, 8 kHz; what never came is silence.
    pub(crate) fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Which octets came.
    pub(crate) fn known(&self) -> &[bool] {
        &self.known
    }

    pub(crate) fn len(&self) -> usize {
        self.octets.len()
    }

    /// As samples, for a file.
    pub(crate) fn samples(&self) -> Vec<i16> {
        let mut samples = Vec::with_capacity(self.octets.len());
        if let Some(codec) = self.codec {
            codec.decode(&self.octets, &mut samples);
        }
        samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: u8 = 0xFF;

    fn heard(packets: &[(u32, u32, &[u8])]) -> (Vec<u8>, Vec<bool>) {
        let mut hearing = Hearing::default();
        for (ssrc, timestamp, payload) in packets {
            hearing.place(Codec::Pcmu, *ssrc, *timestamp, payload);
        }
        (hearing.octets().to_vec(), hearing.known().to_vec())
    }

    #[test]
    fn packets_stand_where_their_timestamps_say_and_gaps_are_known() {
        let (octets, known) = heard(&[(1, 100, &[1, 2]), (1, 104, &[5, 6]), (1, 107, &[8])]);
        assert_eq!(octets, [1, 2, SILENCE, SILENCE, 5, 6, SILENCE, 8]);
        assert_eq!(known, [true, true, false, false, true, true, false, true]);
        assert_eq!(heard(&[(1, u32::MAX, &[1]), (1, 1, &[3]), (1, 0, &[2])]).0, [1, 2, 3]);
    }

    #[test]
    fn another_source_or_a_jump_goes_on_at_the_end() {
        assert_eq!(heard(&[(1, 100, &[1]), (2, 7_000_000, &[2]), (2, 14_000_000, &[3])]).0, [1, 2, 3]);
    }
}
