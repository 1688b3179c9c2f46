//! The thread that writes, many writes to a commit.
#![expect(clippy::disallowed_methods, reason = "a batch is bounded by the time it takes")]

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ffi};
use tokio::sync::{oneshot, watch};

use super::clock::Clock;
use super::error::StoreError;
use crate::background;

/// Writes that may wait.
const QUEUE: usize = 1 << 16;
/// Writes of one commit.
const BATCH: usize = 4_096;
/// How long a batch may take before it is committed.
const BATCH_TIME: Duration = Duration::from_millis(5);
/// How long a write that nobody waits for may wait for others: a commit costs as much as many writes.
const BEHIND: Duration = Duration::from_millis(100);

/// Does a write, unless its batch could not begin; what to do once the batch is on disk, or is not.
type Work = Box<dyn FnOnce(Option<(&Connection, u64)>) -> (Finish, Option<Failure>) + Send>;
type Finish = Box<dyn FnOnce(Option<&Failure>) + Send>;

/// Why a batch is not on disk, for each of its writes.
struct Failure {
    code: ffi::Error,
    why: String,
}

impl Failure {
    fn of(error: &rusqlite::Error) -> Self {
        let code = error.sqlite_error().copied().unwrap_or_else(|| ffi::Error::new(ffi::SQLITE_IOERR));
        Self { code, why: error.to_string() }
    }

    /// Of a write that may have put what SQLite said into words of its own.
    fn of_store(error: &StoreError) -> Self {
        match error {
            StoreError::Sql(error) => Self::of(error),
            error => Self { code: ffi::Error::new(ffi::SQLITE_IOERR), why: error.to_string() },
        }
    }

    fn to_error(&self) -> StoreError {
        StoreError::Sql(rusqlite::Error::SqliteFailure(self.code, Some(self.why.clone())))
    }
}

/// Something in line.
enum Job {
    Work {
        work: Work,
        when: When,
    },
    /// Somebody waits for what is in line before this.
    Hurry,
}

/// When a write is to be on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// As soon as may be.
    Soon,
    /// Within [`BEHIND`], together with others.
    Behind,
}

/// The way to the thread. Dropping it waits until everything is written.
pub(super) struct Writer {
    line: Mutex<Line>,
    thread: Option<JoinHandle<()>>,
}

struct Line {
    jobs: Option<SyncSender<Job>>,
    submitted: u64,
}

impl Writer {
    /// Starts it on `connection`; how many writes are on disk is told by what comes with it.
    pub(super) fn start(connection: Connection, clock: Clock) -> Result<(Self, watch::Receiver<u64>), StoreError> {
        let (jobs, line) = sync_channel(QUEUE);
        let (committed, watching) = watch::channel(0);
        let thread =
            std::thread::Builder::new().name("store".to_owned()).spawn(move || write(&connection, &line, &clock, &committed))?;
        let line = Mutex::new(Line { jobs: Some(jobs), submitted: 0 });
        Ok((Self { line, thread: Some(thread) }, watching))
    }

    /// Puts a write in line. What it gave is handed to `then` once it is on disk, before anybody is answered.
    pub(super) fn submit<T: Send + 'static>(
        &self,
        when: When,
        work: impl FnOnce(&Connection, u64) -> Result<T, StoreError> + Send + 'static,
        then: impl FnOnce(&T) + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T, StoreError>>, StoreError> {
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move |begun: Option<(&Connection, u64)>| {
            let Some((connection, now)) = begun else {
                let finish: Finish = Box::new(move |failure| {
                    // Whoever asked may have gone.
                    let _ = answer.send(Err(failure.map_or(StoreError::Stopped, Failure::to_error)));
                });
                return (finish, None);
            };
            let result = within_savepoint(connection, |connection| work(connection, now));
            // On a full disk SQLite undoes the whole transaction.
            let undone = match &result {
                Err(error) if connection.is_autocommit() => Some(Failure::of_store(error)),
                _ => None,
            };
            let finish: Finish = Box::new(move |failure| {
                if let (None, Ok(given)) = (failure, &result) {
                    then(given);
                }
                // Whoever asked may have gone: it is written all the same.
                let _ = answer.send(match failure {
                    None => result,
                    Some(failure) => result.and_then(|_| Err(failure.to_error())),
                });
            });
            (finish, undone)
        });
        let mut line = self.line();
        let jobs = line.jobs.as_ref().ok_or(StoreError::Stopped)?;
        jobs.try_send(Job::Work { work, when }).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Overloaded,
            TrySendError::Disconnected(_) => StoreError::Stopped,
        })?;
        line.submitted += 1;
        Ok(answered)
    }

    /// How many writes have been put in line; none of them waits any longer for others unless it is among the first `committed`.
    pub(super) fn hurry(&self, committed: u64) -> u64 {
        let line = self.line();
        if committed < line.submitted
            && let Some(jobs) = &line.jobs
        {
            // A full line hurries by itself.
            let _ = jobs.try_send(Job::Hurry);
        }
        line.submitted
    }

    fn line(&self) -> std::sync::MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.line().jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's thread panicked");
        }
    }
}

