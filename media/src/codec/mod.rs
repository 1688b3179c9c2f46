//! Audio codecs: what one is called in SDP, how its packets are measured, and how samples become octets.

pub mod g711;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

/// An audio codec this build can speak.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Codec {
    /// G.711 µ-law, 8 kHz (RFC 3551 section 4.5.14).
    Pcmu,
    /// G.711 A-law, 8 kHz (RFC 3551 section 4.5.14).
    Pcma,
}

/// A codec name that this build does not know.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown codec {got:?}, expected one of pcmu, pcma")]
pub struct UnknownCodec {
    /// The name as it was given.
    pub got: String,
}

impl Codec {
    /// Every codec built in, in order of preference.
    pub const ALL: [Codec; 2] = [Codec::Pcmu, Codec::Pcma];

    /// The encoding name of `a=rtpmap` (RFC 3551 section 6). Compared without regard to case.
    pub const fn name(self) -> &'static str {
        match self {
            Codec::Pcmu => "PCMU",
            Codec::Pcma => "PCMA",
        }
    }

    /// The payload type that needs no `a=rtpmap` (RFC 3551 table 4), where there is one.
    pub const fn static_payload_type(self) -> Option<u8> {
        match self {
            Codec::Pcmu => Some(0),
            Codec::Pcma => Some(8),
        }
    }

    /// The codec a static payload type stands for when the SDP has no `a=rtpmap` for it.
    pub fn from_static_payload_type(payload_type: u8) -> Option<Codec> {
        Codec::ALL.into_iter().find(|codec| codec.static_payload_type() == Some(payload_type))
    }

    /// The codec an `a=rtpmap` names.
    pub fn from_rtpmap(name: &str, clock_rate: u32, channels: u32) -> Option<Codec> {
        Codec::ALL
            .into_iter()
            .find(|codec| codec.name().eq_ignore_ascii_case(name) && codec.clock_rate() == clock_rate && channels == 1)
    }

    /// Ticks of the RTP clock per second, in Hz.
    pub const fn clock_rate(self) -> u32 {
        match self {
            Codec::Pcmu | Codec::Pcma => 8000,
        }
    }

    /// Samples per second of the audio before encoding, in Hz.
    pub const fn sample_rate(self) -> u32 {
        match self {
            Codec::Pcmu | Codec::Pcma => 8000,
        }
    }

    /// RTP clock ticks in a packet that lasts `packet_time`.
    pub fn ticks(self, packet_time: Duration) -> u32 {
        let ticks = packet_time.as_micros() * u128::from(self.clock_rate()) / 1_000_000;
        u32::try_from(ticks).unwrap_or(u32::MAX)
    }

    /// Octets of payload in a packet that lasts `packet_time`.
    pub fn payload_len(self, packet_time: Duration) -> usize {
        match self {
            Codec::Pcmu | Codec::Pcma => self.ticks(packet_time) as usize,
        }
    }

    /// How long a payload of `len` octets plays.
    pub fn duration_of(self, len: usize) -> Duration {
        match self {
            Codec::Pcmu | Codec::Pcma => Duration::from_micros(len as u64 * 125),
        }
    }

    /// The octet that decodes to silence.
    pub const fn silence(self) -> u8 {
        match self {
            Codec::Pcmu => 0xff,
            Codec::Pcma => 0xd5,
        }
    }

    /// Decodes one octet.
    #[inline]
    pub fn decode_sample(self, octet: u8) -> i16 {
        match self {
            Codec::Pcmu => g711::ulaw_to_linear(octet),
            Codec::Pcma => g711::alaw_to_linear(octet),
        }
    }

    /// Encodes one sample.
    #[inline]
    pub fn encode_sample(self, sample: i16) -> u8 {
        match self {
            Codec::Pcmu => g711::linear_to_ulaw(sample),
            Codec::Pcma => g711::linear_to_alaw(sample),
        }
    }

    /// Decodes a payload, appending the samples to `out`.
    pub fn decode(self, payload: &[u8], out: &mut Vec<i16>) {
        out.extend(payload.iter().map(|&octet| self.decode_sample(octet)));
    }

    /// Encodes samples, appending the octets to `out`.
    pub fn encode(self, samples: &[i16], out: &mut Vec<u8>) {
        out.extend(samples.iter().map(|&sample| self.encode_sample(sample)));
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Codec {
    type Err = UnknownCodec;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Codec::ALL
            .into_iter()
            .find(|codec| codec.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| UnknownCodec { got: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_of_twenty_milliseconds_is_160_octets() {
        for codec in Codec::ALL {
            assert_eq!(codec.payload_len(Duration::from_millis(20)), 160);
            assert_eq!(codec.duration_of(160), Duration::from_millis(20));
        }
    }

    #[test]
    fn the_silence_octet_decodes_to_the_smallest_level() {
        for codec in Codec::ALL {
            assert!(codec.decode_sample(codec.silence()).abs() <= 8, "{codec}");
        }
    }

    #[test]
    fn names_are_found_in_any_case_and_unknown_ones_are_named() {
        assert_eq!("pcma".parse(), Ok(Codec::Pcma));
        assert_eq!(Codec::from_rtpmap("pcmu", 8000, 1), Some(Codec::Pcmu));
        assert_eq!(Codec::from_rtpmap("pcmu", 16000, 1), None);
        assert_eq!("g729".parse::<Codec>().unwrap_err().to_string(), "unknown codec \"g729\", expected one of pcmu, pcma");
    }
}
