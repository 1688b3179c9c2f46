//! What those see who watch keys. It is told only while somebody asks for it: scripts change keys thousands of times a second, and
//! other events give way to that.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use lockstep_ctx_api::journal::{SecretNames, redact_text};
use serde::Serialize;

use super::engine_event::EngineEvent;
use super::event_log::EventLog;
use crate::store::Clock;
use crate::store::kv::Space;

/// The longest value that is shown, in bytes.
const MAX_SHOWN: usize = 4_096;

/// A key has another value, or is gone.
#[derive(Clone, Debug, Serialize)]
pub struct KeyChanged {
    pub account: Arc<str>,
    /// The functions that reach it: `kv` or `ko`.
    pub space: &'static str,
    pub key: String,
    pub change: KeyChange,
    /// What it has now, unless that is long; hidden where the key's name, or names in it, say that it is secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// What became of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyChange {
    Set,
    Deleted,
    /// Its time had come, and it was swept away.
    Expired,
}

/// Has changes of keys told for as long as it lives.
#[derive(Debug)]
pub struct KeysWatched(EventLog);

impl Drop for KeysWatched {
    fn drop(&mut self) {
        self.0.key_watchers().fetch_sub(1, Ordering::Relaxed);
    }
}

/// A change that is about to be made, for those who watch.
#[derive(Debug)]
pub struct KeyNotice {
    log: EventLog,
    at_ms: u64,
    changed: KeyChanged,
}

impl KeyNotice {
    /// With the value that the key has now.
    #[must_use]
    pub fn showing(mut self, value: &str) -> Self {
        let shown = || redact_text(&SecretNames, &self.changed.key, value).unwrap_or_else(|| value.to_owned());
        self.changed.value = (value.len() <= MAX_SHOWN).then(shown);
        self
    }

    /// It has been made.
    pub fn tell(self) {
        let account = Arc::clone(&self.changed.account);
        self.log.publish(self.at_ms, Some(account), EngineEvent::Kv(self.changed));
    }
}

impl EventLog {
    /// Has changes of keys told from now on.
    pub fn watch_keys(&self) -> KeysWatched {
        self.key_watchers().fetch_add(1, Ordering::Relaxed);
        KeysWatched(self.clone())
    }

    /// What tells of a change of a key; `None` where nobody watches them.
    pub fn key_notice(&self, clock: &Clock, account: &str, (space, key): (Space, &str), change: KeyChange) -> Option<KeyNotice> {
        if self.key_watchers().load(Ordering::Relaxed) == 0 {
            return None;
        }
        let space = match space {
            Space::Texts => "kv",
            Space::Objects => "ko",
        };
        let changed = KeyChanged { account: account.into(), space, key: key.to_owned(), change, value: None };
        Some(KeyNotice { log: self.clone(), at_ms: clock.now_ms(), changed })
    }
}
