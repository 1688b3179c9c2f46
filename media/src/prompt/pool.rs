//! The threads that read and decode prompts: few, of low priority, with a bounded queue.
#![expect(clippy::disallowed_methods, reason = "loader threads are an IO edge: they measure what a file costs")]

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

/// Jobs that may wait. Past it the machine is not going to catch up while callers still listen.
const QUEUE: usize = 1024;
/// The niceness of loader threads: below the engine's core, script workers and media threads where those have not stepped back.
const NICE: i32 = 10;

type Job = Box<dyn FnOnce() + Send>;

/// A fixed set of threads for work that may block.
#[derive(Clone)]
pub struct LoaderPool {
    jobs: SyncSender<Job>,
}

/// More work is waiting than the queue may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many prompts are being loaded")]
pub struct Busy;

impl LoaderPool {
    /// Starts `threads` threads, at least one. They end when the last handle is dropped.
    ///
    /// # Errors
    /// The system refuses another thread.
    pub fn new(threads: usize) -> io::Result<Self> {
        let (jobs, queue) = sync_channel::<Job>(QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        for number in 0..threads.max(1) {
            let queue = Arc::clone(&queue);
            thread::Builder::new().name(format!("loader-{number}")).spawn(move || work(&queue))?;
        }
        Ok(Self { jobs })
    }

    /// Queues `job`; never blocks.
    ///
    /// # Errors
    /// [`Busy`]: the queue is full, and the job was dropped.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) -> Result<(), Busy> {
        self.jobs.try_send(Box::new(job)).map_err(|error| match error {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => Busy,
        })
    }
}

fn work(queue: &Mutex<Receiver<Job>>) {
    lower_priority();
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // Jobs report their own outcome through what they drop; a panic must not take the thread along.
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
            tracing::error!("a prompt loader panicked; its prompt is reported as failed");
        }
    }
}

fn lower_priority() {
    // SAFETY: plain system calls on the calling thread.
    let refused = unsafe { libc::setpriority(libc::PRIO_PROCESS, libc::gettid() as libc::id_t, NICE) };
    if refused != 0 {
        tracing::debug!(error = %io::Error::last_os_error(), "loader threads keep the default priority");
    }
}

/// A question that turns true once `budget` has passed.
pub(super) fn stopwatch(budget: Duration) -> impl FnMut() -> bool {
    let start = Instant::now();
    move || start.elapsed() > budget
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panicking_job_does_not_stop_the_next_one() {
        let pool = LoaderPool::new(1).unwrap();
        let (sender, receiver) = sync_channel(1);
        pool.run(|| panic!("expected by this test")).unwrap();
        pool.run(move || sender.send(7).unwrap()).unwrap();
        assert_eq!(receiver.recv(), Ok(7));
    }

    #[test]
    fn a_full_queue_refuses_instead_of_blocking() {
        let pool = LoaderPool::new(1).unwrap();
        let (running, started) = sync_channel(0);
        let (release, gate) = sync_channel::<()>(0);
        pool.run(move || {
            running.send(()).unwrap();
            gate.recv().unwrap();
        })
        .unwrap();
        started.recv().unwrap();
        for _ in 0..QUEUE {
            pool.run(|| ()).unwrap();
        }
        assert_eq!(pool.run(|| ()), Err(Busy));
        release.send(()).unwrap();
    }
}
