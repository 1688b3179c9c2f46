//! RTP packets, RFC 3550 section 5: validated before a field is read, written by hand on the hot path.

use thiserror::Error;

/// Octets of a header without CSRCs or extension.
pub const HEADER_LEN: usize = 12;

/// The largest RTP packet this crate sends: an Ethernet frame less IPv6 and UDP headers.
pub const MAX_PACKET: usize = 1452;

/// A synchronisation source identifier (RFC 3550 section 3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ssrc(pub u32);

/// A 7-bit payload type; what it means is agreed in SDP.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PayloadType(u8);

impl PayloadType {
    /// Comfort noise at 8 kHz (RFC 3389), sent by some phones without negotiation.
    pub const COMFORT_NOISE: PayloadType = PayloadType(13);

    /// What we announce for telephone events: the number everybody uses.
    pub const TELEPHONE_EVENT: PayloadType = PayloadType(101);

    /// A payload type, when `value` fits in 7 bits.
    pub const fn new(value: u8) -> Option<PayloadType> {
        if value < 128 { Some(PayloadType(value)) } else { None }
    }

    /// The number on the wire, 0–127.
    pub const fn value(self) -> u8 {
        self.0
    }
}

/// A 16-bit sequence number, compared in serial arithmetic (RFC 1982).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SequenceNumber(pub u16);

impl SequenceNumber {
    /// How far `self` lies ahead of `other`; negative when behind.
    pub const fn distance(self, other: SequenceNumber) -> i16 {
        self.0.wrapping_sub(other.0) as i16
    }

    /// The number `count` packets later.
    pub const fn plus(self, count: u16) -> SequenceNumber {
        SequenceNumber(self.0.wrapping_add(count))
    }
}

/// A 32-bit media timestamp in ticks of the codec's RTP clock, compared in serial arithmetic.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RtpTimestamp(pub u32);

impl RtpTimestamp {
    /// How many ticks `self` lies ahead of `other`; negative when behind.
    pub const fn distance(self, other: RtpTimestamp) -> i32 {
        self.0.wrapping_sub(other.0) as i32
    }

    /// The timestamp `ticks` later.
    pub const fn plus(self, ticks: u32) -> RtpTimestamp {
        RtpTimestamp(self.0.wrapping_add(ticks))
    }
}

/// The fixed header fields that this crate uses (RFC 3550 section 5.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RtpHeader {
    /// Set on the first packet of a talkspurt or of a telephone event.
    pub marker: bool,
    /// What the payload is.
    pub payload_type: PayloadType,
    /// Counts packets.
    pub sequence: SequenceNumber,
    /// Counts ticks of the media clock.
    pub timestamp: RtpTimestamp,
    /// Who sends.
    pub ssrc: Ssrc,
}

/// Why a datagram is not an RTP packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum RtpError {
    /// The datagram ends inside the header.
    #[error("rtp packet of {got} octets is too short, expected at least {expected}")]
    TooShort {
        /// Octets the fields read so far announce.
        expected: usize,
        /// Octets in the datagram.
        got: usize,
    },
    /// The version field is not 2.
    #[error("rtp version {got}, expected 2")]
    Version {
        /// The version found.
        got: u8,
    },
    /// The padding count is zero or larger than what it pads.
    #[error("rtp padding of {got} octets in {available} octets of payload")]
    Padding {
        /// The count in the last octet.
        got: u8,
        /// Octets after the header.
        available: usize,
    },
}

/// A validated RTP packet that borrows its payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RtpPacket<'a> {
    /// The fixed header.
    pub header: RtpHeader,
    /// What follows CSRCs and header extension, without padding.
    pub payload: &'a [u8],
}

