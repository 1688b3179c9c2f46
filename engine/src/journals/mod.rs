//! Journals on disk, written behind the calls they are of.
//!
//! ```text
//!   core ─► pieces ─► [ bounded queue ] ─► keeper: JSON lines, sealed ─► store
//!                       full? the call goes on, and the piece is tried again or counted as lost
//! ```
//!
//! What the store does not take, because it is busy or its disk is full, the keeper tries again; the queue is what may wait for that.
//! Whoever has calls never waits for a disk. What is read is decrypted and, for people, redacted.

mod keeper;
mod piece;
mod redaction;
mod seal;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use lockstep_ctx_api::journal::{Journal, lines};
use lockstep_ctx_api::packages::{PackageBundle, Packages};
use lockstep_ctx_api::wire::Bundle;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

pub use piece::{Begin, JournalId, Piece, ScriptStart};
pub use redaction::Redaction;
pub use seal::{KeyError, MasterKey};

use crate::background;
use crate::config::JournalConfig;
use crate::store::{Store, StoreError};
use keeper::{Gauges, Keeper, Manifest, Message, journal_subject, text_subject};
use seal::Unreadable;
use table::{Found, Row};

/// Pieces that may wait.
const QUEUE: usize = 8_192;
/// Bytes of pieces that may wait.
const MAX_QUEUED: usize = 64 << 20;

