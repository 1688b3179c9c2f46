//! `[journal]`: what is kept of calls and runs.

use serde::Deserialize;

use super::Secret;

/// `[journal]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JournalConfig {
    /// What journals are encrypted with on disk: 64 hexadecimal digits. Absent: a key is made beside the store.
    pub key: Option<Secret>,
    /// How long a journal is kept after the start of its call; 0: none is written.
    pub keep_days: u16,
    /// Megabytes that journals may take on disk; past it the oldest go.
    pub keep_mb: u32,
    /// Share of the runs outside calls whose journals are kept although they did not fail, 0 to 1.
    pub sample_runs: f64,
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self { key: None, keep_days: 7, keep_mb: 1_024, sample_runs: 0.0 }
    }
}
