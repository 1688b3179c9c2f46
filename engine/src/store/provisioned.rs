//! Entries put beside the configuration, as JSON by list and name.
//!
//! Every function works within a read or write of the [`Store`](super::Store).

use rusqlite::{Connection, params};

use super::error::StoreError;

/// Every entry: its list, its name, its JSON.
pub fn all(connection: &Connection) -> Result<Vec<(String, String, String)>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT kind, key, entry FROM provisioned ORDER BY kind, key")?;
    let found = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Puts an entry, or replaces it.
pub fn put(connection: &Connection, now: u64, list: &str, name: &str, entry: &str) -> Result<(), StoreError> {
    let sql = "INSERT INTO provisioned (kind, key, entry, updated_ms) VALUES (?, ?, ?, ?)
               ON CONFLICT DO UPDATE SET entry = excluded.entry, updated_ms = excluded.updated_ms";
    connection.prepare_cached(sql)?.execute(params![list, name, entry, now])?;
    Ok(())
}

/// Removes an entry; whether there was one.
pub fn remove(connection: &Connection, list: &str, name: &str) -> Result<bool, StoreError> {
    Ok(connection.prepare_cached("DELETE FROM provisioned WHERE kind = ? AND key = ?")?.execute(params![list, name])? > 0)
}
