//! `[drivers]`: scripts of type `driver` that the engine itself calls.

use serde::Deserialize;

/// `[drivers]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DriversConfig {
    /// Name of the script that finds, allocates and releases numbers.
    pub did: Option<String>,
    /// Name of the script that alerts are given to.
    pub alert: Option<String>,
}
