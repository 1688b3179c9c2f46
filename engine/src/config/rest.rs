//! `[rest]`: which management interface `cxRest` asks, and as whom.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Secret;

/// `[rest]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RestConfig {
    /// Absent: the interface of this engine.
    pub base_url: Option<String>,
    /// Bearer tokens by the name that scripts give to `cxRest.auth`.
    pub users: BTreeMap<String, Secret>,
}
