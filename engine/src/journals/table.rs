//! Journals in the store.

use rusqlite::{Connection, OptionalExtension, params};

use crate::config::DEFAULT_ACCOUNT;
use crate::store::StoreError;

/// Journals that one sweep removes at once: others want to write, too.
const SWEEP: usize = 200;

/// Something to be written.
#[derive(Debug)]
pub(super) enum Row {
    /// A text, unless it is there already.
    Text {
        sha256: String,
        sealed: Vec<u8>,
    },
    /// Which texts a bundle needs.
    Bundle {
        bundle: String,
        texts: Vec<String>,
    },
    /// A journal, and as much of it as there is: of most calls all, for they are short.
    Journal {
        begun: Begun,
        first: Option<Vec<u8>>,
        outcome: Option<Vec<u8>>,
    },
    Part {
        uid: String,
        part: u32,
        sealed: Vec<u8>,
    },
    /// How it came out.
    Outcome {
        uid: String,
        sealed: Vec<u8>,
    },
    /// Another journal goes on with its call.
    Closed {
        uid: String,
    },
}

/// What lies readable in the store.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) uid: String,
    pub(super) name: String,
    pub(super) account: String,
    pub(super) bundle: Option<String>,
    pub(super) started_ms: u64,
    /// Whether it is of a call.
    pub(super) is_call: bool,
}

const ADD_PART: &str = "INSERT INTO journal_parts (uid, part, sealed) VALUES (?, ?, ?)";

/// Writes what each of `pieces` consists of but for those that the store will never take; with the bundles that are missing, why.
pub(super) fn write_each(connection: &Connection, pieces: &[Vec<Row>]) -> Result<(Vec<String>, Vec<StoreError>), StoreError> {
    let (mut missing, mut refused) = (Vec::new(), Vec::new());
    for rows in pieces {
        connection.execute_batch("SAVEPOINT piece")?;
        match write(connection, rows) {
            Ok(bundles) => missing.extend(bundles),
            Err(error) if error.is_for_good() => {
                connection.execute_batch("ROLLBACK TO piece")?;
                refused.push(error);
            }
            Err(error) => return Err(error),
        }
        connection.execute_batch("RELEASE piece")?;
    }
    Ok((missing, refused))
}

/// Writes `rows` in their order; which bundles are missing.
pub(super) fn write<'a>(connection: &Connection, rows: impl IntoIterator<Item = &'a Row>) -> Result<Vec<String>, StoreError> {
    let mut grown = 0;
    let mut missing = Vec::new();
    for row in rows {
        match row {
            Row::Text { sha256, sealed } => {
                let sql = "INSERT OR IGNORE INTO journal_texts (sha256, sealed) VALUES (?, ?)";
                connection.prepare_cached(sql)?.execute(params![sha256, sealed])?;
            }
            Row::Bundle { bundle, texts } => {
                let sql = "INSERT OR IGNORE INTO journal_bundles (bundle, text) VALUES (?, ?)";
                for text in texts {
                    connection.prepare_cached(sql)?.execute(params![bundle, text])?;
                }
            }
            Row::Journal { begun: Begun { uid, name, account, bundle, started_ms, is_call }, first, outcome } => {
                let is_open = *is_call && outcome.is_none();
                let bytes: usize = [first, outcome].into_iter().flatten().map(Vec::len).sum();
                let sql = "INSERT INTO journals (uid, name, account, bundle, started_ms, bytes, sealed, open)
                           VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
                let values = params![uid, name, account, bundle, started_ms, bytes, outcome, is_open];
                connection.prepare_cached(sql)?.execute(values)?;
                if let Some(sealed) = first {
                    connection.prepare_cached(ADD_PART)?.execute(params![uid, 0, sealed])?;
                }
                if let Some(bundle) = bundle {
                    let sql = "SELECT EXISTS (SELECT 1 FROM journal_bundles WHERE bundle = ?)";
                    if !connection.prepare_cached(sql)?.query_row([bundle], |row| row.get::<_, bool>(0))? {
                        missing.push(bundle.clone());
                    }
                }
                grown += bytes;
            }
            Row::Part { uid, part, sealed } => {
                // Of a journal that was swept away while its call went on, nothing more is kept.
                let sql = "UPDATE journals SET bytes = bytes + ?2 WHERE uid = ?1";
                if connection.prepare_cached(sql)?.execute(params![uid, sealed.len()])? == 0 {
                    continue;
                }
                connection.prepare_cached(ADD_PART)?.execute(params![uid, part, sealed])?;
                grown += sealed.len();
            }
            Row::Outcome { uid, sealed } => {
                let sql = "UPDATE journals SET bytes = bytes + ?2, sealed = ?3, open = 0 WHERE uid = ?1";
                if connection.prepare_cached(sql)?.execute(params![uid, sealed.len(), sealed])? > 0 {
                    grown += sealed.len();
                }
            }
            Row::Closed { uid } => {
                connection.prepare_cached("UPDATE journals SET open = 0 WHERE uid = ?")?.execute([uid])?;
            }
        }
    }
    connection.prepare_cached("UPDATE journal_size SET bytes = bytes + ?")?.execute([grown])?;
    Ok(missing)
}

