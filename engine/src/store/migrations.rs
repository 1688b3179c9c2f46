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
    include_str!("tables/0007_owners_of_versions.sql"),
    include_str!("tables/0008_bytes_of_jobs.sql"),
    include_str!("tables/0009_open_journals.sql"),
    include_str!("tables/0010_indexes_of_lists.sql"),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::script_versions;

    /// A file as the engine of a version left it.
    fn of_version(version: usize) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        for sql in &MIGRATIONS[..version] {
            connection.execute_batch(sql).unwrap();
        }
        connection.pragma_update(None, "user_version", version as u32).unwrap();
        connection
    }

    #[test]
    fn what_an_older_engines_jobs_take_is_counted() {
        let mut connection = of_version(6);
        let kept = "INSERT INTO usage (account, kind, entries, bytes) VALUES ('a', 'jobs', 2, 0), ('b', 'jobs', 0, 0);
            INSERT INTO jobs (account, queue, script, kind, data, state, priority, attempts, backoff_ms, due_ms, progress, result, created_ms)
              VALUES ('a', 'q', 's', 0, '{}', 2, 0, 1, 0, 0, NULL, '123', 0), ('a', 'q', 's', 0, '[1]', 0, 0, 1, 0, 0, '50', NULL, 0);";
        connection.execute_batch(kept).unwrap();
        run(&mut connection).unwrap();
        let bytes = |account| crate::store::usage::of(&connection, account, "jobs").unwrap().bytes;
        assert_eq!((bytes("a"), bytes("b")), (10, 0));
    }

    #[test]
    fn texts_that_an_older_engine_kept_are_there_and_no_accounts() {
        let mut connection = of_version(6);
        let kept = "INSERT INTO script_versions (file, number, source, sha256, origin, saved_ms) VALUES ('a.js', 1, 'one', '', 'http', 0)";
        connection.execute_batch(kept).unwrap();
        run(&mut connection).unwrap();
        assert_eq!(script_versions::source(&connection, "a.js", 1, None).unwrap().as_deref(), Some("one"));
        assert_eq!(script_versions::source(&connection, "a.js", 1, Some("north")).unwrap(), None);
    }
}
