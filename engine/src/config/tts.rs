//! `[tts]`: who speaks.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::Secret;

/// The provider that is built in.
pub(super) const ESPEAK: &str = "espeak";

/// `[tts]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TtsConfig {
    /// `espeak`, or a name under `[tts.provider]`.
    pub default: String,
    /// Language where a script names none, BCP 47.
    pub language: String,
    /// Spoken texts are kept here; absent: in memory only. Relative to the configuration's folder.
    pub cache_dir: Option<PathBuf>,
    /// `[tts.provider.NAME]`
    pub provider: BTreeMap<String, TtsProvider>,
}

impl Default for TtsConfig {
    fn default() -> Self {
        Self { default: ESPEAK.to_owned(), language: "en".to_owned(), cache_dir: None, provider: BTreeMap::new() }
    }
}

/// `[tts.provider.NAME]`: an HTTP request that answers with audio. `{text}`, `{voice}` and `{language}` are filled in in the
/// URL, header values and body.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TtsProvider {
    pub url: String,
    #[serde(default = "post")]
    pub method: String,
    /// Values may be secrets.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    pub body: Option<String>,
    /// Voice where a script names none.
    pub voice: Option<String>,
    #[serde(default = "ten_seconds")]
    pub timeout_ms: u32,
}

fn post() -> String {
    "POST".to_owned()
}

fn ten_seconds() -> u32 {
    10_000
}
