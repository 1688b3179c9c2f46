//! Keys and values: texts, counters and objects that expire.
//!
//! Every function works within a read or write of the [`Store`](super::Store); an entry whose time has come is not there, whether
//! or not it has been swept away.

use lockstep_ctx_api::ErrorCode;
use rusqlite::{Connection, OptionalExtension, params};

use super::error::StoreError;
use super::text::{check_json, check_key, check_value, prefix_end};
use super::usage::{self, Usage};

/// The most keys one look at them gives.
pub const MAX_KEYS: usize = 10_000;
/// The longest time to live, in seconds: about 3,000 years, and exact in milliseconds.
const MAX_TTL_S: f64 = 1e11;
/// Kind under which usage is counted.
const KIND: &str = "keys";

/// Which keys are meant: each space has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Texts, and the numbers `incr` counts with.
    Texts,
    /// JSON.
    Objects,
}

/// A value and when it is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub value: String,
    /// Milliseconds since the Unix epoch.
    pub expires_ms: Option<u64>,
}

/// A time to live in milliseconds.
///
/// # Errors
/// What was expected.
pub fn ttl_ms(seconds: f64) -> Result<u64, String> {
    if seconds > 0.0 && seconds <= MAX_TTL_S {
        Ok((seconds * 1000.0).ceil() as u64)
    } else {
        Err(format!("expected a time to live of up to {MAX_TTL_S} seconds, got {seconds}"))
    }
}

/// What is under `key`.
pub fn get(connection: &Connection, now: u64, account: &str, space: Space, key: &str) -> Result<Option<Entry>, StoreError> {
    let sql = "SELECT value, expires_ms FROM kv WHERE account = ? AND space = ? AND key = ?";
    let entry = connection
        .prepare_cached(sql)?
        .query_row(params![account, space as u8, key], |row| Ok(Entry { value: row.get(0)?, expires_ms: row.get(1)? }))
        .optional()?;
    Ok(entry.filter(|entry| entry.expires_ms.is_none_or(|at| at > now)))
}

/// Puts `value` under `key`, for `ttl_ms` if given.
pub fn set(
    connection: &Connection,
    now: u64,
    (account, max_bytes): (&str, u64),
    space: Space,
    key: &str,
    value: &str,
    ttl_ms: Option<u64>,
) -> Result<(), StoreError> {
    check_key("a key", key)?;
    match space {
        Space::Texts => check_value(value)?,
        Space::Objects => check_json(value)?,
    }
    put(connection, (account, max_bytes), space, key, value, ttl_ms.map(|ttl| now.saturating_add(ttl)))
}

