//! What all parts of an engine share besides calls: the store, and the services that scripts reach.

use std::time::Duration;

use crate::config::{Config, Loaded};
use crate::host::{self, HostServices};
use crate::store::{AccountDatabases, Clock, DatabaseLimits, Place, Store, StoreError, kv};

/// How often what has expired is swept away.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// Entries of one sweep's write: others want to write, too.
const SWEEP: usize = 1_000;

/// Opened once, before anything runs; clones share it.
#[derive(Clone, Debug)]
pub struct Platform {
    pub store: Store,
    pub databases: AccountDatabases,
    pub services: HostServices,
}

impl Platform {
    /// Opens the store where the configuration has it, and makes the table of services.
    ///
    /// # Errors
    /// What keeps the store from being opened.
    pub fn open(loaded: &Loaded) -> Result<Self, StoreError> {
        let place = match Place::of(&loaded.config.store.path) {
            Place::Memory => Place::Memory,
            Place::File(path) => Place::File(loaded.resolve(&path)),
        };
        Self::on(&loaded.config, Store::open(place, Clock::system())?)
    }

    /// With nothing that stays.
    ///
    /// # Errors
    /// When SQLite cannot make a database in memory.
    pub fn in_memory(config: &Config) -> Result<Self, StoreError> {
        Self::on(config, Store::in_memory(Clock::system())?)
    }

    /// Around `store`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn on(config: &Config, store: Store) -> Result<Self, StoreError> {
        let limits = DatabaseLimits { max_bytes: config.store.database_bytes(), ..DatabaseLimits::default() };
        let databases = AccountDatabases::beside(store.place(), limits);
        let services = HostServices::new(host::services(config, &store, &databases));
        Ok(Self { store, databases, services })
    }

    /// Sweeps away what has expired, for as long as the future lives.
    pub async fn keep_house(self) {
        let mut every = tokio::time::interval(SWEEP_EVERY);
        loop {
            every.tick().await;
            while self.store.write(|connection, now| kv::sweep(connection, now, SWEEP)).await.is_ok_and(|swept| swept == SWEEP) {}
        }
    }
}
