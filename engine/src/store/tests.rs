//! The store on a clock that the test moves.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lockstep_ctx_api::ErrorCode;
use serde_json::{Value, json};

use super::kv::Space;
use super::*;

const QUOTA: u64 = 1 << 20;

struct Fixture {
    store: Store,
    hand: Arc<AtomicU64>,
}

impl Fixture {
    fn new() -> Self {
        let hand = Arc::new(AtomicU64::new(1_000_000));
        Self { store: Store::in_memory(Clock::manual(Arc::clone(&hand))).unwrap(), hand }
    }

    fn pass(&self, ms: u64) {
        self.hand.fetch_add(ms, Ordering::SeqCst);
    }

    async fn set(&self, key: &str, value: &str, ttl_ms: Option<u64>) -> Result<(), StoreError> {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.store.write(move |c, now| kv::set(c, now, ("a", QUOTA), Space::Texts, &key, &value, ttl_ms)).await
    }

    async fn get(&self, key: &str) -> Option<String> {
        let key = key.to_owned();
        let entry = self.store.read(move |c, now| kv::get(c, now, "a", Space::Texts, &key)).await.unwrap();
        entry.map(|entry| entry.value)
    }

    async fn incr(&self, key: &str, by: f64, ttl_ms: Option<u64>) -> Result<f64, StoreError> {
        let key = key.to_owned();
        self.store.write(move |c, now| kv::incr(c, now, ("a", QUOTA), &key, by, ttl_ms)).await
    }

    async fn usage(&self) -> Usage {
        self.store.read(|c, _| kv::usage(c, "a")).await.unwrap()
    }
}

fn code(error: StoreError) -> ErrorCode {
    error.into_op_error("x").code
}

#[tokio::test]
async fn a_value_is_there_until_its_time_comes() {
    let fixture = Fixture::new();
    fixture.set("a", "1", Some(500)).await.unwrap();
    fixture.pass(499);
    assert_eq!(fixture.get("a").await.as_deref(), Some("1"));
    fixture.pass(1);
    assert_eq!(fixture.get("a").await, None);
    assert_eq!(fixture.incr("a", 2.0, None).await.unwrap(), 2.0, "what has expired counts from 0 again");
}

