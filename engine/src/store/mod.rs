//! What an engine keeps: keys, records, jobs and the like, in one SQLite file.
//!
//! One thread writes. Whatever has gathered while it worked becomes durable with one `fsync`, which is what makes thousands of
//! durable writes a second possible where each on its own makes hundreds. A write is answered once it is on disk, and takes
//! effect in the order in which it was asked for; a read sees every write that was asked for before it.
//!
//! ```text
//! write ──► [ queue ] ──► BEGIN  w1 w2 w3 … (≤ 5 ms)  COMMIT+fsync ──► answers
//! read  ──► waits for the writes ahead of it ──► one of a few reading connections
//! ```
//!
//! What looks through long tables has reading connections of its own, and a bound of time: scripts do not wait behind it.

mod account_database;
pub mod app_env;
mod clock;
mod error;
pub mod kv;
mod migrations;
mod private;
pub mod provisioned;
mod readers;
pub mod script_versions;
pub(crate) mod text;
pub mod usage;
pub mod userspace;
mod writer;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::watch;

pub use account_database::{AccountDatabases, DatabaseLimits, Rows, Statement};
pub use clock::Clock;
pub use error::StoreError;

pub use usage::Usage;

use readers::Readers;
use writer::{When, Writer};

/// How long a write waits for another process that writes to the same file.
const BUSY_MS: u32 = 5_000;
/// Prepared statements each connection keeps.
const STATEMENTS: usize = 128;
/// Pages of the write-ahead log after which it is copied into the file.
const CHECKPOINT_PAGES: u32 = 4_000;
/// Bytes of the write-ahead log that stay on disk once it is copied.
const JOURNAL_BYTES: u32 = 64 << 20;
/// KiB of the file that who writes keeps in memory: all pages that a second's calls and jobs touch.
const WRITER_CACHE_KIB: i32 = 16 << 10;

/// How long a report may take.
pub(crate) const REPORT_TIME: Duration = Duration::from_secs(10);

/// Where the file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    File(PathBuf),
    /// Nothing stays: for tests, and for runs without an engine's folder.
    Memory,
}

impl Place {
    /// `:memory:`, or a path.
    pub fn of(path: &Path) -> Self {
        if path == Path::new(":memory:") { Self::Memory } else { Self::File(path.to_owned()) }
    }
}

/// The store. Clones share it; the last one to go waits until everything asked for is on disk.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    writer: Writer,
    reading: Option<Reading>,
    committed: watch::Receiver<u64>,
    clock: Clock,
    place: Place,
}

/// Who reads.
struct Reading {
    /// What a script or a call waits for: little each.
    quick: Readers,
    /// What looks through long tables.
    reports: Readers,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("place", &self.inner.place).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the file, makes it when it is missing, and brings its tables up to date.
    ///
    /// # Errors
    /// What keeps it from being opened, with its path.
    pub fn open(place: Place, clock: Clock) -> Result<Self, StoreError> {
        let named = |error: StoreError| match &place {
            Place::File(path) => StoreError::Open { path: path.clone(), why: error.to_string() },
            Place::Memory => error,
        };
        let mut connection = connect(&place, false).map_err(named)?;
        migrations::run(&mut connection).map_err(named)?;
        let (writer, committed) = Writer::start(connection, clock.clone())?;
        let reading = match &place {
            Place::File(path) => {
                let open = || connect(&Place::File(path.clone()), true);
                let quick = Readers::start("store-reader", None, open).map_err(named)?;
                Some(Reading { quick, reports: Readers::start("store-reports", Some(REPORT_TIME), open).map_err(named)? })
            }
            // A database in memory belongs to its connection: the writer reads, too.
            Place::Memory => None,
        };
        Ok(Self { inner: Arc::new(Inner { writer, reading, committed, clock, place }) })
    }

    /// A store of its own in memory, on `clock`.
    ///
    /// # Errors
    /// When SQLite cannot make it.
    pub fn in_memory(clock: Clock) -> Result<Self, StoreError> {
        Self::open(Place::Memory, clock)
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.inner.place
    }

