//! What all parts of an engine share besides calls: the store, and the services that scripts reach.

use std::sync::Arc;
use std::time::Duration;

use crate::bus::Bus;
use crate::cdr;
use crate::config::{Config, DriversConfig, Loaded};
use crate::core::{EventLog, KeyChange, KeyNotice};
use crate::host::{self, HostServices, Late, NamedService};
use crate::jobs::Jobs;
use crate::journals::{Journals, KeyError, MasterKey};
use crate::provisioning::Provisioning;
use crate::script::Environment;
use crate::store::{AccountDatabases, Clock, DatabaseLimits, Place, Store, StoreError, kv};

/// How often what has expired is swept away.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// Entries of one sweep's write: others want to write, too.
const SWEEP: usize = 1_000;

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    JournalKey(#[from] KeyError),
    #[error("thread for journals: {0}")]
    Journals(std::io::Error),
    /// A provider of the configuration cannot be used.
    #[error("{0}")]
    Provider(String),
}

/// Opened once, before anything runs; clones share it.
#[derive(Clone, Debug)]
pub struct Platform {
    pub store: Store,
    pub databases: AccountDatabases,
    pub bus: Bus,
    pub jobs: Jobs,
    pub services: HostServices,
    pub journals: Journals,
    /// What an account's keys and values may take.
    pub kv_bytes: u64,
    /// How long the records of calls are kept, ms.
    pub cdr_ms: u64,
    /// What services reach once the engine runs.
    pub late: Late,
    /// What happens in the engine, for those who watch.
    pub events: EventLog,
    /// The accounts of the configuration; none: there is only the default one.
    pub accounts: Arc<[String]>,
    /// Variables of apps that scripts and the API have set.
    pub environment: Environment,
    /// Scripts that the engine itself calls.
    pub drivers: DriversConfig,
    /// Users, numbers, gateways, routes and customers.
    pub provisioning: Provisioning,
}

impl Platform {
    /// Opens the store where the configuration has it, and makes the table of services.
    ///
    /// # Errors
    /// What keeps the store from being opened, or a provider from being used.
    pub fn open(loaded: &Loaded) -> Result<Self, PlatformError> {
        let place = match Place::of(&loaded.config.store.path) {
            Place::Memory => Place::Memory,
            Place::File(path) => Place::File(loaded.resolve(&path)),
        };
        let scripts = loaded.resolve(&loaded.config.scripts.dir);
        let store = Store::open(place, Clock::system())?;
        let key = journal_key(&loaded.config, store.place())?;
        let journals = Journals::start(&store, key, &loaded.config.journal).map_err(PlatformError::Journals)?;
        Ok(Self { journals, ..Self::reaching_out(&loaded.config, &scripts, store)? })
    }

    /// With nothing that stays and nobody outside.
    ///
    /// # Errors
    /// When SQLite cannot make a database in memory.
    pub fn in_memory(config: &Config) -> Result<Self, StoreError> {
        Self::in_memory_at(config, Clock::system())
    }

    /// With nothing that stays, and with whoever can be reached outside; e-mail templates lie under `scripts`.
    ///
    /// # Errors
    /// When SQLite cannot make a database in memory, or a provider cannot be used.
    pub fn passing(config: &Config, scripts: &std::path::Path) -> Result<Self, PlatformError> {
        Self::reaching_out(config, scripts, Store::in_memory(Clock::system())?)
    }

    fn reaching_out(config: &Config, scripts: &std::path::Path, store: Store) -> Result<Self, PlatformError> {
        let late = Late::default();
        let providers = host::providers(config, scripts, &late, &store).map_err(PlatformError::Provider)?;
        Ok(Self::on(config, store, late, providers)?)
    }

    /// As [`in_memory`](Self::in_memory), by another clock than the machine's.
    ///
    /// # Errors
    /// As there.
    pub fn in_memory_at(config: &Config, clock: Clock) -> Result<Self, StoreError> {
        Self::on(config, Store::in_memory(clock)?, Late::default(), Vec::new())
    }

