//! Why an offer or an answer cannot be used.

use std::net::IpAddr;

use thiserror::Error;

/// Why a session description, or an exchange of two, failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SdpError {
    /// The description is longer than this crate reads.
    #[error("sdp of {got} octets, expected at most {limit}")]
    TooLarge {
        /// The limit in octets.
        limit: usize,
        /// Its length in octets.
        got: usize,
    },
    /// It has more of something than this crate keeps.
    #[error("sdp has more than {limit} {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// A line this crate needs cannot be read.
    #[error("sdp line {line}: expected {expected}, got {got:?}")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// What the line should hold.
        expected: &'static str,
        /// What it holds.
        got: String,
    },
    /// There is no audio stream, or only ones with port 0.
    #[error("sdp has no active audio stream")]
    NoAudio,
    /// Every audio stream wants a transport other than plain RTP.
    #[error("sdp offers audio over {got}, expected RTP/AVP")]
    UnsupportedProfile {
        /// The profile of the first audio stream.
        got: String,
    },
    /// Audio over RTP, but no codec that both sides speak.
    #[error("no common codec: they have {theirs}, we have {ours}")]
    NoCommonCodec {
        /// The other side's formats.
        theirs: String,
        /// Our codecs.
        ours: String,
    },
    /// The media are on the other version of IP.
    #[error("sdp has audio over {got}, expected {expected}")]
    AddressFamily {
        /// Theirs.
        got: &'static str,
        /// That of the address we are reached at.
        expected: &'static str,
    },
    /// The media are at an address that many listen to.
    #[error("sdp has audio at {got}, expected the address of one host")]
    NotUnicast {
        /// A multicast or broadcast address.
        got: IpAddr,
    },
    /// An answer came although nothing was offered.
    #[error("sdp answer without an offer")]
    UnexpectedAnswer,
}

impl SdpError {
    /// Whether the text itself is broken (`400 Bad Request`) rather than its contents not acceptable (`488`).
    pub fn is_malformed(&self) -> bool {
        match self {
            SdpError::TooLarge { .. } | SdpError::TooMany { .. } | SdpError::Malformed { .. } => true,
            SdpError::NoAudio
            | SdpError::UnsupportedProfile { .. }
            | SdpError::NoCommonCodec { .. }
            | SdpError::AddressFamily { .. }
            | SdpError::NotUnicast { .. }
            | SdpError::UnexpectedAnswer => false,
        }
    }
}