    /// The clock by which things expire and come due.
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// Changes something. It is in line when this returns, whether or not the future is ever polled; the future resolves when it
    /// is durable. `work` gets the time in milliseconds since the Unix epoch; what it did is undone when it fails.
    pub fn write<T: Send + 'static, W: FnOnce(&Connection, u64) -> Result<T, StoreError> + Send + 'static>(
        &self,
        work: W,
    ) -> impl Future<Output = Result<T, StoreError>> + Send + 'static + use<T, W> {
        let answer = self.inner.writer.submit(When::Soon, work, |_| {});
        async move { answer?.await.map_err(|_| StoreError::Stopped)? }
    }

    /// As [`write`](Self::write), for what is kept in memory as well: `then` gets what `work` gave once that is on disk, in the order of
    /// the writes, whether or not the future is ever polled.
    pub fn write_then<T, W, N>(
        &self,
        work: W,
        then: N,
    ) -> impl Future<Output = Result<T, StoreError>> + Send + 'static + use<T, W, N>
    where
        T: Send + 'static,
        W: FnOnce(&Connection, u64) -> Result<T, StoreError> + Send + 'static,
        N: FnOnce(&T) + Send + 'static,
    {
        let answer = self.inner.writer.submit(When::Soon, work, then);
        async move { answer?.await.map_err(|_| StoreError::Stopped)? }
    }

    /// As [`write`](Self::write), for what nobody waits for: it may take a tenth of a second longer, together with others like it.
    pub fn write_behind<T: Send + 'static, W: FnOnce(&Connection, u64) -> Result<T, StoreError> + Send + 'static>(
        &self,
        work: W,
    ) -> impl Future<Output = Result<T, StoreError>> + Send + 'static + use<T, W> {
        let answer = self.inner.writer.submit(When::Behind, work, |_| {});
        async move { answer?.await.map_err(|_| StoreError::Stopped)? }
    }

    /// Looks something up, after every write that was asked for before.
    pub fn read<T: Send + 'static, W: FnOnce(&Connection, u64) -> Result<T, StoreError> + Send + 'static>(
        &self,
        work: W,
    ) -> impl Future<Output = Result<T, StoreError>> + Send + 'static + use<T, W> {
        self.look_up(|reading| &reading.quick, work)
    }

    /// As [`read`](Self::read), for what may have to look through long tables: no other read waits for it. It fails with
    /// [`StoreError::TooLong`] after [`REPORT_TIME`].
    pub fn report<T: Send + 'static, W: FnOnce(&Connection, u64) -> Result<T, StoreError> + Send + 'static>(
        &self,
        work: W,
    ) -> impl Future<Output = Result<T, StoreError>> + Send + 'static + use<T, W> {
        let answer = self.look_up(|reading| &reading.reports, work);
        async move { answer.await.map_err(StoreError::of_report) }
    }

    fn look_up<T: Send + 'static, W: FnOnce(&Connection, u64) -> Result<T, StoreError> + Send + 'static>(
        &self,
        readers: fn(&Reading) -> &Readers,
        work: W,
    ) -> impl Future<Output = Result<T, StoreError>> + Send + 'static + use<T, W> {
        let store = self.clone();
        let ahead = self.hurry();
        async move {
            let Some(reading) = &store.inner.reading else { return store.write(work).await };
            let mut committed = store.inner.committed.clone();
            committed.wait_for(|done| *done >= ahead).await.map_err(|_| StoreError::Stopped)?;
            let clock = store.inner.clock.clone();
            readers(reading).submit(move |connection| work(connection, clock.now_ms()))?.await.map_err(|_| StoreError::Stopped)?
        }
    }

    /// Has what is in line written soon; how many writes have been put in line.
    fn hurry(&self) -> u64 {
        let committed = *self.inner.committed.borrow();
        self.inner.writer.hurry(committed)
    }

    /// Resolves once everything asked for before is on disk.
    pub async fn flush(&self) {
        let ahead = self.hurry();
        // An error says that the writer has ended, and with it all it had to write.
        let _ = self.inner.committed.clone().wait_for(|done| *done >= ahead).await;
    }
}

/// SQLite opens a file that it may not write for reading, without a word. It would make the files beside it all the same, which the
/// one who may write could not use.
fn writable(connection: Connection) -> Result<Connection, StoreError> {
    if connection.is_readonly("main")? { Err(StoreError::ReadOnly) } else { Ok(connection) }
}

fn connect(place: &Place, read_only: bool) -> Result<Connection, StoreError> {
    let connection = match place {
        Place::Memory => Connection::open_in_memory()?,
        Place::File(path) if read_only => {
            Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?
        }
        Place::File(path) => {
            private::keep(path);
            writable(Connection::open(path)?)?
        }
    };
    connection.busy_timeout(Duration::from_millis(BUSY_MS.into()))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Plans do not depend on what is bound: statements would be prepared again and again, for times that are never the same.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    if !read_only {
        // NORMAL lost acknowledged writes in power-loss trials; FULL did not.
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        connection.pragma_update(None, "journal_size_limit", JOURNAL_BYTES)?;
        // Negative: KiB instead of pages.
        connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    }
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(connection)
}
