//! Why nothing is spoken.

use std::time::Duration;

use lockstep_ctx_api::{ErrorCode, OpError};
use lockstep_media::prompt::PromptError;

/// Why a text was not spoken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TtsError {
    /// The configuration has no such provider.
    #[error("no provider `{name}`: set [tts.provider.{name}] url, or use one of {}", known.join(", "))]
    UnknownProvider {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// The provider's program is missing.
    #[error("`{program}` is not installed (`make deps` installs it); or set [tts] default to a provider under [tts.provider]")]
    NotInstalled {
        /// The program.
        program: String,
    },
    /// There is nothing to say.
    #[error("the text is empty")]
    Empty,
    /// More than can be spoken at once.
    #[error("the text has {length} characters, expected at most {max}")]
    TooLong {
        /// Its length.
        length: usize,
        /// The limit.
        max: usize,
    },
    /// The voice is no name a provider could know.
    #[error("voice {0:?}: expected letters, digits, `-`, `_` and `+`")]
    BadVoice(String),
    /// The language is no BCP 47 tag.
    #[error("language {0:?}: expected a tag such as en-GB")]
    BadLanguage(String),
    /// The provider did not answer in time.
    #[error("provider `{provider}` did not answer within {} ms", limit.as_millis())]
    TimedOut {
        /// The provider.
        provider: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The provider answered with an error status.
    #[error("provider `{provider}` answered with HTTP status {status}")]
    Status {
        /// The provider.
        provider: String,
        /// The status.
        status: u16,
    },
    /// The provider's audio is larger than a prompt may be.
    #[error("the audio of provider `{provider}` is larger than {max} octets")]
    TooLarge {
        /// The provider.
        provider: String,
        /// The limit.
        max: usize,
    },
    /// The provider failed in another way.
    #[error("provider `{provider}` failed: {why}")]
    Failed {
        /// The provider.
        provider: String,
        /// What it said.
        why: String,
    },
    /// The provider's audio cannot be played.
    #[error(transparent)]
    Audio(#[from] PromptError),
}

impl TtsError {
    /// The error as the script sees it.
    #[must_use]
    pub fn into_op_error(self) -> OpError {
        let code = match self {
            Self::UnknownProvider { .. } | Self::NotInstalled { .. } => ErrorCode::NotConfigured,
            Self::Empty | Self::BadVoice(_) | Self::BadLanguage(_) => ErrorCode::TypeError,
            Self::TooLong { .. } => ErrorCode::RangeError,
            Self::TimedOut { .. } | Self::Status { .. } | Self::TooLarge { .. } | Self::Failed { .. } | Self::Audio(_) => {
                ErrorCode::MediaError
            }
        };
        OpError::new(code, format!("tts: {self}"))
    }
}
