//! Who calls and where calls go, as it is at this moment: `[[did]]`, `[[user]]`, `[[gateway]]`, `[[route]]` and `[[customer]]` of the
//! configuration, and what was put beside them over HTTP.
//!
//! What the configuration says cannot be changed here. The whole is checked as a configuration is: what would contradict itself is
//! refused, and what is in force is always sound.

mod entries;
mod kind;
mod lists;
#[cfg(test)]
mod tests;
mod view;

use std::sync::Arc;

use serde_json::{Map, Value};
use thiserror::Error;
use tokio::sync::{MutexGuard, watch};

use crate::class4::RouteTable;
use crate::config::{Config, DEFAULT_ACCOUNT, Wanted};
use crate::store::{Store, StoreError, provisioned};

pub use entries::Wrong;
use entries::{Entries, Merged};
pub use kind::Kind;
pub(crate) use kind::Owners;
use kind::plain_number;
pub(crate) use lists::Lists;

/// Octets of one entry.
const MAX_BYTES: usize = 64 << 10;
/// The longest name, in bytes.
const MAX_NAME: usize = 100;
/// Keys that are shown and not kept.
const SHOWN_ONLY: [&str; 1] = ["source"];
/// Keys whose values are never shown.
const SECRETS: [&str; 1] = ["password"];

/// One state of it. A state never changes; the next one replaces it.
#[derive(Debug)]
pub struct Current {
    /// The configuration with everything that was put beside it.
    pub config: Arc<Config>,
    /// Its routes, as the Class 4 hook looks things up.
    pub routes: Arc<RouteTable>,
    /// Its users and numbers, as the core looks them up.
    pub(crate) lists: Arc<Lists>,
    merged: Merged,
    entries: Entries,
}

