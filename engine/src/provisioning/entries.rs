//! Entries beside those of the configuration, by kind and name, and the configuration that both make together.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use serde_json::{Map, Value};

use super::kind::{Entry, Kind};
use crate::config::{Config, Customer, Did, Gateway, Route, User, entry};

/// Entries of one kind.
const MAX_ENTRIES: usize = 100_000;

/// Entries as they were put, secrets included. Copies share what is the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Entries(OrdMap<(Kind, String), Kept>);

#[derive(Clone, Debug)]
struct Kept {
    given: Arc<Map<String, Value>>,
    read: Read,
}

/// An entry as a configuration has it.
#[derive(Clone, Debug)]
enum Read {
    Customer(Arc<Customer>),
    User(Arc<User>),
    Gateway(Arc<Gateway>),
    Route(Arc<Route>),
    Did(Arc<Did>),
}

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
    pub(super) config: Arc<Config>,
    /// Which entries they are, by their places in the lists.
    places: BTreeMap<(Kind, usize), String>,
}

impl Read {
    fn of(kind: Kind, given: &Map<String, Value>) -> Result<Self, Wrong> {
        fn read<T: Entry>(given: &Map<String, Value>) -> Result<T, Wrong> {
            entry(given).map_err(|(key, message)| Wrong { key, message })
        }
        Ok(match kind {
            Kind::Customer => Self::Customer(Arc::new(read(given)?)),
            Kind::User => Self::User(Arc::new(read(given)?)),
            Kind::Gateway => Self::Gateway(Arc::new(read(given)?)),
            Kind::Route => Self::Route(Arc::new(read(given)?)),
            Kind::Did => Self::Did(Arc::new(Did { is_put: true, ..read(given)? })),
        })
    }

    /// Adds it to its list; its place there.
    fn push(&self, config: &mut Config) -> usize {
        fn push<T: Entry>(config: &mut Config, entry: &T) -> usize {
            let list = T::list_mut(config);
            list.push(entry.clone());
            list.len() - 1
        }
        match self {
            Self::Customer(customer) => push(config, &**customer),
            Self::User(user) => push(config, &**user),
            Self::Gateway(gateway) => push(config, &**gateway),
            Self::Route(route) => push(config, &**route),
            Self::Did(did) => push(config, &**did),
        }
    }
}

impl Entries {
    pub(super) fn find(&self, kind: Kind, name: &str) -> Option<&Map<String, Value>> {
        self.0.get(&(kind, name.to_owned())).map(|kept| &*kept.given)
    }

    /// # Errors
    /// It is none, or there are too many.
    pub(super) fn put(&mut self, kind: Kind, name: &str, given: Map<String, Value>) -> Result<(), Wrong> {
        let is_new = self.find(kind, name).is_none();
        if is_new && self.0.keys().filter(|(known, _)| *known == kind).count() >= MAX_ENTRIES {
            let message = format!("there are {MAX_ENTRIES} entries already");
            return Err(Wrong { key: String::new(), message });
        }
        let read = Read::of(kind, &given)?;
        self.0.insert((kind, name.to_owned()), Kept { given: Arc::new(given), read });
        Ok(())
    }

    pub(super) fn remove(&mut self, kind: Kind, name: &str) -> bool {
        self.0.remove(&(kind, name.to_owned())).is_some()
    }

    /// Puts the entries behind those of a configuration.
    pub(super) fn merge(&self, base: &Config) -> Merged {
        let (mut config, mut places) = (base.clone(), BTreeMap::new());
        for ((kind, name), kept) in &self.0 {
            places.insert((*kind, kept.read.push(&mut config)), name.clone());
        }
        Merged { config: Arc::new(config), places }
    }
}

/// The entry that a key of the configuration such as `did[0].customer` is of, and the key within it.
pub(super) fn entry_at(path: &str) -> Option<(Kind, usize, &str)> {
    let (list, rest) = path.split_once('[')?;
    let (at, key) = rest.split_once(']')?;
    Some((Kind::of_list(list)?, at.parse().ok()?, key.trim_start_matches('.')))
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

    /// The place behind the entry of this name. Where it has gone since, that of the next one that was put: those are in the order of
    /// their names.
    pub(super) fn behind(&self, kind: Kind, name: &str) -> usize {
        let next = || self.places.range((kind, 0)..=(kind, usize::MAX)).find(|(_, known)| known.as_str() > name);
        match self.place(kind, name) {
            Some(at) => at + 1,
            None => next().map_or_else(|| self.len(kind), |((_, at), _)| *at),
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