/// Why a journal cannot be read.
#[derive(Debug, Error)]
pub enum JournalError {
    #[error("the journal of {name} was sealed with another key than [journal] key, or is damaged")]
    Sealed { name: String },
    #[error("the journal of {name} is damaged: {why}")]
    Damaged { name: String, why: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A journal from disk.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Id of the call or run.
    pub name: String,
    pub account: String,
    pub started_ms: u64,
    /// Absent for a call without a script.
    pub journal: Option<Journal>,
    /// What was run, where it was asked for.
    pub bundle: Option<Bundle>,
    /// How it came out; absent while it goes on, and of a run outside calls.
    pub outcome: Option<Value>,
}

/// What a list shows of an outcome.
#[derive(Deserialize)]
struct Summarized {
    summary: Value,
}

/// A call that has not ended, as far as the store knows.
#[derive(Clone, Debug)]
pub struct OpenCall {
    uid: String,
    /// Id of the call.
    pub name: String,
}

/// The journals of an engine. Clones share them.
#[derive(Clone, Debug)]
pub struct Journals {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    messages: Option<mpsc::Sender<Message>>,
    store: Store,
    key: MasterKey,
    config: JournalConfig,
    gauges: Arc<Gauges>,
    next: AtomicU64,
}

impl Journals {
    /// Starts the thread that writes them, unless the configuration keeps none.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(store: &Store, key: MasterKey, config: &JournalConfig) -> std::io::Result<Self> {
        if config.keep_days == 0 {
            return Ok(Self::off(store, key));
        }
        let (messages, inbox) = mpsc::channel(QUEUE);
        let gauges = Arc::new(Gauges::default());
        let keeper = Keeper::new(store.clone(), key.clone(), Arc::clone(&gauges), config);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let work = move || {
            background::step_back(background::UNHURRIED);
            runtime.block_on(keeper.run(inbox));
        };
        std::thread::Builder::new().name("journals".to_owned()).spawn(work)?;
        let inner = Inner {
            messages: Some(messages),
            store: store.clone(),
            key,
            config: config.clone(),
            gauges,
            next: AtomicU64::new(1),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Writes nothing; what another engine has written can be read.
    pub fn off(store: &Store, key: MasterKey) -> Self {
        let inner = Inner {
            messages: None,
            store: store.clone(),
            key,
            config: JournalConfig { keep_days: 0, ..JournalConfig::default() },
            gauges: Arc::default(),
            next: AtomicU64::new(1),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Whether anything is written.
    pub fn is_on(&self) -> bool {
        self.inner.messages.is_some()
    }

    /// Share of the runs outside calls that are kept although they did not fail.
    pub fn sample_runs(&self) -> f64 {
        if self.is_on() { self.inner.config.sample_runs } else { 0.0 }
    }

    /// A name for a journal that is about to be written.
    pub fn open(&self) -> JournalId {
        JournalId(self.inner.next.fetch_add(1, Relaxed))
    }

    /// Puts a piece in line; `false` when there is no room for it.
    pub fn keep(&self, piece: Piece) -> bool {
        let Some(messages) = &self.inner.messages else { return true };
        let Gauges { queued, waiting, wanted, .. } = &*self.inner.gauges;
        let bytes = piece.bytes;
        if queued.load(Relaxed).saturating_add(bytes) > MAX_QUEUED {
            wanted.store(bytes.min(MAX_QUEUED), Relaxed);
            return false;
        }
        wanted.store(0, Relaxed);
        queued.fetch_add(bytes, Relaxed);
        waiting.fetch_add(1, Relaxed);
        let sent = messages.try_send(Message::Piece(piece)).is_ok();
        if !sent {
            queued.fetch_sub(bytes, Relaxed);
            waiting.fetch_sub(1, Relaxed);
        }
        sent
    }

    /// Whether there is room for more, as far as is known: a piece need not be made where the one before was refused.
    pub fn has_room(&self) -> bool {
        let Gauges { queued, wanted, .. } = &*self.inner.gauges;
        let needed = queued.load(Relaxed).saturating_add(wanted.load(Relaxed));
        self.inner.messages.as_ref().is_none_or(|messages| messages.capacity() > 0 && needed <= MAX_QUEUED)
    }

    /// A piece was given up.
    pub fn lost(&self) {
        if self.inner.gauges.lost.fetch_add(1, Relaxed) == 0 {
            tracing::error!("the disk does not keep up: journals are being lost (lockstep_journals_lost_total)");
        }
    }

    /// Pieces written and lost since the start.
    pub fn counts(&self) -> (u64, u64) {
        (self.inner.gauges.written.load(Relaxed), self.inner.gauges.lost.load(Relaxed))
    }

    /// Pieces that wait to be written.
    pub fn waiting(&self) -> usize {
        self.inner.gauges.waiting.load(Relaxed)
    }

    /// Resolves once everything that was given is on disk, or was tried a last time.
    pub async fn flush(&self) {
        let Some(messages) = &self.inner.messages else { return };
        let (done, flushed) = oneshot::channel();
        let Gauges { flushing, hurry, .. } = &*self.inner.gauges;
        flushing.fetch_add(1, Relaxed);
        hurry.notify_one();
        if messages.send(Message::Flush(done)).await.is_ok() {
            // An error says that the thread has ended, and with it all it had to write.
            let _ = flushed.await;
        }
        flushing.fetch_sub(1, Relaxed);
    }

    /// Has what is too old, and the oldest of what is too much, removed; where none are kept, all that is over.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn sweep(&self) -> Result<(), StoreError> {
        let Some(messages) = &self.inner.messages else {
            let store = &self.inner.store;
            while store.write(|connection, _| table::sweep_all(connection)).await? > 0 {}
            return store.write(|connection, _| table::sweep_texts(connection)).await.map(drop);
        };
        // When the queue is full, the next sweep will do.
        let _ = messages.try_send(Message::Sweep);
        Ok(())
    }

    /// The latest journal of a call or run, its sources with it where they are asked for.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn find(&self, name: &str, sources: bool) -> Result<Option<Stored>, JournalError> {
        let wanted = name.to_owned();
        let read = self.inner.store.read(move |connection, _| {
            let Some(found) = table::find(connection, &wanted)? else { return Ok(None) };
            let parts = table::parts(connection, &found.uid)?;
            Ok(Some((found, parts)))
        });
        let Some((found, parts)) = read.await? else { return Ok(None) };
        let bundle = match found.bundle.clone().filter(|_| sources) {
            Some(hash) => Some(self.bundle(name, &hash).await?),
            None => None,
        };
        let sealed = |_: Unreadable| JournalError::Sealed { name: name.to_owned() };
        let subject = journal_subject(&found.uid);
        let mut text = String::new();
        for (part, octets) in (0..).zip(&parts) {
            let plain = self.inner.key.open(&subject, part, octets).map_err(sealed)?;
            text.push_str(&String::from_utf8_lossy(&plain));
        }
        let damaged = |error: lines::ParseError| JournalError::Damaged { name: name.to_owned(), why: error.to_string() };
        let journal = if text.is_empty() { None } else { Some(lines::parse(&text).map_err(damaged)?) };
        let outcome = outcome(&self.inner.key, &found)?;
        let Found { name, account, started_ms, .. } = found;
        Ok(Some(Stored { name, account, started_ms, journal, bundle, outcome }))
    }

    /// The calls that have not ended: at the start, those in whose midst an engine died.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn open_calls(&self) -> Result<Vec<OpenCall>, StoreError> {
        let open = self.inner.store.read(|connection, _| table::open(connection)).await?;
        Ok(open.into_iter().map(|(uid, name)| OpenCall { uid, name }).collect())
    }