/// Why an entry was not put or removed.
#[derive(Debug, Error)]
pub enum ProvisioningError {
    #[error("expected a name of 1 to {MAX_NAME} letters, digits and `-_.+*#`, found `{0}`")]
    Name(String),
    /// It is not what the configuration would take.
    #[error("{}", said(.0))]
    Invalid(Vec<Wrong>),
    #[error("the {} {name} is the configuration's: change it in lockstep.toml", .kind.list())]
    ReadOnly { kind: Kind, name: String },
    #[error("there is no {} {name}", .kind.list())]
    NotFound { kind: Kind, name: String },
    /// Others refer to it.
    #[error("still in use: {0}")]
    InUse(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn said(wrong: &[Wrong]) -> String {
    let one =
        |wrong: &Wrong| if wrong.key.is_empty() { wrong.message.clone() } else { format!("{}: {}", wrong.key, wrong.message) };
    wrong.iter().map(one).collect::<Vec<_>>().join("; ")
}

impl Current {
    fn new(entries: Entries, merged: Merged) -> Self {
        let config = Arc::clone(&merged.config);
        Self { routes: Arc::new(RouteTable::new(&config)), lists: Arc::new(Lists::of(&config)), config, merged, entries }
    }

    /// Whose customer it is; `None`: there is no such customer.
    pub fn account_of_customer(&self, id: i64) -> Option<&str> {
        self.routes.account_of_customer(id)
    }

    /// Keys of entries that were put beside the configuration and name scripts, such as `did 44: script`.
    pub fn named_scripts(&self) -> Vec<(String, Wanted)> {
        let found = self.config.named_scripts().filter_map(|(path, wanted)| {
            let (kind, at, key) = entries::entry_at(&path)?;
            let name = self.merged.put_at(kind, at)?;
            Some((format!("{} {name}: {key}", kind.list()), wanted))
        });
        found.collect()
    }

    /// Up to `limit` entries of a list as they are shown, behind the one called `after`, of those that are seen by whose they are; gateways
    /// and routes are nobody's.
    pub fn page(&self, kind: Kind, (after, limit): (Option<&str>, usize), is_seen: impl Fn(Option<&str>) -> bool) -> Vec<Value> {
        let from = after.map_or(0, |name| self.merged.behind(kind, &plain(kind, name)));
        let seen = (from..self.merged.len(kind)).filter(|at| is_seen(self.account_at(kind, *at)));
        seen.filter_map(|at| Some(self.shown(kind, at)?.1)).take(limit).collect()
    }

    fn account_at(&self, kind: Kind, at: usize) -> Option<&str> {
        let config = &self.config;
        match kind {
            Kind::Customer => config.customers.get(at).map(|customer| customer.account.as_str()),
            Kind::User => config.users.get(at).map(|user| user.account.as_str()),
            Kind::Did => config.dids.get(at).map(|did| {
                let customer = || self.account_of_customer(did.customer?);
                did.account.as_deref().or_else(customer).unwrap_or(DEFAULT_ACCOUNT)
            }),
            Kind::Gateway | Kind::Route => None,
        }
    }

    /// One entry as it is shown, and whose it is.
    pub fn show(&self, kind: Kind, name: &str) -> Option<(Option<&str>, Value)> {
        self.shown(kind, self.merged.place(kind, &plain(kind, name))?)
    }

    fn shown(&self, kind: Kind, at: usize) -> Option<(Option<&str>, Value)> {
        let mut entry = view::entry(&self.config, kind, at)?;
        let source = if self.merged.put_at(kind, at).is_some() { "http" } else { "configuration" };
        entry.insert("source".to_owned(), source.into());
        if kind == Kind::Route && !entry.contains_key("id") {
            entry.insert("id".to_owned(), format!("route-{}", at + 1).into());
        }
        let account = self.account_at(kind, at);
        if let Some(account) = account {
            entry.insert("account".to_owned(), account.into());
        }
        Some((account, Value::Object(entry)))
    }
}

/// What is in force. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct Provisioning {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    base: Config,
    store: Store,
    current: watch::Sender<Arc<Current>>,
    /// Changes are made one after another.
    turn: tokio::sync::Mutex<()>,
}

impl Provisioning {
    /// What a configuration and a store say. An entry of the store that does not go with the configuration any more is left out, and said.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn load(config: &Config, store: &Store) -> Result<Self, StoreError> {
        let stored = crate::block_on::block_on(store.read(|connection, _| provisioned::all(connection)))?;
        let mut entries = Entries::default();
        for (list, name, entry) in stored {
            let Some((kind, entry)) = Kind::of_list(&list).zip(serde_json::from_str(&entry).ok()) else {
                tracing::error!(list, name, "an entry of the store cannot be read");
                continue;
            };
            if let Err(wrong) = entries.put(kind, &name, entry) {
                tracing::error!(list, name, problem = said(&[wrong]), "an entry of the store is left out");
            }
        }
        let merged = loop {
            let merged = entries.merge(config);
            if !leave_out(&mut entries, &merged) {
                break merged;
            }
        };
        let current = watch::Sender::new(Arc::new(Current::new(entries, merged)));
        Ok(Self {
            inner: Arc::new(Inner { base: config.clone(), store: store.clone(), current, turn: tokio::sync::Mutex::default() }),
        })
    }

    /// What is in force now.
    pub fn current(&self) -> Arc<Current> {
        Arc::clone(&self.inner.current.borrow())
    }

