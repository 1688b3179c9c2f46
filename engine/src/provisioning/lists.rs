//! Users and numbers, arranged for look-up before the core gets them.

use std::collections::{BTreeMap, BTreeSet};

use super::kind::plain_number;
use crate::config::{Config, Destination, Did, User};

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Lists {
    pub(crate) users: BTreeMap<String, User>,
    /// By their numbers without the `+` of the international form.
    pub(crate) dids: BTreeMap<String, Did>,
    /// The applications and the URIs that `lockstep.toml` names, as it writes them.
    pub(crate) operators: BTreeSet<String>,
}

impl Lists {
    /// Those of a configuration.
    pub(crate) fn of(config: &Config) -> Self {
        let named = config.dids.iter().filter(|did| !did.is_put).flat_map(|did| &did.destinations);
        let named = named.chain(config.class5.iter().map(|entry| &entry.to));
        let is_outside = |to: &&Destination| matches!(to, Destination::Socket { .. } | Destination::Sip(_));
        Self {
            users: config.users.iter().map(|user| (user.name.clone(), user.clone())).collect(),
            dids: config.dids.iter().map(|did| (plain_number(&did.number).to_owned(), did.clone())).collect(),
            operators: named.filter(is_outside).map(ToString::to_string).collect(),
        }
    }
}
