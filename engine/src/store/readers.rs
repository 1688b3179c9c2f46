//! A few threads that read, each on a connection of its own.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::error::StoreError;

const THREADS: usize = 2;
/// Reads that may wait.
const QUEUE: usize = 1 << 14;

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// The way to the threads; they end when it is dropped.
pub(super) struct Readers {
    jobs: SyncSender<Job>,
}

impl Readers {
    pub(super) fn start(connect: impl Fn() -> Result<Connection, StoreError>) -> Result<Self, StoreError> {
        let (jobs, line) = sync_channel::<Job>(QUEUE);
        let line = Arc::new(Mutex::new(line));
        for _ in 0..THREADS {
            let (connection, line) = (connect()?, Arc::clone(&line));
            std::thread::Builder::new().name("store-reader".to_owned()).spawn(move || {
                while let Some(job) = next(&line) {
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