impl<'a> RtpPacket<'a> {
    /// Validates `datagram` as RFC 3550 appendix A.1 asks and returns its header and payload.
    pub fn parse(datagram: &'a [u8]) -> Result<RtpPacket<'a>, RtpError> {
        let got = datagram.len();
        let Some((fixed, rest)) = datagram.split_first_chunk::<HEADER_LEN>() else {
            return Err(RtpError::TooShort { expected: HEADER_LEN, got });
        };
        let [first, second, seq0, seq1, ts0, ts1, ts2, ts3, ssrc0, ssrc1, ssrc2, ssrc3] = *fixed;
        if first >> 6 != 2 {
            return Err(RtpError::Version { got: first >> 6 });
        }
        let csrc_len = usize::from(first & 0x0f) * 4;
        let too_short = |announced: usize| RtpError::TooShort { expected: HEADER_LEN + announced, got };
        let mut payload = rest.get(csrc_len..).ok_or(too_short(csrc_len))?;
        if first & 0x10 != 0 {
            let Some((extension, after)) = payload.split_first_chunk::<4>() else {
                return Err(too_short(csrc_len + 4));
            };
            let extension_len = usize::from(u16::from_be_bytes([extension[2], extension[3]])) * 4;
            payload = after.get(extension_len..).ok_or(too_short(csrc_len + 4 + extension_len))?;
        }
        if first & 0x20 != 0 {
            let available = payload.len();
            let padding = payload.last().copied().unwrap_or(0);
            if padding == 0 || usize::from(padding) > available {
                return Err(RtpError::Padding { got: padding, available });
            }
            payload = payload.get(..available - usize::from(padding)).unwrap_or_default();
        }
        let header = RtpHeader {
            marker: second & 0x80 != 0,
            payload_type: PayloadType(second & 0x7f),
            sequence: SequenceNumber(u16::from_be_bytes([seq0, seq1])),
            timestamp: RtpTimestamp(u32::from_be_bytes([ts0, ts1, ts2, ts3])),
            ssrc: Ssrc(u32::from_be_bytes([ssrc0, ssrc1, ssrc2, ssrc3])),
        };
        Ok(RtpPacket { header, payload })
    }
}

impl RtpHeader {
    /// The 12 octets of this header, without padding, extension or CSRCs.
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        let [seq0, seq1] = self.sequence.0.to_be_bytes();
        let [ts0, ts1, ts2, ts3] = self.timestamp.0.to_be_bytes();
        let [ssrc0, ssrc1, ssrc2, ssrc3] = self.ssrc.0.to_be_bytes();
        let second = self.payload_type.0 | if self.marker { 0x80 } else { 0 };
        [0x80, second, seq0, seq1, ts0, ts1, ts2, ts3, ssrc0, ssrc1, ssrc2, ssrc3]
    }
}

/// Tells RTCP from RTP on a shared port by its second octet (RFC 5761 section 4).
pub fn is_rtcp(datagram: &[u8]) -> bool {
    matches!(datagram, [_, 192..=223, ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: RtpHeader = RtpHeader {
        marker: true,
        payload_type: PayloadType(101),
        sequence: SequenceNumber(0xfffe),
        timestamp: RtpTimestamp(0x0102_0304),
        ssrc: Ssrc(0xdead_beef),
    };

    fn datagram(payload: &[u8]) -> Vec<u8> {
        let mut bytes = HEADER.to_bytes().to_vec();
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn what_is_written_is_parsed_back() {
        let bytes = datagram(b"abc");
        assert_eq!(RtpPacket::parse(&bytes), Ok(RtpPacket { header: HEADER, payload: b"abc" }));
    }

    #[test]
    fn a_header_extension_longer_than_the_packet_is_refused() {
        let mut bytes = datagram(&[0xbe, 0xde, 0xff, 0xff, 1, 2, 3, 4]);
        bytes[0] |= 0x10;
        let expected = 12 + 4 + 0xffff * 4;
        assert_eq!(RtpPacket::parse(&bytes), Err(RtpError::TooShort { expected, got: 20 }));
    }

    #[test]
    fn csrcs_extension_and_padding_are_not_payload() {
        let mut bytes = datagram(&[9, 9, 9, 9, 0xbe, 0xde, 0, 1, 7, 7, 7, 7, b'x', b'y', 0, 2]);
        bytes[0] |= 0x20 | 0x10 | 1;
        assert_eq!(RtpPacket::parse(&bytes).map(|packet| packet.payload), Ok(&b"xy"[..]));
    }

    #[test]
    fn padding_beyond_the_payload_is_refused() {
        for padding in [0, 4] {
            let mut bytes = datagram(&[1, 2, padding]);
            bytes[0] |= 0x20;
            assert_eq!(RtpPacket::parse(&bytes), Err(RtpError::Padding { got: padding, available: 3 }));
        }
    }

    #[test]
    fn every_truncation_is_an_error_or_a_shorter_payload() {
        let mut bytes = datagram(&[9, 9, 9, 9, 0xbe, 0xde, 0, 1, 7, 7, 7, 7]);
        bytes[0] |= 0x10 | 1;
        for len in 0..bytes.len() {
            assert!(matches!(RtpPacket::parse(&bytes[..len]), Err(RtpError::TooShort { .. })), "{len}");
        }
    }

    #[test]
    fn another_version_is_refused() {
        let mut bytes = datagram(&[]);
        bytes[0] = 0x40;
        assert_eq!(RtpPacket::parse(&bytes), Err(RtpError::Version { got: 1 }));
    }

    #[test]
    fn serial_arithmetic_survives_the_wrap() {
        assert_eq!(SequenceNumber(1).distance(SequenceNumber(0xffff)), 2);
        assert_eq!(RtpTimestamp(0xffff_fff0).distance(RtpTimestamp(0x10)), -0x20);
    }

    #[test]
    fn rtcp_is_told_from_rtp_with_the_marker_set() {
        assert!(is_rtcp(&[0x80, 200]));
        assert!(!is_rtcp(&[0x80, 0x80 | 8]));
        assert!(!is_rtcp(&[0x80, 0x80 | 101]));
        assert!(!is_rtcp(&[0x80]));
    }
}