    /// Says how a call came out whose engine died: an outcome as JSON.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn end(&self, call: &OpenCall, outcome: &[u8]) -> Result<(), StoreError> {
        let sealed = self.inner.key.seal(&journal_subject(&call.uid), keeper::OUTCOME, outcome);
        let rows = [Row::Outcome { uid: call.uid.clone(), sealed }];
        self.inner.store.write(move |connection, _| table::write(connection, &rows)).await.map(drop)
    }

    /// The latest calls that are over as lines of a list, of one account or of all, the newest first.
    ///
    /// # Errors
    /// When the store cannot be read. What was sealed with another key is left out.
    pub async fn latest(&self, account: Option<String>, limit: usize) -> Result<Vec<Value>, JournalError> {
        let key = self.inner.key.clone();
        // Most of an outcome is its timeline: one at a time is opened, where nobody waits.
        let read = self.inner.store.report(move |connection, _| {
            let summary = |found: &Found| Some(outcome::<Summarized>(&key, found).ok()??.summary);
            table::latest(connection, account.as_deref(), limit, summary)
        });
        Ok(read.await?)
    }

    async fn bundle(&self, name: &str, hash: &str) -> Result<Bundle, JournalError> {
        let damaged = |why: String| JournalError::Damaged { name: name.to_owned(), why };
        let manifest: Manifest =
            serde_json::from_str(&self.text(name, hash).await?).map_err(|error| damaged(error.to_string()))?;
        let mut bundle = Bundle { entry: manifest.entry, ..Bundle::default() };
        for (file, sha256) in manifest.files {
            bundle.files.insert(file, self.text(name, &sha256).await?.into());
        }
        let mut packages = Packages { modules: manifest.modules, absent: manifest.absent, ..Packages::default() };
        for (package, sha256) in manifest.packages {
            let source = self.text(name, &sha256).await?.into();
            packages.bundles.insert(package, PackageBundle { sha256, source });
        }
        bundle.packages = packages;
        Ok(bundle)
    }

    async fn text(&self, name: &str, sha256: &str) -> Result<String, JournalError> {
        let wanted = sha256.to_owned();
        let sealed = self.inner.store.read(move |connection, _| table::text(connection, &wanted)).await?;
        let missing = || JournalError::Damaged { name: name.to_owned(), why: format!("a source text is missing: {sha256}") };
        let plain = self.inner.key.open(&text_subject(sha256), 0, &sealed.ok_or_else(missing)?);
        let plain = plain.map_err(|_| JournalError::Sealed { name: name.to_owned() })?;
        Ok(String::from_utf8_lossy(&plain).into_owned())
    }
}

/// How a call came out, or what is asked of it.
fn outcome<T: DeserializeOwned>(key: &MasterKey, found: &Found) -> Result<Option<T>, JournalError> {
    let Some(sealed) = &found.outcome else { return Ok(None) };
    let plain = key.open(&journal_subject(&found.uid), keeper::OUTCOME, sealed);
    let plain = plain.map_err(|_| JournalError::Sealed { name: found.name.clone() })?;
    let damaged = |error: serde_json::Error| JournalError::Damaged { name: found.name.clone(), why: error.to_string() };
    serde_json::from_slice(&plain).map(Some).map_err(damaged)
}
