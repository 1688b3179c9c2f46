//! Versions of scripts: every text that could be run, and which of them lies in the folder.
//!
//! A text belongs to the account whose script it was last: a file that was removed may come back as another's.
//!
//! Every function works within a read or write of the [`Store`](super::Store).

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;

use super::error::StoreError;

/// Versions of one script that are kept.
const MAX_VERSIONS: u32 = 50;
/// Octets of the texts of one account that are kept.
const MAX_BYTES: u64 = 256 << 20;

/// Where a text came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Somebody wrote it into the folder.
    Folder,
    Http,
}

impl Origin {
    fn name(self) -> &'static str {
        match self {
            Self::Folder => "folder",
            Self::Http => "http",
        }
    }
}

/// One version of a script.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScriptVersion {
    /// Counted from 1.
    pub version: u32,
    pub sha256: String,
    pub origin: String,
    pub saved_ms: u64,
    /// Octets of the text.
    pub bytes: u64,
    /// It lies in the folder.
    pub live: bool,
}

/// A text as it is noted.
#[derive(Clone, Copy, Debug)]
pub struct Noted<'a> {
    pub file: &'a str,
    /// Whose script it is.
    pub account: &'a str,
    pub source: &'a str,
    pub sha256: &'a str,
}

/// Notes that a text lies in the folder now: one that is the live version's changes nothing, one that is said to be a kept
/// version makes that the live one, and any other becomes the next version. The number of the version.
pub fn record(
    connection: &Connection,
    now: u64,
    Noted { file, account, source, sha256 }: Noted<'_>,
    known: Option<u32>,
    origin: Origin,
) -> Result<u32, StoreError> {
    let with_digest = "SELECT number FROM script_versions WHERE file = ?1 AND number = ?2 AND sha256 = ?3";
    for number in [known, live(connection, file)?].into_iter().flatten() {
        let same = connection.prepare_cached(with_digest)?.exists(params![file, number, sha256])?;
        if same {
            let own = "UPDATE script_versions SET account = ?3 WHERE file = ?1 AND number = ?2 AND account IS NOT ?3";
            connection.prepare_cached(own)?.execute(params![file, number, account])?;
            set_live(connection, file, number)?;
            return Ok(number);
        }
    }
    let newest = "SELECT COALESCE(MAX(number), 0) FROM script_versions WHERE file = ?";
    let newest: u32 = connection.prepare_cached(newest)?.query_row([file], |row| row.get(0))?;
    let number = newest.saturating_add(1);
    let insert =
        "INSERT INTO script_versions (file, number, source, sha256, origin, saved_ms, account) VALUES (?, ?, ?, ?, ?, ?, ?)";
    connection.prepare_cached(insert)?.execute(params![file, number, source, sha256, origin.name(), now, account])?;
    set_live(connection, file, number)?;
    let forget = "DELETE FROM script_versions WHERE file = ? AND number <= ?";
    connection.prepare_cached(forget)?.execute(params![file, number.saturating_sub(MAX_VERSIONS)])?;
    make_room(connection, account, (file, number), MAX_BYTES)?;
    Ok(number)
}

/// Forgets the oldest texts of an account that has too many octets of them: first those that were replaced, then those that were live
/// last, of scripts that were removed too. The newest stays.
fn make_room(connection: &Connection, account: &str, newest: (&str, u32), most: u64) -> Result<(), StoreError> {
    let sum = "SELECT COALESCE(SUM(octet_length(source)), 0) FROM script_versions WHERE account = ?";
    let mut total: u64 = connection.prepare_cached(sum)?.query_row([account], |row| row.get(0))?;
    if total <= most {
        return Ok(());
    }
    let oldest = "SELECT kept.file, kept.number, octet_length(kept.source) FROM script_versions AS kept
                    WHERE kept.account = ?1 AND NOT (kept.file = ?2 AND kept.number = ?3)
                    ORDER BY EXISTS (SELECT 1 FROM script_live AS live WHERE live.file = kept.file AND live.number = kept.number),
                      kept.saved_ms, kept.number";
    let read = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, u32>(1)?, row.get::<_, u64>(2)?));
    let mut statement = connection.prepare_cached(oldest)?;
    let found = statement.query_map(params![account, newest.0, newest.1], read)?.collect::<rusqlite::Result<Vec<_>>>()?;
    for (file, number, bytes) in found {
        if total <= most {
            break;
        }
        let forget = "DELETE FROM script_versions WHERE file = ? AND number = ?";
        connection.prepare_cached(forget)?.execute(params![file, number])?;
        total = total.saturating_sub(bytes);
    }
    Ok(())
}

