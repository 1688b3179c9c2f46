//! Journals written piece by piece and read back, on a store in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use lockstep_ctx_api::journal::{FORMAT, JournalHeader, Mark};
use lockstep_ctx_api::op::Vars;
use lockstep_ctx_api::wire::{CallStart, Entry, EntryKind, Limits, RunHeader, ScriptType, Start};

use serde_json::json;

use super::*;
use crate::store::{Clock, Place};

const DAY_MS: u64 = 86_400_000;
const SOURCE: &str = "export async function main(data, ctx) { await ctx.answer(); }";

struct Fixture {
    store: Store,
    hand: Arc<AtomicU64>,
    key: MasterKey,
    journals: Journals,
}

impl Fixture {
    fn new(config: &JournalConfig) -> Self {
        let hand = Arc::new(AtomicU64::new(30 * DAY_MS));
        let store = Store::open(Place::Memory, Clock::manual(Arc::clone(&hand))).unwrap();
        let key = MasterKey::passing();
        let journals = Journals::start(&store, key.clone(), config).unwrap();
        Self { store, hand, key, journals }
    }

    fn begin(&self, name: &str, journal: &Journal, bundle: &Bundle) -> Option<Box<Begin>> {
        let script = ScriptStart {
            header: journal.header.clone(),
            start: Arc::clone(&journal.start),
            bundle_id: journal.header.run.bundle,
            bundle: Arc::new(bundle.clone()),
        };
        let started_ms = self.hand.load(SeqCst);
        Some(Box::new(Begin { name: name.into(), account: "default".into(), started_ms, script: Some(script) }))
    }

