//! How much each account stores, and the bound on it.

use lockstep_ctx_api::ErrorCode;
use rusqlite::{Connection, OptionalExtension, params};

use super::error::StoreError;

/// What an account's entries of one kind take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Usage {
    pub entries: u64,
    /// Of keys and values.
    pub bytes: u64,
}

/// What is there.
pub(crate) fn of(connection: &Connection, account: &str, kind: &str) -> Result<Usage, StoreError> {
    let mut statement = connection.prepare_cached("SELECT entries, bytes FROM usage WHERE account = ? AND kind = ?")?;
    let usage = statement.query_row(params![account, kind], |row| Ok(Usage { entries: row.get(0)?, bytes: row.get(1)? }));
    Ok(usage.optional()?.unwrap_or_default())
}

/// Notes a change, unless it grows past `max_bytes`.
pub(crate) fn change(
    connection: &Connection,
    account: &str,
    kind: &str,
    entries: i64,
    bytes: i64,
    max_bytes: u64,
) -> Result<(), StoreError> {
    if bytes > 0 {
        check(of(connection, account, kind)?, kind, bytes, max_bytes)?;
    }
    note(connection, account, kind, entries, bytes)
}

/// That `bytes` more do not make it more than `max_bytes`.
pub(crate) fn check(usage: Usage, kind: &str, bytes: i64, max_bytes: u64) -> Result<(), StoreError> {
    let after = usage.bytes.saturating_add_signed(bytes);
    if bytes > 0 && after > max_bytes {
        let message = format!("the account's {kind} would take {after} bytes, at most {max_bytes} fit");
        return Err(StoreError::refused(ErrorCode::LimitError, message));
    }
    Ok(())
}

/// Notes a change whatever it comes to.
pub(crate) fn note(connection: &Connection, account: &str, kind: &str, entries: i64, bytes: i64) -> Result<(), StoreError> {
    if entries == 0 && bytes == 0 {
        return Ok(());
    }
    let sql = "INSERT INTO usage (account, kind, entries, bytes) VALUES (?1, ?2, max(?3, 0), max(?4, 0))
               ON CONFLICT DO UPDATE SET entries = max(entries + ?3, 0), bytes = max(bytes + ?4, 0)";
    connection.prepare_cached(sql)?.execute(params![account, kind, entries, bytes])?;
    Ok(())
}