/// Every kept version of `owner`, or of anybody, the newest first.
pub fn list(connection: &Connection, file: &str, owner: Option<&str>) -> Result<Vec<ScriptVersion>, StoreError> {
    let live = live(connection, file)?;
    let sql = "SELECT number, sha256, origin, saved_ms, length(CAST(source AS BLOB)) FROM script_versions
                 WHERE file = ?1 AND (?2 IS NULL OR account = ?2) ORDER BY number DESC";
    let read = |row: &Row<'_>| {
        let version: u32 = row.get(0)?;
        let (sha256, origin) = (row.get(1)?, row.get(2)?);
        Ok(ScriptVersion { version, sha256, origin, saved_ms: row.get(3)?, bytes: row.get(4)?, live: live == Some(version) })
    };
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_map(params![file, owner], read)?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// The text of a version, if it is `owner`'s; of anybody's without one.
pub fn source(connection: &Connection, file: &str, number: u32, owner: Option<&str>) -> Result<Option<String>, StoreError> {
    let sql = "SELECT source FROM script_versions WHERE file = ?1 AND number = ?2 AND (?3 IS NULL OR account = ?3)";
    Ok(connection.prepare_cached(sql)?.query_row(params![file, number, owner], |row| row.get(0)).optional()?)
}

/// The text that was live last.
pub fn live_source(connection: &Connection, file: &str) -> Result<Option<String>, StoreError> {
    live(connection, file)?.map_or(Ok(None), |number| source(connection, file, number, None))
}

/// The version of `owner`, or of anybody, before the live one.
pub fn before_live(connection: &Connection, file: &str, owner: Option<&str>) -> Result<Option<u32>, StoreError> {
    let sql = "SELECT MAX(number) FROM script_versions WHERE file = ?1 AND (?2 IS NULL OR account = ?2)
                 AND number < (SELECT number FROM script_live WHERE file = ?1)";
    Ok(connection.prepare_cached(sql)?.query_row(params![file, owner], |row| row.get(0))?)
}

/// The version that was live last, if it is `owner`'s; anybody's without one.
pub fn last_live(connection: &Connection, file: &str, owner: Option<&str>) -> Result<Option<u32>, StoreError> {
    let sql = "SELECT number FROM script_versions WHERE file = ?1 AND (?2 IS NULL OR account = ?2)
                 AND number = (SELECT number FROM script_live WHERE file = ?1)";
    Ok(connection.prepare_cached(sql)?.query_row(params![file, owner], |row| row.get(0)).optional()?)
}