    /// Waits for the changes that others are making. What is in force stays as it is until the turn is over.
    pub async fn turn(&self) -> Turn<'_> {
        Turn { provisioning: self, _only: self.inner.turn.lock().await }
    }

    /// Whether an entry could be put.
    ///
    /// # Errors
    /// Why it would not be.
    pub async fn check(&self, kind: Kind, name: &str, given: Map<String, Value>) -> Result<(), ProvisioningError> {
        let name = check_name(kind, name)?;
        let current = self.current();
        let entry = complete(kind, &name, given, current.entries.find(kind, &name))?;
        let mut entries = current.entries.clone();
        entries.put(kind, &name, entry).map_err(|wrong| ProvisioningError::Invalid(vec![wrong]))?;
        self.checked(entries, (kind, &name)).await.map(drop)
    }

    /// The state that `entries` make, one of which was changed. With long lists that takes its time: it is done beside whoever serves.
    async fn checked(&self, entries: Entries, (kind, name): (Kind, &str)) -> Result<Arc<Current>, ProvisioningError> {
        let (provisioning, name) = (self.clone(), name.to_owned());
        let work = move || provisioning.next(entries, (kind, &name)).map(Arc::new);
        // No answer: the process is ending.
        tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Stopped)?
    }

    fn next(&self, entries: Entries, (kind, name): (Kind, &str)) -> Result<Current, ProvisioningError> {
        let merged = entries.merge(&self.inner.base);
        let at = merged.place(kind, name);
        let (own, others): (Vec<_>, Vec<_>) =
            merged.contradictions().into_iter().partition(|(list, place, _)| *list == kind && Some(*place) == at);
        if !own.is_empty() {
            return Err(ProvisioningError::Invalid(own.into_iter().map(|(.., wrong)| wrong).collect()));
        }
        if let Some((list, place, wrong)) = others.into_iter().next() {
            let user = view::entry(&merged.config, list, place);
            let user = user.and_then(|entry| entry.get(list.name_key()).map(|name| name.to_string().replace('"', "")));
            let user = user.unwrap_or_else(|| format!("number {}", place + 1));
            return Err(ProvisioningError::InUse(format!("{} {user}: {}", list.list(), said(&[wrong]))));
        }
        Ok(Current::new(entries, merged))
    }
}

/// Whoever has it may make a change, by what it has seen in force.
#[derive(Debug)]
pub struct Turn<'a> {
    provisioning: &'a Provisioning,
    _only: MutexGuard<'a, ()>,
}

impl Turn<'_> {
    /// Puts an entry, or replaces it; whether it is new. It is in force, and on disk, once this returns. Passwords that are not given are kept.
    ///
    /// # Errors
    /// Why it was not put.
    pub async fn put(self, kind: Kind, name: &str, given: Map<String, Value>) -> Result<bool, ProvisioningError> {
        let Provisioning { inner } = self.provisioning;
        let name = check_name(kind, name)?;
        let current = self.provisioning.current();
        let before = current.entries.find(kind, &name);
        if before.is_none() && current.merged.place(kind, &name).is_some() {
            return Err(ProvisioningError::ReadOnly { kind, name });
        }
        let entry = complete(kind, &name, given, before)?;
        let text = Value::Object(entry.clone()).to_string();
        if text.len() > MAX_BYTES {
            let message = format!("{} bytes, at most {MAX_BYTES} expected", text.len());
            return Err(ProvisioningError::Invalid(vec![Wrong { key: String::new(), message }]));
        }
        let is_new = before.is_none();
        let mut entries = current.entries.clone();
        entries.put(kind, &name, entry).map_err(|wrong| ProvisioningError::Invalid(vec![wrong]))?;
        let next = self.provisioning.checked(entries, (kind, &name)).await?;
        let list = kind.list();
        inner.store.write(move |connection, now| provisioned::put(connection, now, list, &name, &text)).await?;
        put_away(inner.current.send_replace(next));
        Ok(is_new)
    }

    /// Removes an entry.
    ///
    /// # Errors
    /// Why it was not removed.
    pub async fn remove(self, kind: Kind, name: &str) -> Result<(), ProvisioningError> {
        let Provisioning { inner } = self.provisioning;
        let name = plain(kind, name);
        let current = self.provisioning.current();
        let mut entries = current.entries.clone();
        if !entries.remove(kind, &name) {
            let is_there = current.merged.place(kind, &name).is_some();
            return Err(if is_there {
                ProvisioningError::ReadOnly { kind, name }
            } else {
                ProvisioningError::NotFound { kind, name }
            });
        }
        let next = self.provisioning.checked(entries, (kind, &name)).await?;
        let list = kind.list();
        inner.store.write(move |connection, _| provisioned::remove(connection, list, &name)).await?;
        put_away(inner.current.send_replace(next));
        Ok(())
    }
}

