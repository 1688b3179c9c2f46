//! Audio named by URL: what the engine's HTTP client is asked, and how long its answer may be used (RFC 9111).

use std::{future::Future, pin::Pin, time::Duration};

use bytes::Bytes;

/// A request for audio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchRequest {
    /// An `http:` or `https:` URL as the script wrote it; the egress policy is the fetcher's.
    pub url: String,
    /// `If-None-Match`.
    pub etag: Option<String>,
    /// `If-Modified-Since`.
    pub last_modified: Option<String>,
    /// Octets after which the fetcher must give up with [`FetchError::TooLarge`].
    pub max_bytes: u64,
}

/// A successful answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// 304: the copy we have is good.
    NotModified {
        /// `Cache-Control` of the 304.
        cache_control: Option<String>,
        /// `Age`: how long a cache on the way has had it.
        age: Duration,
    },
    /// 200.
    Body {
        /// The whole body.
        bytes: Bytes,
        /// `Content-Type`.
        content_type: Option<String>,
        /// `ETag`.
        etag: Option<String>,
        /// `Last-Modified`.
        last_modified: Option<String>,
        /// `Cache-Control`.
        cache_control: Option<String>,
        /// `Age`: how long a cache on the way has had it.
        age: Duration,
    },
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The server said something other than 200 or 304.
    #[error("HTTP status {0}")]
    Status(u16),
    /// The egress policy forbids this address.
    #[error("refused: {0}")]
    Refused(String),
    /// The body is larger than allowed.
    #[error("larger than {max} octets")]
    TooLarge {
        /// The limit.
        max: u64,
    },
    /// No complete answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// No connection, or one that broke.
    #[error("{0}")]
    Failed(String),
    /// The engine was started without an HTTP client.
    #[error("fetching audio is switched off")]
    Disabled,
}

impl FetchError {
    /// Whether an older copy may be played instead: the server could not be asked, rather than having said no.
    pub(super) fn allows_stale(&self) -> bool {
        match self {
            Self::TimedOut | Self::Failed(_) => true,
            Self::Status(status) => *status >= 500,
            Self::Refused(_) | Self::TooLarge { .. } | Self::Disabled => false,
        }
    }
}

/// The future of a [`Fetch`].
pub type FetchFuture = Pin<Box<dyn Future<Output = Result<Fetched, FetchError>> + Send>>;

/// The engine's HTTP client, which owns time-outs, redirects and the egress policy.
pub trait Fetch: Send + Sync {
    /// Starts one GET.
    fn fetch(&self, request: FetchRequest) -> FetchFuture;
}

/// What `Cache-Control` allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct CachePolicy {
    /// May not be kept at all.
    pub(super) no_store: bool,
    /// May never be used once it is stale, not even when the server does not answer.
    pub(super) must_revalidate: bool,
    /// For how long it may be used without asking.
    pub(super) fresh: Duration,
}

/// A year: RFC 9111 knows no upper bound, an `Instant` does.
const MAX_FRESH_S: u64 = 365 * 86_400;

impl CachePolicy {
    /// Reads the header. Without one, the copy is checked with the server at every use.
    pub(super) fn parse(cache_control: Option<&str>) -> Self {
        let mut policy = Self::default();
        let (mut no_cache, mut max_age, mut shared_max_age) = (false, None, None);
        for directive in cache_control.unwrap_or_default().split(',') {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            let seconds = || value.trim().trim_matches('"').parse::<u64>().ok();
            match name.trim().to_ascii_lowercase().as_str() {
                "no-store" => policy.no_store = true,
                "no-cache" => no_cache = true,
                "must-revalidate" | "proxy-revalidate" => policy.must_revalidate = true,
                "max-age" => max_age = seconds(),
                "s-maxage" => shared_max_age = seconds(),
                _ => {}
            }
        }
        policy.must_revalidate |= no_cache;
        if !no_cache {
            // One copy serves every call: this is a shared cache, for which s-maxage comes first.
            let seconds = shared_max_age.or(max_age).unwrap_or(0).min(MAX_FRESH_S);
            policy.fresh = Duration::from_secs(seconds);
        }
        policy
    }
}

/// A file extension for a media type, as a hint for the decoder and for raw G.711, which no decoder can recognise.
pub fn extension_of(content_type: &str) -> Option<&'static str> {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    Some(match essence.as_str() {
        "audio/wav" | "audio/x-wav" | "audio/wave" | "audio/vnd.wave" => "wav",
        "audio/mpeg" | "audio/mp3" => "mp3",
        "audio/flac" | "audio/x-flac" => "flac",
        "audio/ogg" | "application/ogg" | "audio/opus" => "ogg",
        "audio/mp4" | "audio/m4a" | "audio/x-m4a" => "m4a",
        "audio/aac" | "audio/aacp" => "aac",
        "audio/aiff" | "audio/x-aiff" => "aiff",
        "audio/basic" | "audio/pcmu" | "audio/x-mulaw" => "ulaw",
        "audio/pcma" | "audio/x-alaw" => "alaw",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_control_decides_how_long_a_copy_is_used_unasked() {
        let fresh = |header: &str| CachePolicy::parse(Some(header)).fresh.as_secs();
        assert_eq!(CachePolicy::parse(None), CachePolicy::default());
        assert_eq!(fresh("public, max-age=60"), 60);
        assert_eq!(fresh("Max-Age=\"60\""), 60);
        assert_eq!(fresh("max-age=60, s-maxage=5"), 5);
        assert_eq!(fresh("max-age=60, no-cache"), 0);
        assert_eq!(fresh("max-age=-1"), 0);
        assert_eq!(fresh("max-age=18446744073709551615"), MAX_FRESH_S);
        assert!(CachePolicy::parse(Some("no-store")).no_store);
        assert!(CachePolicy::parse(Some("no-cache")).must_revalidate);
    }

    #[test]
    fn only_a_server_that_could_not_be_asked_lets_a_stale_copy_play() {
        assert!(FetchError::TimedOut.allows_stale());
        assert!(FetchError::Status(503).allows_stale());
        assert!(!FetchError::Status(404).allows_stale());
        assert!(!FetchError::Refused(String::new()).allows_stale());
    }

    #[test]
    fn media_types_name_raw_g711() {
        assert_eq!(extension_of("audio/basic"), Some("ulaw"));
        assert_eq!(extension_of("Audio/X-WAV; codecs=1"), Some("wav"));
        assert_eq!(extension_of("text/html"), None);
    }
}
