//! Userspace: records of any shape in named areas, as JSON.
//!
//! Every function works within a read or write of the [`Store`](super::Store).

use lockstep_ctx_api::ErrorCode;
use rusqlite::{Connection, OptionalExtension, params};

use super::error::StoreError;
use super::text::{check_json, check_key, prefix_end};
use super::usage;

/// Records one `list` gives unless it says otherwise.
pub const DEFAULT_LIST: usize = 100;
/// The most it gives.
pub const MAX_LIST: usize = 1_000;
/// And their bytes: what a frame to a worker holds, and room for what is around it.
const MAX_LIST_BYTES: usize = 12 << 20;
/// Kind under which usage is counted.
const KIND: &str = "records";

/// A record of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub key: String,
    /// JSON.
    pub data: String,
}

/// Makes a record; an error when there is one already.
pub fn create(
    connection: &Connection,
    now: u64,
    (account, max_bytes): (&str, u64),
    (area, key): (&str, &str),
    data: &str,
) -> Result<(), StoreError> {
    check_key("an area", area)?;
    check_key("a key", key)?;
    check_json(data)?;
    let sql = "INSERT INTO userspace (account, area, key, data, created_ms, updated_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?5) ON CONFLICT DO NOTHING";
    if connection.prepare_cached(sql)?.execute(params![account, area, key, data, now])? == 0 {
        return Err(StoreError::refused(ErrorCode::InvalidState, format!("'{key}' exists in '{area}'")));
    }
    usage::change(connection, account, KIND, 1, size(area, key, data), max_bytes)
}

/// The data of a record.
pub fn read(connection: &Connection, account: &str, area: &str, key: &str) -> Result<Option<String>, StoreError> {
    let sql = "SELECT data FROM userspace WHERE account = ? AND area = ? AND key = ?";
    Ok(connection.prepare_cached(sql)?.query_row(params![account, area, key], |row| row.get(0)).optional()?)
}

/// Replaces the data of a record; whether there is one.
pub fn update(
    connection: &Connection,
    now: u64,
    (account, max_bytes): (&str, u64),
    (area, key): (&str, &str),
    data: &str,
) -> Result<bool, StoreError> {
    check_json(data)?;
    let Some(before) = read(connection, account, area, key)? else { return Ok(false) };
    usage::change(connection, account, KIND, 0, size(area, key, data) - size(area, key, &before), max_bytes)?;
    let sql = "UPDATE userspace SET data = ?, updated_ms = ? WHERE account = ? AND area = ? AND key = ?";
    connection.prepare_cached(sql)?.execute(params![data, now, account, area, key])?;
    Ok(true)
}

/// Removes a record; whether there was one.
pub fn delete(connection: &Connection, account: &str, area: &str, key: &str) -> Result<bool, StoreError> {
    let sql = "DELETE FROM userspace WHERE account = ? AND area = ? AND key = ? RETURNING data";
    let gone: Option<String> =
        connection.prepare_cached(sql)?.query_row(params![account, area, key], |row| row.get(0)).optional()?;
    let Some(data) = gone else { return Ok(false) };
    usage::note(connection, account, KIND, -1, -size(area, key, &data))?;
    Ok(true)
}

/// The data of a record of the area; which one, `chance` says, a number in [0, 1).
pub fn random(connection: &Connection, account: &str, area: &str, chance: f64) -> Result<Option<String>, StoreError> {
    let count = "SELECT count(*) FROM userspace WHERE account = ? AND area = ?";
    let count: u32 = connection.prepare_cached(count)?.query_row(params![account, area], |row| row.get(0))?;
    let place = (f64::from(count) * chance) as u32;
    let sql = "SELECT data FROM userspace WHERE rowid =
                 (SELECT rowid FROM userspace WHERE account = ? AND area = ? ORDER BY key LIMIT 1 OFFSET ?)";
    Ok(connection.prepare_cached(sql)?.query_row(params![account, area, place], |row| row.get(0)).optional()?)
}

/// Records of an area whose keys begin with `prefix` and come after `after`, in order: at most `limit`.
pub fn list(
    connection: &Connection,
    account: &str,
    area: &str,
    (prefix, after): (&str, &str),
    limit: usize,
) -> Result<Vec<Record>, StoreError> {
    let sql = "SELECT key, data FROM userspace WHERE account = ?1 AND area = ?2 AND key >= ?3 AND key < ?4 AND key > ?5
               ORDER BY key LIMIT ?6";
    let mut statement = connection.prepare_cached(sql)?;
    let bounds = params![account, area, prefix, prefix_end(prefix), after, limit.min(MAX_LIST)];
    let found = statement.query_map(bounds, |row| Ok(Record { key: row.get(0)?, data: row.get(1)? }))?;
    let (mut records, mut room) = (Vec::new(), MAX_LIST_BYTES);
    for record in found {
        let record = record?;
        room = room.checked_sub(record.key.len() + record.data.len()).ok_or_else(|| {
            let message = format!("the records take more than {MAX_LIST_BYTES} bytes; ask for fewer");
            StoreError::refused(ErrorCode::LimitError, message)
        })?;
        records.push(record);
    }
    Ok(records)
}

fn size(area: &str, key: &str, data: &str) -> i64 {
    i64::try_from(area.len() + key.len() + data.len()).unwrap_or(i64::MAX)
}