/// Lets go of a state that may be the last to have long lists, beside whoever serves.
pub(crate) fn put_away<T: Send + 'static>(state: T) {
    drop(tokio::task::spawn_blocking(move || drop(state)));
}

/// Leaves out the entries that contradict the configuration; whether there were any.
fn leave_out(entries: &mut Entries, merged: &Merged) -> bool {
    let mut any = false;
    for (kind, at, wrong) in merged.contradictions() {
        let Some(name) = merged.put_at(kind, at) else { continue };
        if entries.remove(kind, name) {
            any = true;
            tracing::error!(list = kind.list(), name, problem = said(&[wrong]), "an entry of the store is left out");
        }
    }
    any
}

fn plain(kind: Kind, name: &str) -> String {
    if kind == Kind::Did { plain_number(name).to_owned() } else { name.to_owned() }
}

fn check_name(kind: Kind, name: &str) -> Result<String, ProvisioningError> {
    let name = plain(kind, name);
    let is_word =
        !name.is_empty() && name.len() <= MAX_NAME && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.+*#".contains(c));
    // A number is written in one way.
    let is_id = !kind.is_numbered() || name.parse::<i64>().is_ok_and(|id| id.to_string() == name);
    // The `+` of the international form is no part of a number, and there is one.
    let is_plain = kind != Kind::Did || !name.contains('+');
    if is_word && is_id && is_plain { Ok(name) } else { Err(ProvisioningError::Name(name)) }
}

/// The entry as it is kept: under its name, without what is only shown, and with the password it had, where it still needs one.
fn complete(
    kind: Kind,
    name: &str,
    mut given: Map<String, Value>,
    before: Option<&Map<String, Value>>,
) -> Result<Map<String, Value>, ProvisioningError> {
    let wrong = |key: &str, message: String| ProvisioningError::Invalid(vec![Wrong { key: key.to_owned(), message }]);
    // What says `null` is to have none; so is an entry without the name that the password goes with.
    let drops = |secret: &str| {
        let is_none = |key: &str| given.get(key).is_some_and(Value::is_null);
        let name = kind.password_of();
        is_none(secret) || name.is_some_and(|name| is_none(name) || !given.contains_key(name))
    };
    let dropped: Vec<&str> = SECRETS.into_iter().filter(|secret| drops(secret)).collect();
    given.retain(|key, value| !SHOWN_ONLY.contains(&key.as_str()) && !value.is_null());
    let key = kind.name_key();
    let named = if kind.is_numbered() { name.parse::<i64>().map_or(Value::Null, Value::from) } else { name.into() };
    match given.get(key) {
        None => drop(given.insert(key.to_owned(), named)),
        Some(Value::String(text)) if plain(kind, text) == name => {}
        Some(other) if *other == named => {}
        Some(other) => return Err(wrong(key, format!("expected {named} as in the path, found {other}"))),
    }
    for secret in SECRETS {
        match given.get(secret).and_then(Value::as_str) {
            // The machine's files and variables are for whoever writes the configuration.
            Some(text) if text.starts_with("env:") || text.starts_with("file:") => {
                return Err(wrong(
                    secret,
                    "expected the secret itself; `env:` and `file:` count in lockstep.toml only".to_owned(),
                ));
            }
            Some(_) => {}
            None => {
                if let Some(kept) = before
                    .and_then(|before| before.get(secret))
                    .filter(|_| !given.contains_key(secret) && !dropped.contains(&secret))
                {
                    given.insert(secret.to_owned(), kept.clone());
                }
            }
        }
    }
    Ok(given)
}
