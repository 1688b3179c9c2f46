//! The tables, and how older files come to have them.

use rusqlite::Connection;

use super::error::StoreError;

/// Each brings a file of the version before it to its own: the first one makes version 1 of an empty file. What was once
/// released is never changed here; a change is another entry.
const MIGRATIONS: &[&str] = &[
    include_str!("tables/0001_kv_and_userspace.sql"),
    include_str!("tables/0002_jobs.sql"),
    include_str!("tables/0003_management.sql"),
    include_str!("tables/0004_cdrs.sql"),
    include_str!("tables/0005_journals.sql"),
    include_str!("tables/0006_absent_scripts_and_schedules.sql"),
];

/// Brings `connection`'s file up to date, whole or not at all.
pub(super) fn run(connection: &mut Connection) -> Result<(), StoreError> {
    // Another process may be doing the same.
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let version: u32 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let known = MIGRATIONS.len() as u32;
    if version > known {
        return Err(StoreError::Version { got: version, known });
    }
    for sql in MIGRATIONS.iter().skip(version as usize) {
        transaction.execute_batch(sql)?;
    }
    if version < known {
        transaction.pragma_update(None, "user_version", known)?;
    }
    transaction.commit()?;
    Ok(())
}