    /// Writes a call's journal in pieces of one entry each.
    async fn write(&self, name: &str, journal: &Journal, bundle: &Bundle) {
        let id = self.journals.open();
        assert!(self.journals.keep(Piece { begin: self.begin(name, journal, bundle), ..piece(id) }));
        let mut so_far = Journal { entries: Vec::new(), ..journal.clone() };
        let mut mark = Mark::default();
        for entry in &journal.entries {
            so_far.entries.push(entry.clone());
            let tail = so_far.since(mark);
            mark = tail.to();
            assert!(self.journals.keep(Piece { tail: Some(tail), ..piece(id) }));
        }
        let outcome = Box::new(|| br#"{"summary":{"id":"x"},"timeline":[1],"recordings":[]}"#.to_vec());
        assert!(self.journals.keep(Piece { outcome: Some(outcome), ..piece(id) }));
        self.journals.flush().await;
    }

    async fn count(&self, table: &'static str) -> u64 {
        let sql = format!("SELECT count(*) FROM {table}");
        self.store.read(move |connection, _| Ok(connection.query_row(&sql, [], |row| row.get(0))?)).await.unwrap()
    }
}

fn piece(journal: JournalId) -> Piece {
    Piece { journal, begin: None, tail: None, outcome: None, closes: None, bytes: 1 }
}

fn journal(bundle: u64) -> Journal {
    let run = RunHeader {
        bundle,
        script_type: ScriptType::App,
        function: None,
        env: Vars::new(),
        limits: Limits { memory_bytes: 1, turn_ms: 1, after_end_ms: 1 },
        seed: [1; 32],
        time_zone: "UTC".into(),
        prelude: 1,
        is_awaited: false,
    };
    let header = JournalHeader {
        format: FORMAT,
        script: "a.js".into(),
        version: "0".into(),
        sources: BTreeMap::new(),
        run: Arc::new(run),
    };
    let mut journal = Journal::new(header, Arc::new(Start { at: 5, data: "{}".into(), call: None }));
    journal.entries = (6..9).map(|at| Entry { at, kind: EntryKind::Wake }).collect();
    journal
}

fn bundle(source: &str) -> Bundle {
    let packages = Packages {
        bundles: [("axios".into(), PackageBundle { sha256: "0".into(), source: "axios itself".into() })].into(),
        ..Packages::default()
    };
    Bundle { entry: "a.js".into(), files: [("a.js".into(), source.into())].into(), packages }
}

#[tokio::test]
async fn a_journal_is_read_back_with_what_was_run() {
    let fixture = Fixture::new(&JournalConfig::default());
    fixture.write("call-1", &journal(1), &bundle(SOURCE)).await;
    let found = fixture.journals.find("call-1", true).await.unwrap().unwrap();
    let read = found.journal.unwrap();
    assert_eq!((read.entries, read.header), (journal(1).entries, journal(1).header));
    let sources = found.bundle.unwrap();
    assert_eq!((sources.entry.as_str(), &*sources.files["a.js"]), ("a.js", SOURCE));
    assert_eq!(&*sources.packages.bundles["axios"].source, "axios itself");
    assert_eq!(found.outcome.unwrap()["summary"]["id"], "x");
    assert_eq!(
        fixture.journals.latest(Some("default".into()), 10).await.unwrap(),
        [json!({ "id": "x" })],
        "nothing but summaries"
    );
    assert!(fixture.journals.latest(Some("other".into()), 10).await.unwrap().is_empty());
    assert!(fixture.journals.find("call-2", false).await.unwrap().is_none());
}

#[tokio::test]
async fn a_journal_that_comes_as_a_whole_is_read_and_counted_like_one_that_comes_in_pieces() {
    let fixture = Fixture::new(&JournalConfig::default());
    let whole = journal(1);
    fixture.write("in pieces", &whole, &bundle(SOURCE)).await;
    let parts = fixture.count("journal_parts").await;
    let id = fixture.journals.open();
    let outcome = Box::new(|| br#"{"summary":{"id":"x"}}"#.to_vec());
    let begin = fixture.begin("whole", &whole, &bundle(SOURCE));
    let tail = Some(whole.since(Mark::default()));
    assert!(fixture.journals.keep(Piece { begin, tail, outcome: Some(outcome), ..piece(id) }));
    fixture.journals.flush().await;
    assert_eq!(fixture.count("journal_parts").await, parts + 1);
    for name in ["in pieces", "whole"] {
        let found = fixture.journals.find(name, false).await.unwrap().unwrap();
        assert_eq!(found.journal.unwrap().entries, whole.entries, "{name}");
        assert_eq!(found.outcome.unwrap()["summary"]["id"], "x", "{name}");
        let sql = "SELECT bytes - length(sealed) - (SELECT sum(length(sealed)) FROM journal_parts WHERE uid = journals.uid)
                   FROM journals WHERE name = ?";
        let off = fixture.store.read(move |connection, _| Ok(connection.query_row(sql, [name], |row| row.get::<_, i64>(0))?));
        assert_eq!(off.await.unwrap(), 0, "{name}");
    }
    let sql = "SELECT (SELECT bytes FROM journal_size) - (SELECT sum(bytes) FROM journals)";
    let off = fixture.store.read(move |connection, _| Ok(connection.query_row(sql, [], |row| row.get::<_, i64>(0))?));
    assert_eq!(off.await.unwrap(), 0);
}

#[tokio::test]
async fn nothing_readable_lies_in_the_store() {
    let fixture = Fixture::new(&JournalConfig::default());
    fixture.write("call-1", &journal(1), &bundle(SOURCE)).await;
    let sql = "SELECT sealed FROM journal_parts UNION ALL SELECT sealed FROM journal_texts UNION ALL SELECT sealed FROM journals";
    let blobs: Vec<Vec<u8>> = fixture
        .store
        .read(move |connection, _| {
            let mut statement = connection.prepare(sql)?;
            let rows = statement.query_map([], |row| row.get(0))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
        .await
        .unwrap();
    assert!(blobs.len() > 5);
    for word in ["journal", "main", "axios", "summary"] {
        assert!(!blobs.iter().any(|blob| blob.windows(word.len()).any(|part| part == word.as_bytes())), "{word}");
    }
    let stranger = Journals::off(&fixture.store, MasterKey::passing());
    let refused = stranger.find("call-1", false).await.unwrap_err();
    assert!(matches!(refused, JournalError::Sealed { .. }), "{refused}");
    let friend = Journals::off(&fixture.store, fixture.key.clone());
    assert!(friend.find("call-1", false).await.unwrap().is_some());
}

#[tokio::test]
async fn sources_are_kept_once_and_go_with_the_last_journal_that_needs_them() {
    let fixture = Fixture::new(&JournalConfig { keep_days: 2, ..JournalConfig::default() });
    fixture.write("call-1", &journal(1), &bundle("1")).await;
    fixture.write("call-2", &journal(1), &bundle("1")).await;
    // Two sources, the package that both need, and a manifest each.
    fixture.write("call-3", &journal(2), &bundle("2")).await;
    assert_eq!((fixture.count("journals").await, fixture.count("journal_texts").await), (3, 5));
    fixture.hand.fetch_add(DAY_MS, SeqCst);
    fixture.write("call-4", &journal(2), &bundle("2")).await;
    fixture.hand.fetch_add(DAY_MS + 1, SeqCst);
    fixture.journals.sweep().await.unwrap();
    fixture.journals.flush().await;
    assert_eq!((fixture.count("journals").await, fixture.count("journal_texts").await), (1, 3));
    let parts = fixture.count("journal_parts").await;
    assert!(fixture.journals.find("call-4", true).await.unwrap().unwrap().bundle.is_some());
    // What was swept away is written again when it is needed again.
    fixture.write("call-5", &journal(1), &bundle("1")).await;
    assert!(fixture.journals.find("call-5", true).await.unwrap().unwrap().bundle.is_some());
    assert_eq!(fixture.count("journal_parts").await, 2 * parts);
}

#[tokio::test]
async fn sources_that_another_process_has_swept_away_are_written_again() {
    let fixture = Fixture::new(&JournalConfig::default());
    fixture.write("call-1", &journal(1), &bundle("1")).await;
    let gone = fixture.store.write(|connection, _| {
        connection.execute("DELETE FROM journals", [])?;
        table::sweep_texts(connection)
    });
    assert_eq!(gone.await.unwrap().len(), 1);
    fixture.write("call-2", &journal(1), &bundle("1")).await;
    fixture.write("call-3", &journal(1), &bundle("1")).await;
    for name in ["call-2", "call-3"] {
        assert!(fixture.journals.find(name, true).await.unwrap().unwrap().bundle.is_some(), "{name}");
    }
}

#[tokio::test]
async fn past_its_size_the_oldest_journals_go() {
    let fixture = Fixture::new(&JournalConfig { keep_mb: 0, ..JournalConfig::default() });
    fixture.write("call-1", &journal(1), &bundle("1")).await;
    fixture.journals.sweep().await.unwrap();
    fixture.journals.flush().await;
    assert_eq!((fixture.count("journals").await, fixture.count("journal_parts").await), (0, 0));
    assert_eq!(fixture.journals.counts().1, 0);
}

#[tokio::test]
async fn a_journal_that_gets_nothing_more_is_closed_without_an_outcome() {
    let fixture = Fixture::new(&JournalConfig::default());
    let [first, second, whole] = [(); 3].map(|()| fixture.journals.open());
    let begin = || Some(Box::new(Begin { name: "call".into(), account: "default".into(), started_ms: 0, script: None }));
    let outcome = || -> Option<Box<dyn FnOnce() -> Vec<u8> + Send>> { Some(Box::new(|| b"{}".to_vec())) };
    assert!(fixture.journals.keep(Piece { begin: begin(), ..piece(first) }));
    assert!(fixture.journals.keep(Piece { begin: begin(), closes: Some(first), ..piece(second) }));
    assert!(fixture.journals.keep(Piece { begin: begin(), closes: Some(whole), ..piece(whole) }));
    for id in [first, second, whole] {
        assert!(fixture.journals.keep(Piece { outcome: outcome(), ..piece(id) }));
    }
    fixture.journals.flush().await;
    assert_eq!(fixture.count("journals").await, 3);
    assert_eq!(fixture.count("journals WHERE sealed IS NOT NULL").await, 1);
}

#[tokio::test]
async fn a_call_is_open_until_it_has_an_outcome() {
    let fixture = Fixture::new(&JournalConfig::default());
    let run = journal(1);
    let call = Journal { start: Arc::new(Start { at: 5, data: "{}".into(), call: Some(CallStart::default()) }), ..journal(1) };
    let [outside, first, second, whole] = [(); 4].map(|()| fixture.journals.open());
    let begin = |name: &str, journal: &Journal| fixture.begin(name, journal, &bundle(SOURCE));
    let outcome: Box<dyn FnOnce() -> Vec<u8> + Send> = Box::new(|| b"{}".to_vec());
    assert!(fixture.journals.keep(Piece { begin: begin("run", &run), closes: Some(outside), ..piece(outside) }));
    assert!(fixture.journals.keep(Piece { begin: begin("a", &call), ..piece(first) }));
    assert!(fixture.journals.keep(Piece { begin: begin("a", &call), closes: Some(first), ..piece(second) }));
    assert!(fixture.journals.keep(Piece { begin: begin("b", &call), outcome: Some(outcome), ..piece(whole) }));
    fixture.journals.flush().await;
    let open = fixture.journals.open_calls().await.unwrap();
    assert_eq!(open.iter().map(|call| call.name.as_str()).collect::<Vec<_>>(), ["a"]);
    fixture.journals.end(&open[0], b"{\"a\":1}").await.unwrap();
    assert_eq!(fixture.journals.find("a", false).await.unwrap().unwrap().outcome.unwrap()["a"], 1);
    assert!(fixture.journals.open_calls().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_has_no_room_is_refused_rather_than_waited_for() {
    let fixture = Fixture::new(&JournalConfig::default());
    let id = fixture.journals.open();
    assert!(!fixture.journals.keep(Piece { bytes: MAX_QUEUED + 1, ..piece(id) }));
    assert!(fixture.journals.keep(Piece { bytes: MAX_QUEUED / 2, ..piece(id) }));
    fixture.journals.flush().await;
    assert!(fixture.journals.keep(Piece { bytes: MAX_QUEUED, ..piece(id) }), "what was written makes room");
}

/// Has the store refuse journals, or take them again.
async fn refuse(store: &Store, refuses: bool) {
    let sql = if refuses { "ALTER TABLE journals RENAME TO away" } else { "ALTER TABLE away RENAME TO journals" };
    store.write(move |connection, _| Ok(connection.execute_batch(sql)?)).await.unwrap();
}

#[tokio::test]
async fn what_the_store_does_not_take_is_written_once_it_does() {
    let fixture = Fixture::new(&JournalConfig::default());
    let mut keeper = Keeper::new(fixture.store.clone(), fixture.key.clone(), Arc::default(), &JournalConfig::default());
    let id = fixture.journals.open();
    let call = journal(1);
    let begin = fixture.begin("call-1", &call, &bundle(SOURCE));
    let tail = Some(call.since(Mark::default()));
    let outcome: Box<dyn FnOnce() -> Vec<u8> + Send> = Box::new(|| b"{}".to_vec());
    refuse(&fixture.store, true).await;
    let mut batch = keeper.batch([Piece { begin, tail, outcome: Some(outcome), ..piece(id) }].into_iter());
    assert!(!keeper.write(&mut batch).await && !keeper.write(&mut batch).await);
    refuse(&fixture.store, false).await;
    assert!(keeper.write(&mut batch).await);
    let found = fixture.journals.find("call-1", true).await.unwrap().unwrap();
    assert_eq!((found.journal.unwrap().entries, found.outcome), (call.entries, Some(json!({}))));
    assert!(found.bundle.is_some());
}

#[tokio::test]
async fn at_the_end_what_the_store_does_not_take_is_given_up_and_counted() {
    let fixture = Fixture::new(&JournalConfig::default());
    refuse(&fixture.store, true).await;
    let id = fixture.journals.open();
    assert!(fixture.journals.keep(Piece { begin: fixture.begin("call-1", &journal(1), &bundle(SOURCE)), ..piece(id) }));
    let outcome: Box<dyn FnOnce() -> Vec<u8> + Send> = Box::new(|| b"{}".to_vec());
    assert!(fixture.journals.has_room());
    assert!(fixture.journals.keep(Piece { outcome: Some(outcome), bytes: MAX_QUEUED - 5_000, ..piece(id) }));
    assert!(fixture.journals.has_room());
    assert!(!fixture.journals.keep(Piece { bytes: 5_000, ..piece(id) }), "what the store did not take waits in memory");
    assert!(!fixture.journals.has_room());
    fixture.journals.flush().await;
    assert_eq!((fixture.journals.counts(), fixture.journals.waiting()), ((0, 2), 0));
    assert!(fixture.journals.has_room());
}

#[tokio::test]
async fn a_journal_that_the_store_would_never_take_holds_up_no_other() {
    let fixture = Fixture::new(&JournalConfig::default());
    let mut keeper = Keeper::new(fixture.store.clone(), fixture.key.clone(), Arc::default(), &JournalConfig::default());
    let begin = |name: &str, started_ms| {
        let begin = Begin { name: name.into(), account: "default".into(), started_ms, script: None };
        Piece { begin: Some(Box::new(begin)), ..piece(fixture.journals.open()) }
    };
    let mut batch = keeper.batch([begin("a", 1), begin("b", u64::MAX), begin("c", 1)].into_iter());
    assert!(keeper.write(&mut batch).await, "it is done with");
    assert_eq!(fixture.count("journals WHERE name IN ('a', 'c')").await, 2);
    assert_eq!(fixture.count("journals").await, 2);
}

#[tokio::test]
async fn old_journals_are_removed_between_two_tries_only_where_the_disk_is_full() {
    let config = JournalConfig { keep_days: 1, ..JournalConfig::default() };
    let fixture = Fixture::new(&config);
    fixture.write("call-1", &journal(1), &bundle("1")).await;
    fixture.hand.fetch_add(2 * DAY_MS, SeqCst);
    let mut keeper = Keeper::new(fixture.store.clone(), fixture.key.clone(), Arc::default(), &config);
    // Packed it is still longer than a page.
    let long: String = (0..20_000_u32).map(|number| number.wrapping_mul(2_654_435_761).to_string()).collect();
    let refusals = [
        ("ALTER TABLE journal_texts RENAME TO away", "ALTER TABLE away RENAME TO journal_texts", 1, 2),
        ("PRAGMA max_page_count = 1", "PRAGMA max_page_count = 1000000", 0, 3),
    ];
    for (refuse, take, left, sources) in refusals {
        let change = async |sql: &'static str| {
            fixture.store.write(move |connection, _| Ok(connection.execute_batch(sql)?)).await.unwrap();
        };
        change(refuse).await;
        let begin = fixture.begin("call-2", &journal(sources), &bundle(&long));
        let mut batch = keeper.batch([Piece { begin, ..piece(fixture.journals.open()) }].into_iter());
        assert!(!keeper.write(&mut batch).await, "{refuse}");
        keeper.make_room(&batch).await;
        assert_eq!(fixture.count("journals").await, left, "{refuse}");
        change(take).await;
    }
}

#[tokio::test]
async fn a_configuration_that_keeps_none_writes_none_and_keeps_none_of_before() {
    let before = Fixture::new(&JournalConfig::default());
    before.write("call-1", &journal(1), &bundle("1")).await;
    let config = JournalConfig { keep_days: 0, ..JournalConfig::default() };
    let journals = Journals::start(&before.store, before.key.clone(), &config).unwrap();
    assert!(!journals.is_on());
    assert!(journals.keep(piece(journals.open())));
    journals.flush().await;
    assert_eq!(before.count("journals").await, 1);
    let call = Journal { start: Arc::new(Start { at: 5, data: "{}".into(), call: Some(CallStart::default()) }), ..journal(1) };
    let live = before.journals.open();
    assert!(before.journals.keep(Piece { begin: before.begin("call-2", &call, &bundle("2")), ..piece(live) }));
    before.journals.flush().await;
    journals.sweep().await.unwrap();
    assert_eq!(before.count("journals").await, 1, "a call that is not over is ended first");
    let outcome: Box<dyn FnOnce() -> Vec<u8> + Send> = Box::new(|| b"{}".to_vec());
    assert!(before.journals.keep(Piece { outcome: Some(outcome), ..piece(live) }));
    before.journals.flush().await;
    journals.sweep().await.unwrap();
    assert_eq!((before.count("journals").await, before.count("journal_texts").await), (0, 0));
    let size = before
        .store
        .read(|connection, _| Ok(connection.query_row("SELECT bytes FROM journal_size", [], |row| row.get::<_, u64>(0))?));
    assert_eq!(size.await.unwrap(), 0);
}
