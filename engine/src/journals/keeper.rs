//! The thread that seals journals and puts them into the store.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use lockstep_ctx_api::journal::lines;
use lockstep_ctx_api::packages::{PackageBundle, PackageModule};
use lockstep_ctx_api::wire::Bundle;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, mpsc, oneshot};

use super::piece::{Begin, JournalId, Piece};
use super::seal::{MasterKey, hex};
use super::table::{self, Begun, Row};
use crate::config::JournalConfig;
use crate::store::{Store, StoreError};

/// Pieces that are written together.
const BATCH: usize = 256;
/// Between two tries of what the store did not take.
const AGAIN: Duration = Duration::from_secs(1);
const DAY_MS: u64 = 86_400_000;
/// Journals that are being written at once; past it the oldest gets nothing more.
const MAX_OPEN: usize = 200_000;
/// Bundles known to be in the store.
const MAX_BUNDLES: usize = 1_000;
/// The part under which the outcome is sealed.
pub(super) const OUTCOME: u32 = u32::MAX;

/// What the thread is told.
pub(super) enum Message {
    Piece(Piece),
    /// Remove what is too old, and the oldest of what is too much.
    Sweep,
    /// Answer once everything that came before is written, or given up.
    Flush(oneshot::Sender<()>),
}

/// What the thread and those who feed it share.
#[derive(Debug, Default)]
pub(super) struct Gauges {
    /// Pieces that wait.
    pub(super) waiting: AtomicUsize,
    /// Bytes that wait.
    pub(super) queued: AtomicUsize,
    /// Bytes of a piece that there was no room for; 0 since another was taken.
    pub(super) wanted: AtomicUsize,
    pub(super) written: AtomicU64,
    /// Pieces that were lost: there was no room, or the store did not take them.
    pub(super) lost: AtomicU64,
    /// Those who wait for everything to be written: for them, what the store does not take is not tried again and again.
    pub(super) flushing: AtomicUsize,
    /// Somebody has begun to wait.
    pub(super) hurry: Notify,
}

/// Texts of a bundle by their hashes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) entry: String,
    pub(super) files: BTreeMap<String, String>,
    pub(super) modules: BTreeMap<String, PackageModule>,
    pub(super) packages: BTreeMap<String, String>,
    pub(super) absent: BTreeMap<String, String>,
}

/// Under what a journal's parts are sealed.
pub(super) fn journal_subject(uid: &str) -> String {
    format!("journal {uid}")
}

/// Under what a text is sealed.
pub(super) fn text_subject(sha256: &str) -> String {
    format!("text {sha256}")
}

struct Open {
    uid: String,
    next_part: u32,
}

/// Pieces on their way to the store.
pub(super) struct Batch {
    /// What each of them consists of.
    pieces: Arc<Vec<Vec<Row>>>,
    bytes: usize,
    /// It was refused.
    refused: bool,
    /// It was refused because the disk is full.
    lacks_room: bool,
}

pub(super) struct Keeper {
    store: Store,
    key: MasterKey,
    gauges: Arc<Gauges>,
    keep_ms: u64,
    max_bytes: u64,
    open: BTreeMap<JournalId, Open>,
    /// Bundles of this process that are in the store, with their hashes there.
    bundles: HashMap<u64, String>,
}

impl Keeper {
    pub(super) fn new(store: Store, key: MasterKey, gauges: Arc<Gauges>, config: &JournalConfig) -> Self {
        let (keep_ms, max_bytes) = (u64::from(config.keep_days) * DAY_MS, u64::from(config.keep_mb) << 20);
        Self { store, key, gauges, keep_ms, max_bytes, open: BTreeMap::new(), bundles: HashMap::new() }
    }