/// A journal as it lies there.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) uid: String,
    pub(super) name: String,
    pub(super) account: String,
    pub(super) bundle: Option<String>,
    pub(super) started_ms: u64,
    pub(super) outcome: Option<Vec<u8>>,
}

const COLUMNS: &str = "uid, name, account, bundle, started_ms, sealed";

fn found(row: &rusqlite::Row<'_>) -> rusqlite::Result<Found> {
    Ok(Found {
        uid: row.get(0)?,
        name: row.get(1)?,
        account: row.get(2)?,
        bundle: row.get(3)?,
        started_ms: row.get(4)?,
        outcome: row.get(5)?,
    })
}

/// The latest journal of a call or run.
pub(super) fn find(connection: &Connection, name: &str) -> Result<Option<Found>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM journals WHERE name = ? ORDER BY id DESC LIMIT 1");
    Ok(connection.prepare_cached(&sql)?.query_row([name], found).optional()?)
}

/// The journals of calls that have not ended: what they are known by, and their calls.
pub(super) fn open(connection: &Connection) -> Result<Vec<(String, String)>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT uid, name FROM journals WHERE open ORDER BY id")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// What `take` makes of the latest journals that are over, the newest first.
pub(super) fn latest<T>(
    connection: &Connection,
    account: Option<&str>,
    limit: usize,
    take: impl Fn(&Found) -> Option<T>,
) -> Result<Vec<T>, StoreError> {
    let (by, which) = match account {
        Some(account) if account != DEFAULT_ACCOUNT => ("INDEXED BY journals_account", "account = ?1 AND account <> 'default'"),
        Some(_) => ("", "account = ?1"),
        None => ("", "?1 IS NULL"),
    };
    let sql = format!("SELECT {COLUMNS} FROM journals {by} WHERE {which} AND sealed IS NOT NULL ORDER BY id DESC LIMIT ?2");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![account, limit])?;
    let mut taken = Vec::new();
    while let Some(row) = rows.next()? {
        taken.extend(take(&found(row)?));
    }
    Ok(taken)
}

/// The parts of a journal, in their order, as far as none is missing.
pub(super) fn parts(connection: &Connection, uid: &str) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT part, sealed FROM journal_parts WHERE uid = ? ORDER BY part")?;
    let rows = statement.query_map([uid], |row| Ok((row.get::<_, usize>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
    let mut parts = Vec::new();
    for row in rows {
        let (part, sealed) = row?;
        if part != parts.len() {
            break;
        }
        parts.push(sealed);
    }
    Ok(parts)
}

/// A text by its hash.
pub(super) fn text(connection: &Connection, sha256: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT sealed FROM journal_texts WHERE sha256 = ?")?;
    Ok(statement.query_row([sha256], |row| row.get(0)).optional()?)
}

/// Removes some of the journals that began before `before_ms`, and of the oldest past `max_bytes`; how many.
pub(super) fn sweep(connection: &Connection, before_ms: u64, max_bytes: u64) -> Result<usize, StoreError> {
    let size: u64 = connection.query_row("SELECT bytes FROM journal_size", [], |row| row.get(0))?;
    let mut statement = connection.prepare_cached("SELECT id, started_ms, bytes FROM journals ORDER BY id LIMIT ?")?;
    let oldest: Vec<(i64, u64, u64)> =
        statement.query_map([SWEEP], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect::<rusqlite::Result<_>>()?;
    let (mut left, mut removed) = (size, 0);
    for (id, started_ms, bytes) in oldest {
        if started_ms >= before_ms && left <= max_bytes {
            break;
        }
        connection.prepare_cached("DELETE FROM journals WHERE id = ?")?.execute([id])?;
        left = left.saturating_sub(bytes);
        removed += 1;
    }
    connection.execute("UPDATE journal_size SET bytes = ?", [left])?;
    Ok(removed)
}

/// Removes some of the journals that are over: how many.
pub(super) fn sweep_all(connection: &Connection) -> Result<usize, StoreError> {
    let sql = "DELETE FROM journals WHERE id IN (SELECT id FROM journals WHERE NOT open LIMIT ?) RETURNING bytes";
    let mut statement = connection.prepare_cached(sql)?;
    let removed: Vec<u64> = statement.query_map([SWEEP], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    if !removed.is_empty() {
        let bytes: u64 = removed.iter().sum();
        connection.execute("UPDATE journal_size SET bytes = max(bytes - ?, 0)", [bytes])?;
    }
    Ok(removed.len())
}

/// Removes the bundles that no journal needs any more, and their texts: which.
pub(super) fn sweep_texts(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT bundle FROM (SELECT DISTINCT bundle FROM journal_bundles) AS stored
               WHERE NOT EXISTS (SELECT 1 FROM journals WHERE journals.bundle = stored.bundle)";
    let mut statement = connection.prepare_cached(sql)?;
    let unneeded: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    for bundle in &unneeded {
        connection.prepare_cached("DELETE FROM journal_bundles WHERE bundle = ?")?.execute([bundle])?;
    }
    if !unneeded.is_empty() {
        connection.execute_batch(
            "DELETE FROM journal_texts WHERE sha256 NOT IN (SELECT text FROM journal_bundles)
               AND sha256 NOT IN (SELECT bundle FROM journal_bundles);",
        )?;
    }
    Ok(unneeded)
}
