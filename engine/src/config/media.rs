//! `[media]`: RTP ports, codecs and threads.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;

/// `[media]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MediaConfig {
    pub ports: PortRange,
    /// In order of preference; empty: every codec built in.
    pub codecs: Vec<Codec>,
    /// Pacing threads; 0: one per core.
    pub threads: u16,
    /// Without RTP for this long although it is expected, a call gets `media_timeout`, seconds. 0: never.
    pub timeout_s: u32,
    /// Where recordings go, relative to the configuration's folder; absent: to `user/` of the scripts folder.
    pub recordings: Option<PathBuf>,
    /// What recordings leave free of their disk, MB. 0: nothing.
    pub recordings_keep_free_mb: u32,
    /// Encoded prompts kept in memory, MB.
    pub cache_mb: u32,
}

impl Default for MediaConfig {
    fn default() -> Self {
        Self {
            ports: PortRange { first: 20000, last: 29999 },
            codecs: Vec::new(),
            threads: 0,
            timeout_s: 60,
            recordings: None,
            recordings_keep_free_mb: 256,
            cache_mb: 256,
        }
    }
}

impl MediaConfig {
    /// The codecs in order of preference, every built-in one when none is configured.
    pub fn codecs(&self) -> &[Codec] {
        if self.codecs.is_empty() { &Codec::ALL } else { &self.codecs }
    }
}

/// A codec by its configuration name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    Pcmu,
    Pcma,
}

impl Codec {
    /// Every codec built in, in order of preference.
    pub const ALL: [Self; 2] = [Self::Pcmu, Self::Pcma];

    /// As written in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pcmu => "pcmu",
            Self::Pcma => "pcma",
        }
    }
}

/// A range of UDP ports, both ends included: `20000-29999`. Each stream takes an even port and the one after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PortRange {
    pub first: u16,
    pub last: u16,
}

impl PortRange {
    /// How many even ports with an odd one above them the range holds: as many streams fit into it.
    pub fn pairs(self) -> u32 {
        let first_even = u32::from(self.first) + u32::from(self.first) % 2;
        (u32::from(self.last) + 1).saturating_sub(first_even) / 2
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("expected a port range such as `20000-29999`, found `{text}`");
        let (first, last) = text.split_once('-').ok_or_else(expected)?;
        let range =
            Self { first: first.trim().parse().map_err(|_| expected())?, last: last.trim().parse().map_err(|_| expected())? };
        if range.first < 1024 {
            return Err(format!("expected ports from 1024 on, found `{text}`"));
        }
        if range.pairs() == 0 {
            return Err(format!("expected at least one even port followed by an odd one, found `{text}`"));
        }
        Ok(range)
    }
}

impl TryFrom<String> for PortRange {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_whole_pairs_only() {
        let pairs = |text: &str| text.parse::<PortRange>().unwrap().pairs();
        assert_eq!(pairs("20000-29999"), 5000);
        assert_eq!(pairs("20001-20004"), 1);
        assert_eq!(pairs("65534-65535"), 1);
    }

    #[test]
    fn refuses_what_holds_no_stream() {
        for text in ["20000", "20000-19999", "20001-20002", "0-9", "20000-70000", "a-b"] {
            assert!(text.parse::<PortRange>().is_err(), "{text}");
        }
    }
}
