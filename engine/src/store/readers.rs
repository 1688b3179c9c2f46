//! A few threads that read, each on a connection of its own.
#![expect(clippy::disallowed_methods, reason = "a question is bounded by the time it takes")]

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::error::StoreError;

const THREADS: usize = 2;
/// Reads that may wait.
const QUEUE: usize = 1 << 14;
/// Virtual machine steps between two looks at the clock.
const STEPS: i32 = 1_000;

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// The way to the threads; they end when it is dropped.
pub(super) struct Readers {
    jobs: SyncSender<Job>,
}

impl Readers {
    /// `bound` is the time after which SQLite ends what a read asks of it.
    pub(super) fn start(
        name: &str,
        bound: Option<Duration>,
        connect: impl Fn() -> Result<Connection, StoreError>,
    ) -> Result<Self, StoreError> {
        let (jobs, line) = sync_channel::<Job>(QUEUE);
        let line = Arc::new(Mutex::new(line));
        for _ in 0..THREADS {
            let (mut connection, line) = (connect()?, Arc::clone(&line));
            std::thread::Builder::new().name(name.to_owned()).spawn(move || {
                while let Some(job) = next(&line) {
                    if let Some(bound) = bound {
                        let end = Instant::now() + bound;
                        // It fails on a closed connection only.
                        let _ = connection.progress_handler(STEPS, Some(move || Instant::now() >= end));
                    }
                    job(&connection);
                }
            })?;
        }
        Ok(Self { jobs })
    }

    pub(super) fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T, StoreError>>, StoreError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // Whoever asked has gone: nothing to look up.
            if !answer.is_closed() {
                let _ = answer.send(work(connection));
            }
        });
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Overloaded,
            TrySendError::Disconnected(_) => StoreError::Stopped,
        })?;
        Ok(answered)
    }
}

fn next(line: &Mutex<Receiver<Job>>) -> Option<Job> {
    line.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block_on::block_on;

    #[test]
    fn what_takes_too_long_is_ended_where_there_is_a_bound_and_the_next_is_answered() {
        let count = |readers: &Readers, to: u32| {
            let sql = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < ?) SELECT count(*) FROM n";
            let answer = readers.submit(move |connection| Ok(connection.query_row(sql, [to], |row| row.get::<_, u32>(0))?));
            block_on(answer.unwrap()).unwrap().map_err(StoreError::of_report)
        };
        let start = |bound| Readers::start("readers", bound, || Ok(Connection::open_in_memory()?)).unwrap();
        let bounded = start(Some(Duration::ZERO));
        assert!(matches!(count(&bounded, 100_000), Err(StoreError::TooLong)));
        assert_eq!(count(&bounded, 2).unwrap(), 2, "the clock is looked at now and then");
        assert_eq!(count(&start(None), 100_000).unwrap(), 100_000);
    }
}