    fn on(config: &Config, store: Store, late: Late, providers: Vec<NamedService>) -> Result<Self, StoreError> {
        let limits = DatabaseLimits { max_bytes: config.store.database_bytes(), ..DatabaseLimits::default() };
        let databases = AccountDatabases::beside(store.place(), limits);
        let bus = Bus::default();
        let events = EventLog::default();
        let jobs = Jobs::new(&store).telling(&events);
        let journals = Journals::off(&store, MasterKey::passing());
        let environment = Environment::load(&store)?;
        let own = host::services(config, &store, &databases, &bus, &jobs, &events).into_iter();
        let env = host::env_service(config, &store, &environment);
        let services = HostServices::new(own.chain(providers).chain([env]));
        Ok(Self {
            provisioning: Provisioning::load(config, &store)?,
            store,
            databases,
            bus,
            jobs,
            services,
            journals,
            kv_bytes: config.store.kv_bytes(),
            cdr_ms: config.store.cdr_ms(),
            late,
            events,
            environment,
            drivers: config.drivers.clone(),
            accounts: config.accounts.iter().map(|account| account.name.clone()).collect(),
        })
    }

    /// Sweeps away what has expired, for as long as the future lives.
    pub async fn keep_house(self) {
        let mut every = tokio::time::interval(SWEEP_EVERY);
        loop {
            every.tick().await;
            if let Err(error) = self.journals.sweep().await {
                tracing::error!(%error, "journals were not removed");
            }
            while self.sweep_keys().await == SWEEP {}
            let kept = self.cdr_ms;
            let old = move |connection: &rusqlite::Connection, now: u64| cdr::sweep(connection, now.saturating_sub(kept), SWEEP);
            while self.store.write(old).await.is_ok_and(|swept| swept == SWEEP) {}
        }
    }

    /// Sweeps some keys away whose time has come; how many.
    async fn sweep_keys(&self) -> usize {
        let (events, clock) = (self.events.clone(), self.store.clock().clone());
        // Told before whatever sets such a key again is.
        let told = move |gone: &Vec<(String, kv::Space, String)>| {
            let notices = gone.iter().filter_map(|(account, space, key)| {
                events.key_notice(&clock, account, (*space, key.as_str()), KeyChange::Expired)
            });
            notices.for_each(KeyNotice::tell);
        };
        let sweep = |connection: &rusqlite::Connection, now: u64| kv::sweep(connection, now, SWEEP);
        self.store.write_then(sweep, told).await.map_or(0, |gone| gone.len())
    }
}

/// The key of the configuration, else one beside the store.
///
/// # Errors
/// When it cannot be had.
pub(crate) fn journal_key(config: &Config, place: &Place) -> Result<MasterKey, KeyError> {
    match (&config.journal.key, place) {
        (Some(key), _) => MasterKey::parse(key.expose()),
        (None, Place::File(path)) => {
            let mut beside = path.as_os_str().to_owned();
            beside.push(".key");
            MasterKey::in_file(std::path::Path::new(&beside))
        }
        (None, Place::Memory) => Ok(MasterKey::passing()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    use futures_util::FutureExt as _;

    use super::*;
    use crate::core::EngineEvent;

    #[tokio::test]
    async fn a_key_that_is_set_after_it_was_swept_away_is_told_of_last() {
        let hand = Arc::new(AtomicU64::new(1_000));
        let platform = Platform::in_memory_at(&Config::default(), Clock::manual(Arc::clone(&hand))).unwrap();
        let (mut told, _watched) = (platform.events.watch_since(0), platform.events.watch_keys());
        let notice = |change| platform.events.key_notice(platform.store.clock(), "a", (kv::Space::Texts, "b"), change);
        let set = |ttl_ms, notice: Option<KeyNotice>| {
            let set = move |connection: &rusqlite::Connection, now: u64| {
                kv::set(connection, now, ("a", 1_000), kv::Space::Texts, "b", "c", ttl_ms)
            };
            platform.store.write_then(set, |&()| notice.into_iter().for_each(KeyNotice::tell))
        };
        set(Some(1), None).await.unwrap();
        hand.fetch_add(2, SeqCst);
        let mut sweep = Box::pin(platform.sweep_keys());
        let swept = (&mut sweep).now_or_never();
        set(None, notice(KeyChange::Set)).await.unwrap();
        assert_eq!(if let Some(swept) = swept { swept } else { sweep.await }, 1);
        let told = std::iter::from_fn(|| told.try_recv()).map(|event| match &event.unwrap().event {
            EngineEvent::Kv(changed) => changed.change,
            other => panic!("{other:?}"),
        });
        assert_eq!(told.collect::<Vec<_>>(), [KeyChange::Expired, KeyChange::Set]);
    }
}