/// Whose script each file was last; `None`: it was not noted.
pub fn last_owners(connection: &Connection) -> Result<Vec<(String, Option<String>)>, StoreError> {
    let sql = "SELECT file, account FROM script_live JOIN script_versions USING (file, number) ORDER BY file";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Every file that has had a version, by name.
pub fn files(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT file FROM script_live ORDER BY file")?;
    let found = statement.query_map([], |row| row.get(0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

fn live(connection: &Connection, file: &str) -> Result<Option<u32>, StoreError> {
    let sql = "SELECT number FROM script_live WHERE file = ?";
    Ok(connection.prepare_cached(sql)?.query_row([file], |row| row.get(0)).optional()?)
}

fn set_live(connection: &Connection, file: &str, number: u32) -> Result<(), StoreError> {
    let sql = "INSERT INTO script_live (file, number) VALUES (?, ?) ON CONFLICT DO UPDATE SET number = excluded.number";
    connection.prepare_cached(sql)?.execute(params![file, number])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Clock, Store};
    use super::*;

    async fn recorded(store: &Store, text: &'static str, known: Option<u32>) -> u32 {
        recorded_for(store, "north", text, known).await
    }

    async fn recorded_for(store: &Store, account: &'static str, text: &'static str, known: Option<u32>) -> u32 {
        let noted = Noted { file: "a.js", account, source: text, sha256: text };
        store.write(move |db, now| record(db, now, noted, known, Origin::Folder)).await.unwrap()
    }

    #[tokio::test]
    async fn a_new_text_is_a_new_version_and_the_live_one_again_is_not() {
        let store = Store::in_memory(Clock::manual(Arc::default())).unwrap();
        assert_eq!((recorded(&store, "one", None).await, recorded(&store, "one", None).await), (1, 1));
        assert_eq!(recorded(&store, "two", None).await, 2);
        assert_eq!(recorded(&store, "one", None).await, 3, "gone back to by hand: that is a change, too");
        let listed = store.read(|db, _| list(db, "a.js", None)).await.unwrap();
        assert_eq!(
            listed.iter().map(|version| (version.version, version.live)).collect::<Vec<_>>(),
            [(3, true), (2, false), (1, false)]
        );
        assert_eq!(store.read(|db, _| source(db, "a.js", 2, None)).await.unwrap().as_deref(), Some("two"));
        let last = async |file: &'static str| store.read(move |db, _| live_source(db, file)).await.unwrap();
        assert_eq!((last("a.js").await.as_deref(), last("b.js").await), (Some("one"), None));
    }

    #[tokio::test]
    async fn going_back_goes_further_back_each_time() {
        let store = Store::in_memory(Clock::manual(Arc::default())).unwrap();
        for text in ["one", "two", "three"] {
            recorded(&store, text, None).await;
        }
        let before = async || store.read(|db, _| before_live(db, "a.js", None)).await.unwrap();
        assert_eq!(before().await, Some(2));
        assert_eq!(recorded(&store, "two", Some(2)).await, 2);
        assert_eq!(before().await, Some(1));
        recorded(&store, "one", Some(1)).await;
        assert_eq!(before().await, None);
        assert_eq!(recorded(&store, "four", None).await, 4, "what was newer is still there");
    }

    #[tokio::test]
    async fn a_text_is_its_owners_alone_also_where_the_file_has_become_anothers() {
        let store = Store::in_memory(Clock::manual(Arc::default())).unwrap();
        recorded_for(&store, "south", "one", None).await;
        recorded_for(&store, "south", "two", None).await;
        let seen = async |owner: &'static str| {
            let read = move |db: &Connection, _| {
                let numbers = list(db, "a.js", Some(owner))?.iter().map(|version| version.version).collect::<Vec<_>>();
                let first = source(db, "a.js", 1, Some(owner))?;
                Ok((numbers, first, before_live(db, "a.js", Some(owner))?, last_live(db, "a.js", Some(owner))?))
            };
            store.read(read).await.unwrap()
        };
        assert_eq!(seen("south").await, (vec![2, 1], Some("one".to_owned()), Some(1), Some(2)));
        recorded_for(&store, "north", "three", None).await;
        assert_eq!(seen("north").await, (vec![3], None, None, Some(3)));
        assert_eq!(seen("south").await, (vec![2, 1], Some("one".to_owned()), Some(2), None));
        recorded_for(&store, "south", "three", None).await;
        assert_eq!(seen("north").await, (vec![], None, None, None), "the script has moved, and its text with it");
    }

    #[tokio::test]
    async fn texts_of_an_account_give_way_where_it_has_too_many_octets_of_them() {
        let store = Store::in_memory(Clock::manual(Arc::default())).unwrap();
        let write = |db: &Connection, _| {
            for (time, (file, account, text)) in (1..).zip([
                ("gone.js", "north", "0123456789"),
                ("a.js", "south", "0123456789"),
                ("menu.js", "north", "0123456789"),
                ("menu.js", "north", "9876543210"),
            ]) {
                record(db, time, Noted { file, account, source: text, sha256: text }, None, Origin::Http)?;
            }
            let kept = |file: &str| -> Result<Vec<u32>, StoreError> {
                Ok(list(db, file, None)?.iter().map(|version| version.version).collect())
            };
            let mut seen = Vec::new();
            for most in [30, 29, 19, 5] {
                make_room(db, "north", ("menu.js", 2), most)?;
                seen.push([kept("gone.js")?, kept("menu.js")?, kept("a.js")?]);
            }
            Ok(seen)
        };
        let all = [vec![1], vec![2, 1], vec![1]];
        let expected = [all, [vec![1], vec![2], vec![1]], [vec![], vec![2], vec![1]], [vec![], vec![2], vec![1]]];
        assert_eq!(store.write(write).await.unwrap(), expected);
    }

    #[tokio::test]
    async fn the_oldest_versions_give_way() {
        let store = Store::in_memory(Clock::manual(Arc::default())).unwrap();
        for number in 0..MAX_VERSIONS + 3 {
            let text = number.to_string();
            let write = move |db: &Connection, now| {
                let noted = Noted { file: "a.js", account: "north", source: &text, sha256: &text };
                record(db, now, noted, None, Origin::Http)
            };
            store.write(write).await.unwrap();
        }
        let listed = store.read(|db, _| list(db, "a.js", None)).await.unwrap();
        assert_eq!((listed.len() as u32, listed.last().map(|version| version.version)), (MAX_VERSIONS, Some(4)));
    }
}
