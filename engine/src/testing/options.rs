//! What test files pass to the stage, as the module `lockstep:test` has checked and written it.

use std::time::Duration;

use fancy_regex::Regex;
use lockstep_media::codec::Codec;
use serde::Deserialize;

use crate::simulation::{Conditions, PhoneSettings};

/// `network({…})`.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Line {
    pub loss: f64,
    pub delay_ms: f64,
    pub jitter_ms: f64,
    pub reorder: f64,
    pub duplicate: f64,
    pub seed: Option<u64>,
}

impl Line {
    pub(crate) fn conditions(&self) -> Conditions {
        Conditions {
            loss: self.loss,
            delay: millis(self.delay_ms),
            jitter: millis(self.jitter_ms),
            reorder: self.reorder,
            duplicate: self.duplicate,
        }
    }
}

/// Options of a test.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct TestOptions {
    pub network: Option<Line>,
    /// Virtual milliseconds.
    pub timeout: Option<f64>,
    pub seed: Option<u64>,
    /// What the clock shows first, ms since the Unix epoch.
    pub at: Option<f64>,
}

impl TestOptions {
    /// What of it cannot be had in real time.
    pub(crate) fn virtual_only(&self) -> Option<&'static str> {
        let network = self.network.map(|_| "a line that loses or delays packets needs the simulated network");
        network.or(self.at.map(|_| "another time of day needs virtual time"))
    }
}

/// A test as its file registered it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Listed {
    /// The names of its suites, then its own.
    pub path: Vec<String>,
    pub skip: bool,
    pub todo: bool,
    #[serde(default)]
    pub options: TestOptions,
}

impl Listed {
    /// Its name, with those of its suites.
    pub(crate) fn name(&self) -> String {
        self.path.join(" › ")
    }
}

/// One thing that was wrong in a test.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Wrong {
    pub name: String,
    pub message: String,
    #[serde(default)]
    pub stack: String,
}

/// Options of `phone.dial`, `phone.register` and `phone.gateway`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PhoneOptions {
    pub from: Option<String>,
    pub password: Option<String>,
    pub codecs: Option<Vec<String>>,
    pub ptime_ms: Option<u64>,
    pub network: Option<Line>,
    pub headers: std::collections::BTreeMap<String, String>,
}

impl PhoneOptions {
    /// What of it is of the phone rather than of one call.
    pub(crate) fn of_phone(&self) -> Option<&'static str> {
        let given = [
            ("from", self.from.is_some()),
            ("password", self.password.is_some()),
            ("codecs", self.codecs.is_some()),
            ("ptime_ms", self.ptime_ms.is_some()),
            ("network", self.network.is_some()),
        ];
        given.into_iter().find_map(|(name, is_given)| is_given.then_some(name))
    }

    /// A phone for `user`.
    pub(crate) fn settings(&self, user: &str, password: Option<String>) -> Result<PhoneSettings, String> {
        let mut settings = PhoneSettings::new(user);
        settings.password = self.password.clone().or(password);
        if let Some(names) = &self.codecs {
            let known = |name: &String| {
                let codec = Codec::ALL.into_iter().find(|codec| codec.name().eq_ignore_ascii_case(name));
                codec.ok_or_else(|| format!("{name:?} is no codec: expected pcmu or pcma"))
            };
            settings.codecs = names.iter().map(known).collect::<Result<_, _>>()?;
            if settings.codecs.is_empty() {
                return Err("a phone needs a codec".to_owned());
            }
        }
        if let Some(ptime) = self.ptime_ms {
            if !(10..=60).contains(&ptime) {
                return Err(format!("ptime_ms: expected 10 to 60, got {ptime}"));
            }
            settings.packet_time = Duration::from_millis(ptime);
        }
        Ok(settings)
    }
}

/// `{timeout_ms, …}` of a step.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct StepOptions {
    pub timeout_ms: Option<f64>,
    pub at_least_ms: Option<f64>,
    pub duration_ms: Option<f64>,
    pub gap_ms: Option<f64>,
    pub method: Option<String>,
}

/// A string or a regular expression.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Text {
    Plain(String),
    Pattern { source: String, flags: String },
}

impl Text {
    /// What finds it.
    pub(crate) fn matcher(&self) -> Result<TextMatch, String> {
        match self {
            Self::Plain(text) => Ok(TextMatch::Part(text.clone())),
            Self::Pattern { source, flags } => {
                let inline: String = flags.chars().filter(|flag| "ims".contains(*flag)).collect();
                let pattern = if inline.is_empty() { source.clone() } else { format!("(?{inline}){source}") };
                Regex::new(&pattern).map(TextMatch::Pattern).map_err(|error| format!("/{source}/{flags}: {error}"))
            }
        }
    }
}

impl std::fmt::Display for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plain(text) => write!(f, "{text:?}"),
            Self::Pattern { source, flags } => write!(f, "/{source}/{flags}"),
        }
    }
}

/// Finds a [`Text`].
#[derive(Clone, Debug)]
pub(crate) enum TextMatch {
    Part(String),
    Pattern(Regex),
}

impl TextMatch {
    pub(crate) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Part(part) => text.contains(part.as_str()),
            Self::Pattern(pattern) => pattern.is_match(text).unwrap_or(false),
        }
    }
}

/// What is to be heard or said.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Sound {
    Source(String),
    Tts(Text),
    Tone(String),
}

impl std::fmt::Display for Sound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Source(name) => f.write_str(name),
            Self::Tts(text) => write!(f, "speech {text}"),
            Self::Tone(tone) => write!(f, "a tone of {tone} Hz"),
        }
    }
}

/// Time from JavaScript, which counts in fractions of milliseconds.
pub(crate) fn millis(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms / 1_000.0).unwrap_or(Duration::ZERO)
}