#[tokio::test]
async fn reads_see_the_writes_asked_for_before_them() {
    let folder = tempdir("order");
    let store = Store::open(Place::File(folder.join("s.db")), Clock::system()).unwrap();
    for round in 0..50u32 {
        let work = move |c: &_, now| kv::set(c, now, ("a", QUOTA), Space::Texts, "k", &round.to_string(), None);
        // Not awaited: it is in line all the same.
        if round.is_multiple_of(2) {
            let _unpolled = store.write(work);
        } else {
            let _unpolled = store.write_behind(work);
        }
        let entry = store.read(|c, now| kv::get(c, now, "a", Space::Texts, "k")).await.unwrap();
        assert_eq!(entry.map(|entry| entry.value), Some(round.to_string()));
    }
    drop(store);
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn counters_count_every_one_of_many_at_once() {
    let folder = tempdir("count");
    let store = Store::open(Place::File(folder.join("s.db")), Clock::system()).unwrap();
    let all: Vec<_> = (0..2_000).map(|_| store.write(|c, now| kv::incr(c, now, ("a", QUOTA), "n", 1.0, None))).collect();
    let mut seen: Vec<f64> = futures_util::future::join_all(all).await.into_iter().map(Result::unwrap).collect();
    seen.sort_by(f64::total_cmp);
    assert!(seen.iter().zip(1..).all(|(seen, expected)| *seen == f64::from(expected)));
    drop(store);
    let again = Store::open(Place::File(folder.join("s.db")), Clock::system()).unwrap();
    let entry = again.read(|c, now| kv::get(c, now, "a", Space::Texts, "n")).await.unwrap();
    assert_eq!(entry.map(|entry| entry.value).as_deref(), Some("2000"));
    drop(again);
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_write_that_fails_leaves_nothing_behind_and_its_neighbours_alone() {
    let fixture = Fixture::new();
    let before = fixture.store.write(|c, now| kv::set(c, now, ("a", QUOTA), Space::Texts, "good", "1", None));
    let failing = fixture.store.write(|c, now| -> Result<(), StoreError> {
        kv::set(c, now, ("a", QUOTA), Space::Texts, "bad", "1", None)?;
        Err(StoreError::refused(ErrorCode::RangeError, "no"))
    });
    let after = fixture.store.write(|c, now| kv::set(c, now, ("a", QUOTA), Space::Texts, "better", "1", None));
    let (before, failing, after) = futures_util::join!(before, failing, after);
    assert!(before.is_ok() && after.is_ok());
    assert_eq!(failing.map_err(code), Err(ErrorCode::RangeError));
    assert_eq!(
        (fixture.get("good").await.is_some(), fixture.get("bad").await, fixture.get("better").await.is_some()),
        (true, None, true)
    );
}

#[tokio::test]
async fn counting_keeps_or_sets_the_expiry_and_refuses_texts() {
    let fixture = Fixture::new();
    fixture.incr("n", 1.5, Some(1_000)).await.unwrap();
    fixture.pass(600);
    assert_eq!(fixture.incr("n", 1.0, None).await.unwrap(), 2.5);
    assert_eq!(fixture.get("n").await.as_deref(), Some("2.5"), "texts and counters share keys");
    fixture.pass(400);
    assert_eq!(fixture.incr("n", 1.0, None).await.unwrap(), 1.0, "the expiry set first still held");
    fixture.set("t", "seven", None).await.unwrap();
    assert_eq!(fixture.incr("t", 1.0, None).await.map_err(code), Err(ErrorCode::TypeError));
    fixture.set("big", "1e308", None).await.unwrap();
    assert_eq!(fixture.incr("big", 1e308, None).await.map_err(code), Err(ErrorCode::RangeError));
}

#[tokio::test]
async fn usage_follows_every_change_and_bounds_the_account() {
    let fixture = Fixture::new();
    fixture.set("ab", "12345", Some(10)).await.unwrap();
    fixture.set("ab", "1", Some(10)).await.unwrap();
    fixture.set("c", "é", None).await.unwrap();
    assert_eq!(fixture.usage().await, Usage { entries: 2, bytes: 6 });
    fixture.pass(10);
    let swept = fixture.store.write(|c, now| kv::sweep(c, now, 100)).await.unwrap();
    assert_eq!((swept.len(), fixture.usage().await), (1, Usage { entries: 1, bytes: 3 }));
    fixture.set("full", &"x".repeat(QUOTA as usize - 7), None).await.unwrap();
    assert_eq!(fixture.set("more", "x", None).await.map_err(code), Err(ErrorCode::LimitError));
    let gone = fixture.store.write(|c, now| kv::del(c, now, "a", Space::Texts, "full")).await.unwrap();
    assert!(gone);
    fixture.set("more", "x", None).await.unwrap();
    assert_eq!(fixture.usage().await, Usage { entries: 2, bytes: 8 });
}

#[tokio::test]
async fn keys_come_in_order_by_prefix_and_account() {
    let fixture = Fixture::new();
    for key in ["b", "a:2", "a:1", "a;", "A", "a:é"] {
        fixture.set(key, "1", None).await.unwrap();
    }
    fixture.set("a:gone", "1", Some(1)).await.unwrap();
    fixture.pass(1);
    fixture.store.write(|c, now| kv::set(c, now, ("other", QUOTA), Space::Texts, "a:9", "1", None)).await.unwrap();
    fixture.store.write(|c, now| kv::set(c, now, ("a", QUOTA), Space::Objects, "a:8", "1", None)).await.unwrap();
    let keys = |prefix: &'static str, after: Option<&'static str>| {
        fixture.store.read(move |c, now| kv::keys(c, now, "a", Space::Texts, (prefix, after), 100))
    };
    assert_eq!(keys("a:", None).await.unwrap(), ["a:1", "a:2", "a:é"]);
    assert_eq!(keys("a:", Some("a:1")).await.unwrap(), ["a:2", "a:é"]);
    assert_eq!(keys("", None).await.unwrap(), ["A", "a:1", "a:2", "a:é", "a;", "b"]);
}

#[tokio::test]
async fn records_are_made_read_changed_and_removed() {
    let fixture = Fixture::new();
    let create = |key: &'static str, data: &'static str| {
        fixture.store.write(move |c, now| userspace::create(c, now, ("a", QUOTA), ("dnc", key), data))
    };
    create("441", r#"{"b":1,"a":2}"#).await.unwrap();
    create("442", "\"scalar\"").await.unwrap();
    assert_eq!(create("441", "1").await.map_err(code), Err(ErrorCode::InvalidState));
    assert_eq!(create("443", "{").await.map_err(code), Err(ErrorCode::TypeError));
    let read = |key: &'static str| fixture.store.read(move |c, _| userspace::read(c, "a", "dnc", key));
    assert_eq!(read("441").await.unwrap().as_deref(), Some(r#"{"b":1,"a":2}"#), "as it was written");
    assert_eq!(read("449").await.unwrap(), None);
    let update =
        |key: &'static str| fixture.store.write(move |c, now| userspace::update(c, now, ("a", QUOTA), ("dnc", key), "3"));
    assert!(update("441").await.unwrap() && !update("449").await.unwrap());
    let random = |chance: f64| fixture.store.read(move |c, _| userspace::random(c, "a", "dnc", chance));
    assert_eq!(random(0.0).await.unwrap().as_deref(), Some("3"));
    assert_eq!(random(0.999).await.unwrap().as_deref(), Some("\"scalar\""));
    let list = fixture.store.read(|c, _| userspace::list(c, "a", "dnc", ("44", "441"), 10)).await.unwrap();
    assert_eq!(list.iter().map(|record| record.key.as_str()).collect::<Vec<_>>(), ["442"]);
    let delete = |key: &'static str| fixture.store.write(move |c, _| userspace::delete(c, "a", "dnc", key));
    assert!(delete("441").await.unwrap() && !delete("441").await.unwrap());
    assert_eq!(fixture.store.read(|c, _| userspace::random(c, "a", "none", 0.5)).await.unwrap(), None);
}

#[tokio::test]
async fn a_list_that_no_frame_would_hold_is_refused() {
    let fixture = Fixture::new();
    for key in 0..13 {
        let (key, data) = (key.to_string(), format!("\"{}\"", "x".repeat(1_000_000)));
        let create = move |c: &_, now| userspace::create(c, now, ("a", 64 << 20), ("big", &key), &data);
        fixture.store.write(create).await.unwrap();
    }
    let list = |limit| fixture.store.read(move |c, _| userspace::list(c, "a", "big", ("", ""), limit));
    assert_eq!(list(12).await.unwrap().len(), 12);
    assert_eq!(list(13).await.map_err(code), Err(ErrorCode::LimitError));
}

#[test]
fn a_file_of_a_newer_engine_is_refused() {
    let folder = tempdir("newer");
    let file = folder.join("s.db");
    Connection::open(&file).unwrap().pragma_update(None, "user_version", 999).unwrap();
    let error = Store::open(Place::File(file.clone()), Clock::system()).expect_err("unknown tables").to_string();
    assert!(error.contains("s.db") && error.contains("version 999"), "{error}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_file_that_cannot_be_written_is_refused() {
    let folder = tempdir("read-only");
    let file = folder.join("s.db");
    Connection::open(&file).unwrap().execute_batch("PRAGMA journal_mode = wal; CREATE TABLE a (b)").unwrap();
    let names = || std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(names(), ["s.db"]);
    // As another user finds it, who may read it and make files beside it.
    let place = Place::File(format!("file:{}?mode=ro", file.display()).into());
    assert!(matches!(connect(&place, false), Err(StoreError::ReadOnly)));
    assert_eq!(names(), ["s.db"], "nothing is left beside it");
    assert!(connect(&Place::File(file), false).is_ok());
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_store_is_its_owners_alone() {
    let folder = tempdir("private");
    let modes = |name: &str| {
        let mode = |ending| std::fs::metadata(folder.join(format!("{name}{ending}"))).unwrap().permissions().mode() & 0o777;
        ["", "-wal", "-shm"].map(mode)
    };
    let store = Store::open(Place::File(folder.join("new.db")), Clock::system()).unwrap();
    assert_eq!(modes("new.db"), [0o600; 3]);
    drop(store);
    for (before, after) in [(0o644, 0o600), (0o666, 0o600), (0o640, 0o640)] {
        for ending in ["", "-wal", "-shm"] {
            let file = folder.join(format!("old.db{ending}"));
            std::fs::write(&file, "").unwrap();
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(before)).unwrap();
        }
        private::keep(&folder.join("old.db"));
        assert_eq!(modes("old.db"), [after; 3], "{before:o}");
    }
    for ending in ["", "-wal", "-shm"] {
        let file = folder.join(format!("old.db{ending}"));
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    let links = tempdir("private-links");
    std::os::unix::fs::symlink(folder.join("old.db"), links.join("link.db")).unwrap();
    private::keep(&links.join("link.db"));
    assert_eq!(modes("old.db"), [0o600; 3], "by a link");
    std::fs::remove_dir_all(links).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
}

fn databases() -> AccountDatabases {
    let limits = DatabaseLimits {
        max_bytes: 64 << 10,
        time: std::time::Duration::from_millis(100),
        max_rows: 10,
        max_result_bytes: 10_000,
    };
    AccountDatabases::beside(&Place::Memory, limits)
}

async fn sql(databases: &AccountDatabases, text: &str, parameters: Value) -> Result<Rows, (ErrorCode, String)> {
    let statement = Statement { text: text.to_owned(), parameters };
    databases
        .run("a", statement, |rows| rows)
        .await
        .map_err(|error| error.into_op_error("sql"))
        .map_err(|error| (error.code, error.message))
}

#[tokio::test]
async fn a_write_that_is_not_kept_says_why() {
    let fixture = Fixture::new();
    let deferred = "CREATE TABLE t (id INTEGER PRIMARY KEY, other REFERENCES t DEFERRABLE INITIALLY DEFERRED);
                    INSERT INTO t VALUES (1, 7)";
    let undone = "CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1); INSERT OR ROLLBACK INTO t VALUES (1)";
    for (what, sql) in [("the commit fails", deferred), ("the transaction is undone", undone)] {
        let refused = fixture.store.write(move |c, _| Ok(c.execute_batch(sql)?)).await;
        let Err(StoreError::Sql(error)) = refused else { panic!("{what}: {refused:?}") };
        assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::ConstraintViolation), "{what}: {error}");
        fixture.set("a", "1", None).await.unwrap();
    }
    let bound = fixture.store.write(|c, _| {
        let pages: u64 = c.query_row("PRAGMA page_count", [], |row| row.get(0))?;
        Ok(c.pragma_update(None, "max_page_count", pages)?)
    });
    bound.await.unwrap();
    let full = fixture.set("b", &"x".repeat(100_000), None).await.expect_err("there is no room");
    assert!(full.is_disk_full(), "{full}");
    assert_eq!(code(full), ErrorCode::LimitError);
    assert_eq!(fixture.get("a").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_write_that_another_process_is_in_the_way_of_says_so() {
    let folder = tempdir("busy");
    let place = Place::File(folder.join("s.db"));
    let store = Store::open(place.clone(), Clock::system()).unwrap();
    store.write(|c, _| Ok(c.busy_timeout(std::time::Duration::ZERO)?)).await.unwrap();
    let other = connect(&place, false).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let set = || store.write(|c, now| kv::set(c, now, ("a", QUOTA), Space::Texts, "k", "1", None));
    let refused = set().await;
    let Err(StoreError::Sql(error)) = refused else { panic!("{refused:?}") };
    assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy), "{error}");
    other.execute_batch("ROLLBACK").unwrap();
    set().await.unwrap();
    drop(store);
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_write_that_undoes_the_transaction_in_words_of_its_own_leaves_the_next_one_alone() {
    let fixture = Fixture::new();
    let undone = fixture.store.write_behind(|c, _| {
        let sql = "CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1); INSERT OR ROLLBACK INTO t VALUES (1)";
        c.execute_batch(sql).map_err(|_| StoreError::refused(ErrorCode::RangeError, "there is one"))
    });
    fixture.set("a", "1", None).await.unwrap();
    assert_eq!(undone.await.map_err(code), Err(ErrorCode::RangeError));
    assert_eq!(fixture.get("a").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn integers_that_a_number_of_javascript_does_not_hold_travel_as_texts() {
    let db = databases();
    for (whole, travels) in [
        (9_007_199_254_740_991_i64, json!(9_007_199_254_740_991_i64)),
        (9_007_199_254_740_993, json!({ "$int": "9007199254740993" })),
        (i64::MIN, json!({ "$int": "-9223372036854775808" })),
    ] {
        let given = json!([{ "$int": whole.to_string() }]);
        let rows = sql(&db, "SELECT ? AS n", given).await.unwrap();
        assert_eq!(rows.rows[0]["n"], travels);
    }
    let wrong = sql(&db, "SELECT ?", json!([{ "$int": "9223372036854775808" }])).await.expect_err("too large");
    assert_eq!(wrong.0, ErrorCode::RangeError);
}

#[tokio::test]
async fn a_table_may_have_more_columns_than_a_result() {
    let db = databases();
    let columns = (0..201).map(|index| format!("c{index}")).collect::<Vec<_>>().join(",");
    for text in
        [&*format!("CREATE TABLE wide ({columns})"), "INSERT INTO wide (c200) VALUES (1)", "ALTER TABLE wide ADD COLUMN d"]
    {
        sql(&db, text, Value::Null).await.unwrap();
    }
    assert_eq!(sql(&db, "SELECT * FROM wide", Value::Null).await.map_err(|error| error.0), Err(ErrorCode::LimitError));
    let rows = sql(&db, "SELECT c200 FROM wide", Value::Null).await.unwrap();
    assert_eq!(rows.rows[0]["c200"], 1);
}

#[tokio::test]
async fn a_statement_takes_parameters_and_gives_rows() {
    let db = databases();
    sql(&db, "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, data BLOB)", Value::Null).await.unwrap();
    let made = sql(&db, "INSERT INTO t (name, data) VALUES (?, ?)", json!(["x", { "$bytes": "AQI=" }])).await.unwrap();
    assert_eq!((made.changes, made.last_id, made.columns.len()), (1, 1, 0));
    sql(&db, "INSERT INTO t (name) VALUES (:name)", json!({ "name": "it's" })).await.unwrap();
    let rows = sql(&db, "SELECT id, name, data FROM t WHERE id >= ? ORDER BY id", json!([1])).await.unwrap();
    let expected = [json!({"id": 1, "name": "x", "data": {"$bytes": "AQI="}}), json!({"id": 2, "name": "it's", "data": null})];
    assert_eq!(rows.rows.into_iter().map(Value::Object).collect::<Vec<_>>(), expected);
    let wrong = sql(&db, "SELECT ?", json!([1, 2])).await.expect_err("one too many");
    assert_eq!(wrong, (ErrorCode::TypeError, "sql: the statement has 1 parameters, got 2".to_owned()));
    for text in ["", " -- nothing", "/* nothing */"] {
        let wrong = sql(&db, text, Value::Null).await.expect_err(text);
        assert_eq!(wrong, (ErrorCode::TypeError, "sql: the text holds no statement".to_owned()));
    }
    let wrong = sql(&db, "SELECT * FROM nowhere", Value::Null).await.expect_err("no such table");
    assert_eq!(wrong.0, ErrorCode::DatabaseError);
    assert!(wrong.1.contains("no such table: nowhere"), "{}", wrong.1);
}

#[tokio::test]
async fn a_statement_cannot_leave_its_file_or_itself() {
    let db = databases();
    sql(&db, "CREATE TABLE t (a)", Value::Null).await.unwrap();
    let outside = std::env::temp_dir().join(format!("lockstep-vacuum-{}", std::process::id()));
    let vacuum = format!("VACUUM INTO '{}'", outside.display());
    for text in [
        "ATTACH '/tmp/x' AS x",
        &vacuum,
        "BEGIN",
        "SAVEPOINT s",
        "PRAGMA journal_mode = delete",
        "PRAGMA max_page_count = 100000",
        "PRAGMA writable_schema = on",
        "SELECT load_extension('x')",
        "CREATE VIRTUAL TABLE v USING dbstat",
        "CREATE TEMP TABLE x (a)",
        "CREATE TABLE temp.x AS SELECT 1",
        "CREATE VIRTUAL TABLE temp.x USING fts5(a)",
        "CREATE TEMP VIEW x AS SELECT 1",
        "CREATE VIEW temp.x AS SELECT 1",
        "CREATE TRIGGER temp.x AFTER INSERT ON t BEGIN DELETE FROM t; END",
        "CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN DELETE FROM t; END",
        "SELECT * FROM pragma_database_list",
        "INSERT INTO t VALUES (1); DELETE FROM t",
        "UPDATE sqlite_master SET sql = ''",
    ] {
        let refused = sql(&db, text, Value::Null).await.expect_err(text);
        assert_eq!(refused.0, ErrorCode::DatabaseError, "{text}: {}", refused.1);
    }
    assert!(!outside.exists());
    // The schema of what is temporary is looked through by them, too.
    for text in [
        "CREATE INDEX i ON t (a)",
        "ALTER TABLE t RENAME TO u",
        "ALTER TABLE u RENAME COLUMN a TO b",
        "ALTER TABLE u RENAME TO t",
    ] {
        sql(&db, text, Value::Null).await.unwrap();
    }
    let count = sql(&db, "SELECT count(*) AS n FROM t", Value::Null).await.unwrap();
    assert_eq!(count.rows[0]["n"], 0);
}

#[tokio::test]
async fn size_time_and_result_of_a_statement_are_bounded() {
    let db = databases();
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT sum(i) FROM n";
    assert_eq!(sql(&db, endless, Value::Null).await.map_err(|error| error.0), Err(ErrorCode::TimeoutError));
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n LIMIT 11";
    assert_eq!(sql(&db, many, Value::Null).await.map_err(|error| error.0), Err(ErrorCode::LimitError));
    let wide = sql(&db, "SELECT hex(zeroblob(6000))", Value::Null).await;
    assert_eq!(wide.map_err(|error| error.0), Err(ErrorCode::LimitError));
    let bytes = sql(&db, "SELECT zeroblob(4000) AS a, zeroblob(4000) AS b", Value::Null).await;
    assert_eq!(bytes.map_err(|error| error.0), Err(ErrorCode::LimitError), "they travel as base64");
    let columns = sql(&db, &format!("SELECT {}", vec!["1"; 201].join(",")), Value::Null).await;
    assert_eq!(columns, Err((ErrorCode::LimitError, "sql: the result has more than 200 columns".to_owned())));
    sql(&db, "CREATE TABLE t (a)", Value::Null).await.unwrap();
    let full = sql(&db, "INSERT INTO t VALUES (randomblob(100000))", Value::Null).await;
    let why = "sql: no room for what the statement writes: the account's database takes 8192 of the 65536 bytes it may take; \
               where that would do, the disk is full";
    assert_eq!(full, Err((ErrorCode::LimitError, why.to_owned())));
    let full = loop {
        if let Err(full) = sql(&db, "INSERT INTO t VALUES (randomblob(2000))", Value::Null).await {
            break full;
        }
    };
    assert_eq!(full, (ErrorCode::LimitError, "sql: the account's database is full: it may take 65536 bytes".to_owned()));
    sql(&db, "INSERT INTO t VALUES (1)", Value::Null).await.expect("the database goes on");
}

fn tempdir(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("lockstep-store-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
