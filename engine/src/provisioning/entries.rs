//! Entries beside those of the configuration, by kind and name, and the configuration that both make together.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::kind::{Entry, Kind};
use crate::config::{Config, Customer, Did, Gateway, Route, User, entry};

/// Entries of one kind.
const MAX_ENTRIES: usize = 100_000;

/// Entries as they were put, secrets included.
#[derive(Clone, Debug, Default)]
pub(super) struct Entries(BTreeMap<(Kind, String), Map<String, Value>>);

/// What is wrong with an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Within the entry: `destinations[0]`; empty: the entry itself.
    pub key: String,
    /// What was expected and what was found.
    pub message: String,
}

/// The configuration with the entries behind its own.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) config: Config,
    /// Which entries they are, by their places in the lists.
    places: BTreeMap<(Kind, usize), String>,
}

impl Entries {
    pub(super) fn find(&self, kind: Kind, name: &str) -> Option<&Map<String, Value>> {
        self.0.get(&(kind, name.to_owned()))
    }

    /// # Errors
    /// When there are too many.
    pub(super) fn put(&mut self, kind: Kind, name: &str, entry: Map<String, Value>) -> Result<(), Wrong> {
        let is_new = self.find(kind, name).is_none();
        if is_new && self.0.keys().filter(|(known, _)| *known == kind).count() >= MAX_ENTRIES {
            let message = format!("there are {MAX_ENTRIES} entries already");
            return Err(Wrong { key: String::new(), message });
        }
        self.0.insert((kind, name.to_owned()), entry);
        Ok(())
    }

    pub(super) fn remove(&mut self, kind: Kind, name: &str) -> bool {
        self.0.remove(&(kind, name.to_owned())).is_some()
    }

    /// Puts the entries behind those of a configuration.
    ///
    /// # Errors
    /// The first one that is none, and what is wrong with it.
    pub(super) fn merge(&self, base: &Config) -> Result<Merged, (Kind, String, Wrong)> {
        let mut merged = Merged { config: base.clone(), places: BTreeMap::new() };
        for ((kind, name), value) in &self.0 {
            let pushed = match kind {
                Kind::Customer => push::<Customer>(&mut merged.config, value),
                Kind::User => push::<User>(&mut merged.config, value),
                Kind::Gateway => push::<Gateway>(&mut merged.config, value),
                Kind::Route => push::<Route>(&mut merged.config, value),
                Kind::Did => push::<Did>(&mut merged.config, value),
            };
            let at = pushed.map_err(|wrong| (*kind, name.clone(), wrong))?;
            if let Some(did) = merged.config.dids.get_mut(at).filter(|_| *kind == Kind::Did) {
                did.is_put = true;
            }
            merged.places.insert((*kind, at), name.clone());
        }
        Ok(merged)
    }
}

/// The entry that a key of the configuration such as `did[0].customer` is of, and the key within it.
pub(super) fn entry_at(path: &str) -> Option<(Kind, usize, &str)> {
    let (list, rest) = path.split_once('[')?;
    let (at, key) = rest.split_once(']')?;
    Some((Kind::of_list(list)?, at.parse().ok()?, key.trim_start_matches('.')))
}

/// Adds an entry to its list; its place there.
fn push<T: Entry>(config: &mut Config, value: &Map<String, Value>) -> Result<usize, Wrong> {
    let parsed: T = entry(value).map_err(|(key, message)| Wrong { key, message })?;
    let list = T::list_mut(config);
    list.push(parsed);
    Ok(list.len() - 1)
}

impl Merged {
    /// The name of the entry at a place of a list; `None`: it is of the configuration itself.
    pub(super) fn put_at(&self, kind: Kind, at: usize) -> Option<&String> {
        self.places.get(&(kind, at))
    }

    /// Where an entry stands in its list.
    pub(super) fn place(&self, kind: Kind, name: &str) -> Option<usize> {
        fn at<T: Entry>(config: &Config, name: &str) -> Option<usize> {
            T::list(config).iter().enumerate().position(|(at, entry)| entry.name(at) == name)
        }
        let config = &self.config;
        match kind {
            Kind::Customer => at::<Customer>(config, name),
            Kind::User => at::<User>(config, name),
            Kind::Gateway => at::<Gateway>(config, name),
            Kind::Route => at::<Route>(config, name),
            Kind::Did => at::<Did>(config, name),
        }
    }

    /// How many entries a list has.
    pub(super) fn len(&self, kind: Kind) -> usize {
        match kind {
            Kind::Customer => self.config.customers.len(),
            Kind::User => self.config.users.len(),
            Kind::Gateway => self.config.gateways.len(),
            Kind::Route => self.config.routes.len(),
            Kind::Did => self.config.dids.len(),
        }
    }

    /// What contradicts itself in the whole, each with the entry it is said of.
    pub(super) fn contradictions(&self) -> Vec<(Kind, usize, Wrong)> {
        let found = self.config.contradictions().into_iter();
        found
            .filter_map(|(path, message)| {
                let (kind, at, key) = entry_at(&path)?;
                Some((kind, at, Wrong { key: key.to_owned(), message }))
            })
            .collect()
    }
}
