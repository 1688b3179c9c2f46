//! Why a prompt cannot be played.

use std::time::Duration;

use super::http::FetchError;
use crate::tone::ToneError;

/// What the operation that wanted the audio is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PromptError {
    /// No such file, or a name that leaves `user/` and `ivr/`: the two are not told apart, so that names outside
    /// cannot be probed.
    #[error("no such audio: {name}{}", hint(name))]
    NotFound {
        /// The name as the script wrote it.
        name: String,
    },
    /// There is something, but it cannot be played.
    #[error("cannot play {name}: {cause}")]
    Media {
        /// The name as the script wrote it.
        name: String,
        /// What is wrong with it.
        cause: Cause,
    },
}

impl PromptError {
    /// The file is there, but cannot be played.
    #[must_use]
    pub fn media(name: impl Into<String>, cause: Cause) -> Self {
        Self::Media { name: name.into(), cause }
    }

    /// There is no such file.
    #[must_use]
    pub fn not_found(name: impl Into<String>) -> Self {
        Self::NotFound { name: name.into() }
    }
}

/// What a script that named no folder wants to know.
fn hint(name: &str) -> &'static str {
    if name.starts_with("user/") || name.starts_with("ivr/") { "" } else { ": expected user/… or ivr/…" }
}

/// What is wrong with a prompt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The name is not of a form that can be played.
    #[error("expected user/…, ivr/…, http(s)://…, tone:… or silence:MS")]
    BadName,
    /// What follows `tone:` describes none.
    #[error(transparent)]
    Tone(#[from] ToneError),
    /// The bytes are no audio that can be decoded.
    #[error("not audio: {0}")]
    NotAudio(String),
    /// The container or codec is known, this feature of it is not.
    #[error("unsupported audio: {0}")]
    Unsupported(String),
    /// It was decoded and held no sample.
    #[error("no audio in it")]
    Empty,
    /// More octets than the limit.
    #[error("{bytes} octets, expected at most {max}")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// With it, more octets are played at once than the limit.
    #[error("more than {max} octets of audio to play at once")]
    TooMuch {
        /// The limit.
        max: usize,
    },
    /// It plays for longer than the limit.
    #[error("plays longer than {} s", max.as_secs())]
    TooLong {
        /// The limit.
        max: Duration,
    },
    /// Decoding took longer than the limit.
    #[error("decoding took longer than {} ms", budget.as_millis())]
    TooSlow {
        /// The limit.
        budget: Duration,
    },
    /// A decoder failed in a way that its authors did not foresee.
    #[error("the decoder failed: {0}")]
    Decoder(String),
    /// The file could not be read.
    #[error("cannot be read: {0}")]
    Io(String),
    /// It could not be fetched.
    #[error("{0}")]
    Fetch(#[from] FetchError),
    /// The load was given up before it was done.
    #[error("the load was cut off")]
    CutOff,
    /// The loader threads have more to do than they may queue.
    #[error("too many prompts are being loaded")]
    Busy,
}

impl Cause {
    /// Whether the bytes are nothing that can be heard, whatever the limits are and however busy the machine is.
    #[must_use]
    pub fn is_no_audio(&self) -> bool {
        match self {
            Self::NotAudio(_) | Self::Unsupported(_) | Self::Empty | Self::Decoder(_) => true,
            Self::BadName
            | Self::Tone(_)
            | Self::TooLarge { .. }
            | Self::TooMuch { .. }
            | Self::TooLong { .. }
            | Self::TooSlow { .. }
            | Self::Io(_)
            | Self::Fetch(_)
            | Self::CutOff
            | Self::Busy => false,
        }
    }
}