/// Removes `key`; whether there was one.
pub fn del(connection: &Connection, now: u64, account: &str, space: Space, key: &str) -> Result<bool, StoreError> {
    let sql = "DELETE FROM kv WHERE account = ? AND space = ? AND key = ? RETURNING length(CAST(value AS BLOB)), expires_ms";
    let gone: Option<(i64, Option<u64>)> = connection
        .prepare_cached(sql)?
        .query_row(params![account, space as u8, key], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((bytes, expires_ms)) = gone else { return Ok(false) };
    usage::note(connection, account, KIND, -1, -(bytes + length(key)))?;
    Ok(expires_ms.is_none_or(|at| at > now))
}

/// Adds `by` to the number under `key`, which is 0 when there is none; the new number. With `ttl_ms` it lives that long from now.
pub fn incr(
    connection: &Connection,
    now: u64,
    (account, max_bytes): (&str, u64),
    key: &str,
    by: f64,
    ttl_ms: Option<u64>,
) -> Result<f64, StoreError> {
    check_key("a key", key)?;
    let entry = get(connection, now, account, Space::Texts, key)?;
    let before = match &entry {
        None => 0.0,
        Some(entry) => entry
            .value
            .trim()
            .parse::<f64>()
            .ok()
            .filter(|number| number.is_finite())
            .ok_or_else(|| StoreError::refused(ErrorCode::TypeError, format!("'{key}' does not hold a number")))?,
    };
    let after = before + by;
    if !after.is_finite() {
        return Err(StoreError::refused(ErrorCode::RangeError, format!("{before} + {by} is no finite number")));
    }
    let kept = entry.and_then(|entry| entry.expires_ms);
    let expires_ms = ttl_ms.map(|ttl| now.saturating_add(ttl)).or(kept);
    put(connection, (account, max_bytes), Space::Texts, key, &after.to_string(), expires_ms)?;
    Ok(after)
}

/// Keys that begin with `prefix` and come after `after`, in order: at most `limit`.
pub fn keys(
    connection: &Connection,
    now: u64,
    account: &str,
    space: Space,
    (prefix, after): (&str, Option<&str>),
    limit: usize,
) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT key FROM kv WHERE account = ?1 AND space = ?2 AND key >= ?3 AND key < ?4 AND key > ?5
                 AND (expires_ms IS NULL OR expires_ms > ?6) ORDER BY key LIMIT ?7";
    let mut statement = connection.prepare_cached(sql)?;
    let bounds = params![account, space as u8, prefix, prefix_end(prefix), after.unwrap_or_default(), now, limit];
    let keys = statement.query_map(bounds, |row| row.get(0))?;
    Ok(keys.collect::<rusqlite::Result<_>>()?)
}

/// What the account's entries take, texts and objects together; what has expired counts until it is swept away.
pub fn usage(connection: &Connection, account: &str) -> Result<Usage, StoreError> {
    usage::of(connection, account, KIND)
}

/// Removes up to `limit` entries whose time has come: of whom, and which.
pub fn sweep(connection: &Connection, now: u64, limit: usize) -> Result<Vec<(String, Space, String)>, StoreError> {
    let sql = "SELECT account, space, key, length(CAST(value AS BLOB)) FROM kv WHERE expires_ms <= ? LIMIT ?";
    let expired: Vec<(String, u8, String, i64)> = connection
        .prepare_cached(sql)?
        .query_map(params![now, limit], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut delete = connection.prepare_cached("DELETE FROM kv WHERE account = ? AND space = ? AND key = ?")?;
    for (account, space, key, bytes) in &expired {
        delete.execute(params![account, space, key])?;
        usage::note(connection, account, KIND, -1, -(bytes + length(key)))?;
    }
    let space = |number| if number == Space::Objects as u8 { Space::Objects } else { Space::Texts };
    Ok(expired.into_iter().map(|(account, number, key, _)| (account, space(number), key)).collect())
}

fn put(
    connection: &Connection,
    (account, max_bytes): (&str, u64),
    space: Space,
    key: &str,
    value: &str,
    expires_ms: Option<u64>,
) -> Result<(), StoreError> {
    // Whether or not it has expired: it is replaced, and counted until then.
    let sql = "SELECT length(CAST(value AS BLOB)) FROM kv WHERE account = ? AND space = ? AND key = ?";
    let replaced: Option<i64> =
        connection.prepare_cached(sql)?.query_row(params![account, space as u8, key], |row| row.get(0)).optional()?;
    let (entries, bytes) = match replaced {
        Some(bytes) => (0, length(value) - bytes),
        None => (1, length(value) + length(key)),
    };
    usage::change(connection, account, KIND, entries, bytes, max_bytes)?;
    let sql = "INSERT INTO kv (account, space, key, value, expires_ms) VALUES (?, ?, ?, ?, ?)
               ON CONFLICT DO UPDATE SET value = excluded.value, expires_ms = excluded.expires_ms";
    connection.prepare_cached(sql)?.execute(params![account, space as u8, key, value, expires_ms])?;
    Ok(())
}

fn length(text: &str) -> i64 {
    i64::try_from(text.len()).unwrap_or(i64::MAX)
}
