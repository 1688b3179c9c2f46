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

/// Brings `connection`'s file up to date, whole or not at all. In a large file that takes its time: the log says what is being done.
pub(super) fn run(connection: &mut Connection) -> Result<(), StoreError> {
    // Another process may be doing the same.
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let version: u32 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let known = MIGRATIONS.len() as u32;
    if version > known {
        return Err(StoreError::Version { got: version, known });
    }
    let is_kept = version > 0;
    for (number, sql) in (1..).zip(MIGRATIONS).skip(version as usize) {
        if is_kept {
            tracing::info!(
                "the store's tables are brought to version {number} of {known}, which takes long where there is much in them"
            );
        }
        transaction.execute_batch(sql)?;
    }
    if version < known {
        transaction.pragma_update(None, "user_version", known)?;
    }
    transaction.commit()?;
    if is_kept && version < known {
        tracing::info!("the store's tables are of version {known}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

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

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_log_says_which_tables_of_an_older_engine_are_changed() {
        let said_of = |version: usize| {
            let mut connection = of_version(version);
            let lines = Lines::default();
            let sink = lines.clone();
            let builder = tracing_subscriber::fmt().without_time().with_ansi(false).with_target(false);
            let log = builder.with_writer(move || sink.clone()).finish();
            tracing::subscriber::with_default(log, || run(&mut connection).unwrap());
            String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
        };
        let known = MIGRATIONS.len();
        let said = said_of(known - 2);
        assert_eq!(said.lines().count(), 3, "{said}");
        for version in [known - 1, known] {
            assert!(said.contains(&format!("brought to version {version} of {known}")), "{said}");
        }
        assert!(said.ends_with(&format!("are of version {known}\n")), "{said}");
        assert_eq!((said_of(known), said_of(0)), (String::new(), String::new()), "a new store is made in no time");
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