    /// Writes until nobody is left who could send anything.
    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Message>) {
        let mut messages = Vec::with_capacity(BATCH);
        while inbox.recv_many(&mut messages, BATCH).await > 0 {
            let (mut flushed, mut sweeps) = (Vec::new(), false);
            let pieces = messages.drain(..).filter_map(|message| match message {
                Message::Piece(piece) => Some(piece),
                Message::Sweep => {
                    sweeps = true;
                    None
                }
                Message::Flush(done) => {
                    flushed.push(done);
                    None
                }
            });
            let mut batch = self.batch(pieces);
            while !self.write(&mut batch).await {
                if inbox.is_closed() || self.gauges.flushing.load(Relaxed) > 0 {
                    self.give_up(batch.pieces.len(), "the engine stops");
                    break;
                }
                tokio::select! {
                    () = tokio::time::sleep(AGAIN) => {}
                    () = self.gauges.hurry.notified() => {}
                }
                self.make_room(&batch).await;
            }
            self.gauges.waiting.fetch_sub(batch.pieces.len(), Relaxed);
            self.gauges.queued.fetch_sub(batch.bytes, Relaxed);
            if sweeps && let Err(error) = self.sweep().await {
                tracing::error!(%error, "old journals were not removed");
            }
            for done in flushed {
                // Whoever waited may have gone away.
                let _ = done.send(());
            }
        }
    }

    pub(super) fn batch(&mut self, pieces: impl Iterator<Item = Piece>) -> Batch {
        let mut bytes = 0;
        let prepared = pieces.map(|piece| {
            bytes += piece.bytes;
            let mut rows = Vec::new();
            self.prepare(piece, &mut rows);
            rows
        });
        let pieces = Arc::new(prepared.collect());
        Batch { pieces, bytes, refused: false, lacks_room: false }
    }

    /// Whether a batch is done with: the store has it, or will never take it. What comes after it waits for that, since a journal is
    /// written in its order.
    pub(super) async fn write(&mut self, batch: &mut Batch) -> bool {
        if batch.pieces.iter().all(Vec::is_empty) {
            return true;
        }
        let (pieces, each) = (Arc::clone(&batch.pieces), Arc::clone(&batch.pieces));
        let all = self.store.write_behind(move |connection, _| table::write(connection, pieces.iter().flatten())).await;
        let written = match all {
            // It is one of them: the others are written without it.
            Err(error) if error.is_for_good() => {
                self.store.write_behind(move |connection, _| table::write_each(connection, &each)).await
            }
            all => all.map(|missing| (missing, Vec::new())),
        };
        match written {
            Ok((missing, refused)) => {
                // Another process has swept them away: the next journal brings their texts, for the others as well.
                self.forget(&missing);
                let written = batch.pieces.len().saturating_sub(refused.len());
                self.gauges.written.fetch_add(written as u64, Relaxed);
                refused.into_iter().for_each(|error| self.give_up(1, error));
                if batch.refused {
                    tracing::info!(pieces = written, "journals were written that had to wait");
                }
                true
            }
            Err(error) if error.is_for_good() => {
                self.give_up(batch.pieces.len(), error);
                true
            }
            Err(error) => {
                batch.lacks_room = error.is_disk_full();
                if !std::mem::replace(&mut batch.refused, true) {
                    tracing::error!(%error, "journals were not written: they are tried again, and those that follow wait");
                }
                false
            }
        }
    }

    /// Removes what is too old or too much before a batch is tried again, where it is room that it needs.
    pub(super) async fn make_room(&mut self, batch: &Batch) {
        if batch.lacks_room {
            // Where nothing can go, the next try says why.
            let _ = self.sweep().await;
        }
    }

    fn give_up(&mut self, pieces: usize, why: impl Display) {
        tracing::error!(%why, pieces, "journals were not written");
        // Texts may be missing now: they are written again when they are needed next.
        self.bundles.clear();
        self.gauges.lost.fetch_add(pieces as u64, Relaxed);
    }

    async fn sweep(&mut self) -> Result<(), StoreError> {
        let before_ms = self.store.clock().now_ms().saturating_sub(self.keep_ms);
        let (mut any, max_bytes) = (false, self.max_bytes);
        while self.store.write(move |connection, _| table::sweep(connection, before_ms, max_bytes)).await? > 0 {
            any = true;
        }
        if any {
            let gone = self.store.write(|connection, _| table::sweep_texts(connection)).await?;
            self.forget(&gone);
        }
        Ok(())
    }

    /// Bundles that are not in the store any more are written again when they are needed next.
    fn forget(&mut self, bundles: &[String]) {
        if !bundles.is_empty() {
            self.bundles.retain(|_, bundle| !bundles.contains(bundle));
        }
    }

    fn prepare(&mut self, piece: Piece, rows: &mut Vec<Row>) {
        let (journal, closes) = (piece.journal, piece.closes);
        self.prepare_rows(piece, rows);
        if let Some(closed) = closes.and_then(|closed| self.open.remove(&closed))
            && closes != Some(journal)
        {
            rows.push(Row::Closed { uid: closed.uid });
        }
    }

    fn prepare_rows(&mut self, piece: Piece, rows: &mut Vec<Row>) {
        let Piece { journal, begin, tail, outcome, closes: _, bytes: _ } = piece;
        let (begun, mut text) = begin.map(|begin| self.begin(journal, *begin, rows)).unzip();
        let Some(open) = self.open.get_mut(&journal) else { return };
        let (uid, part) = (open.uid.clone(), open.next_part);
        let subject = journal_subject(&uid);
        if let Some(tail) = &tail {
            text.get_or_insert_default().push_str(&lines::render_tail(tail));
        }
        let text = text.filter(|text| !text.is_empty());
        let sealed = text.map(|text| self.key.seal(&subject, part, text.as_bytes()));
        if sealed.is_some() {
            open.next_part = part.saturating_add(1);
        }
        let outcome = outcome.map(|outcome| self.key.seal(&subject, OUTCOME, &outcome()));
        if outcome.is_some() {
            self.open.remove(&journal);
        }
        match begun {
            Some(begun) => rows.push(Row::Journal { begun, first: sealed, outcome }),
            None => {
                rows.extend(sealed.map(|sealed| Row::Part { uid: uid.clone(), part, sealed }));
                rows.extend(outcome.map(|sealed| Row::Outcome { uid, sealed }));
            }
        }
    }

    /// Makes room for a journal; what lies readable of it, and its first lines.
    fn begin(&mut self, journal: JournalId, begin: Begin, rows: &mut Vec<Row>) -> (Begun, String) {
        let Begin { name, account, started_ms, script } = begin;
        // In the order of time (RFC 9562, version 7): rows are added where the last ones were, not all over their tables.
        let uid = uuid::Builder::from_unix_timestamp_millis(started_ms, &rand::random()).into_uuid().simple().to_string();
        let bundle = script.as_ref().map(|script| self.bundle(script.bundle_id, &script.bundle, rows));
        let is_call = script.as_ref().is_none_or(|script| script.start.call.is_some());
        if self.open.len() >= MAX_OPEN {
            self.open.pop_first();
        }
        self.open.insert(journal, Open { uid: uid.clone(), next_part: 0 });
        let head = script.map(|script| lines::render_head(&script.header, &script.start)).unwrap_or_default();
        (Begun { uid, name, account, bundle, started_ms, is_call }, head)
    }

    /// The hash of a bundle in the store, where it is put unless it is there.
    fn bundle(&mut self, id: u64, bundle: &Bundle, rows: &mut Vec<Row>) -> String {
        if let Some(hash) = self.bundles.get(&id) {
            return hash.clone();
        }
        let mut texts = Vec::new();
        let mut text = |source: &str| {
            let sha256 = hex(&Sha256::digest(source));
            rows.push(Row::Text { sealed: self.key.seal(&text_subject(&sha256), 0, source.as_bytes()), sha256: sha256.clone() });
            texts.push(sha256.clone());
            sha256
        };
        let files = bundle.files.iter().map(|(name, source)| (name.clone(), text(source))).collect();
        let packages = &bundle.packages.bundles;
        let packages = packages.iter().map(|(name, PackageBundle { source, .. })| (name.clone(), text(source))).collect();
        let manifest = Manifest {
            entry: bundle.entry.clone(),
            files,
            modules: bundle.packages.modules.clone(),
            packages,
            absent: bundle.packages.absent.clone(),
        };
        // Maps with text for keys: this cannot fail.
        let manifest = serde_json::to_vec(&manifest).unwrap_or_default();
        let hash = hex(&Sha256::digest(&manifest));
        rows.push(Row::Text { sha256: hash.clone(), sealed: self.key.seal(&text_subject(&hash), 0, &manifest) });
        rows.push(Row::Bundle { bundle: hash.clone(), texts });
        if self.bundles.len() >= MAX_BUNDLES {
            self.bundles.clear();
        }
        self.bundles.insert(id, hash.clone());
        hash
    }
}