/// Waits for writes until one of them is to be on disk soon, or they have waited long enough; those that are `left` do not wait again.
/// `None` when there will be none.
fn gather(line: &Receiver<Job>, left: VecDeque<Work>) -> Option<VecDeque<Work>> {
    if !left.is_empty() {
        return Some(left);
    }
    let mut batch = left;
    let mut until: Option<Instant> = None;
    loop {
        let job = match until {
            None => line.recv().ok()?,
            Some(until) => match line.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(job) => job,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Some(batch),
            },
        };
        match job {
            Job::Hurry if batch.is_empty() => {}
            Job::Hurry => return Some(batch),
            Job::Work { work, when } => {
                batch.push_back(work);
                if when == When::Soon || batch.len() >= BATCH {
                    return Some(batch);
                }
                until.get_or_insert_with(|| Instant::now() + BEHIND);
            }
        }
    }
}

/// The next write that is in line already.
fn next(line: &Receiver<Job>) -> Option<Work> {
    line.try_iter().find_map(|job| match job {
        Job::Work { work, .. } => Some(work),
        Job::Hurry => None,
    })
}

fn write(connection: &Connection, line: &Receiver<Job>, clock: &Clock, committed: &watch::Sender<u64>) {
    background::step_back(background::WAITED_FOR);
    let mut done = 0;
    let mut finishes: Vec<Finish> = Vec::new();
    let mut left = VecDeque::new();
    while let Some(mut batch) = gather(line, std::mem::take(&mut left)) {
        let began = Instant::now();
        let now = clock.now_ms();
        let mut failure = execute(connection, "BEGIN IMMEDIATE").err().map(|error| Failure::of(&error));
        if failure.is_some() {
            finishes.extend(batch.drain(..).map(|work| work(None).0));
        }
        while failure.is_none() {
            let following = || {
                let room = finishes.len() < BATCH && began.elapsed() < BATCH_TIME;
                room.then(|| next(line)).flatten()
            };
            let Some(work) = batch.pop_front().or_else(following) else { break };
            let (finish, undone) = work(Some((connection, now)));
            finishes.push(finish);
            failure = undone;
        }
        // Those that were not begun when the transaction was undone get another.
        left = batch;
        if failure.is_none() {
            failure = execute(connection, "COMMIT").err().map(|error| Failure::of(&error));
        }
        if let Some(Failure { why, .. }) = &failure {
            tracing::error!(%why, writes = finishes.len(), "the store could not write");
            if !connection.is_autocommit()
                && let Err(error) = execute(connection, "ROLLBACK")
            {
                tracing::error!(%error, "the store could not undo what it had begun");
            }
        }
        done += finishes.len() as u64;
        committed.send_replace(done);
        for finish in finishes.drain(..) {
            finish(failure.as_ref());
        }
    }
}

/// Undoes what `work` did when it fails, and leaves the rest of the batch alone.
fn within_savepoint<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    execute(connection, "SAVEPOINT job")?;
    let result = work(connection);
    if result.is_err() {
        if connection.is_autocommit() {
            return result;
        }
        execute(connection, "ROLLBACK TO job")?;
    }
    execute(connection, "RELEASE job")?;
    result
}

fn execute(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(|_| ())
}
