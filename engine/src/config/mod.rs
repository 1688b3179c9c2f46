//! `lockstep.toml`: everything the engine can be told, with a default for all of it.
//!
//! [`Config::load`] reads the file of a folder, applies `LOCKSTEP_SECTION__KEY` variables, and checks the whole. What is wrong
//! is reported with file, line, key and what was expected; the engine does not start on it.

mod address;
mod api;
mod drivers;
mod entry;
mod environment;
mod error;
pub mod header_comment;
mod journal;
mod load;
mod locate;
mod lookup;
mod media;
mod messaging;
mod rest;
mod routing;
mod script;
mod script_names;
mod secret;
mod secrets;
mod security;
mod sip;
mod tts;
mod validate;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

pub use api::{ApiConfig, ApiKey, Scope};
pub use drivers::DriversConfig;
pub(crate) use entry::entry;
pub use error::{ConfigError, Problem};
pub use journal::JournalConfig;
pub use load::{Loaded, Places};
pub use lookup::LookupProvider;
pub use media::{Codec, MediaConfig, PortRange};
pub use messaging::{EmailConfig, EmailTls, NotifyConfig, SmsConfig};
pub use rest::RestConfig;
pub use routing::{
    Class5Application, Customer, CustomerLimits, Destination, Did, EventSocketConfig, EventSocketMedia, EventSocketUser,
    FreeSwitchHost, Gateway, OnError, Route, SipAddress, TimeoutAction, User,
};
pub use script::{
    App, Class5Destination, DEFAULT_MEMORY_MB, DEFAULT_TURN_MS, GlobalRun, Public, Schedule, ScriptEntry, ScriptsConfig, Weekday,
};
pub use script_names::{NamedScript, Wanted};
pub use secret::Secret;
pub use security::{Net, SecurityConfig};
pub use sip::{Digest, Listen, Protocol, SipConfig};
pub use tts::{TtsConfig, TtsProvider};

/// The file's name within its folder.
pub const FILE_NAME: &str = "lockstep.toml";

/// The whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub sip: SipConfig,
    pub media: MediaConfig,
    pub scripts: ScriptsConfig,
    pub api: ApiConfig,
    pub event_socket: EventSocketConfig,
    #[serde(rename = "freeswitch")]
    pub freeswitches: Vec<FreeSwitchHost>,
    pub store: StoreConfig,
    pub drivers: DriversConfig,
    pub jobs: JobsConfig,
    pub journal: JournalConfig,
    pub cluster: ClusterConfig,
    pub tts: TtsConfig,
    pub email: Option<EmailConfig>,
    pub sms: Option<SmsConfig>,
    pub notify: Option<NotifyConfig>,
    pub rest: RestConfig,
    /// `[lookup.NAME]`
    pub lookup: BTreeMap<String, LookupProvider>,
    pub security: SecurityConfig,
    #[serde(rename = "account")]
    pub accounts: Vec<Account>,
    #[serde(rename = "app")]
    pub apps: Vec<App>,
    #[serde(rename = "script")]
    pub script_entries: Vec<ScriptEntry>,
    #[serde(rename = "customer")]
    pub customers: Vec<Customer>,
    #[serde(rename = "did")]
    pub dids: Vec<Did>,
    pub class5: Vec<Class5Application>,
    #[serde(rename = "gateway")]
    pub gateways: Vec<Gateway>,
    #[serde(rename = "route")]
    pub routes: Vec<Route>,
    #[serde(rename = "user")]
    pub users: Vec<User>,
}

impl Config {
    /// What contradicts itself in it: keys such as `did[0].customer`, and what was expected.
    pub(crate) fn contradictions(&self) -> Vec<(String, String)> {
        let found = validate::validate(self).errors.into_iter();
        found.map(|finding| (locate::render(&finding.path), finding.message)).collect()
    }
}

/// `[store]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// Relative to the configuration's folder; `:memory:` keeps nothing.
    pub path: PathBuf,
    /// Megabytes of keys and values an account may keep.
    pub kv_mb: u32,
    /// Megabytes of Userspace records an account may keep.
    pub userspace_mb: u32,
    /// Megabytes of the database an account's `sql` works on.
    pub database_mb: u32,
    /// How long the records of calls are kept; 0: none are kept.
    pub cdr_days: u16,
}

impl StoreConfig {
    pub(crate) fn kv_bytes(&self) -> u64 {
        u64::from(self.kv_mb) << 20
    }

    pub(crate) fn userspace_bytes(&self) -> u64 {
        u64::from(self.userspace_mb) << 20
    }

    /// Milliseconds that the records of calls are kept.
    pub(crate) fn cdr_ms(&self) -> u64 {
        u64::from(self.cdr_days) * crate::cdr::DAY_MS
    }

    pub(crate) fn database_bytes(&self) -> u64 {
        u64::from(self.database_mb) << 20
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { path: PathBuf::from("lockstep.db"), kv_mb: 256, userspace_mb: 256, database_mb: 256, cdr_days: 90 }
    }
}

/// `[jobs]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JobsConfig {
    /// Jobs that run at once.
    pub concurrency: u16,
    /// How long a job is kept after its end.
    pub keep_days: u16,
}

impl Default for JobsConfig {
    fn default() -> Self {
        Self { concurrency: 100, keep_days: 7 }
    }
}

/// `[cluster]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterConfig {
    /// Absent: one process, everything embedded.
    pub nats: Option<Secret>,
}

/// `[[account]]`: what audio, keys, records and limits belong to.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    pub name: String,
}

/// What is said of a key that is understood and not acted upon.
const WITHOUT_EFFECT: &str = "has no effect in this version";

/// The account everything belongs to where none is named.
pub const DEFAULT_ACCOUNT: &str = "default";

/// What a key of the API says instead of an account's name when it is the operator's.
pub const EVERY_ACCOUNT: &str = "*";

fn default_account() -> String {
    DEFAULT_ACCOUNT.to_owned()
}
