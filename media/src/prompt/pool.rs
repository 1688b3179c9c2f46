//! The threads that read and decode prompts: few, of low priority, with a bounded queue.
#![expect(clippy::disallowed_methods, reason = "loader threads are an IO edge: they measure what a file costs")]

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

/// Jobs that may wait. Past it the machine is not going to catch up while callers still listen.
const QUEUE: usize = 1024;
/// The niceness of loader threads: below the engine's core, script workers and media threads where those have not stepped back.
const NICE: i32 = 10;

type Job = Box<dyn FnOnce() + Send>;

/// A fixed set of threads for work that may block. It is done turn by turn: of those who have work to do, one after another gets a
/// job done, and nobody has two under way, so that a long list of prompts holds up no other.
#[derive(Clone)]
pub struct LoaderPool {
    door: Arc<Door>,
}

/// Whose work it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn(u64);

/// More work is waiting than the queue may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many prompts are being loaded")]
pub struct Busy;

/// What all handles have in common; the threads end when it is dropped.
struct Door {
    work: Arc<Work>,
    turns: AtomicU64,
}

#[derive(Default)]
struct Work {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    /// Whoever has jobs that wait, in the order of their turns.
    waiting: VecDeque<(Turn, VecDeque<Job>)>,
    /// Jobs that wait.
    count: usize,
    /// Whose job is under way.
    running: Vec<Turn>,
    is_closed: bool,
}

impl LoaderPool {
    /// Starts `threads` threads, at least one. They end when the last handle is dropped.
    ///
    /// # Errors
    /// The system refuses another thread.
    pub fn new(threads: usize) -> io::Result<Self> {
        let door = Door { work: Arc::default(), turns: AtomicU64::new(0) };
        for number in 0..threads.max(1) {
            let work = Arc::clone(&door.work);
            thread::Builder::new().name(format!("loader-{number}")).spawn(move || work.attend())?;
        }
        Ok(Self { door: Arc::new(door) })
    }

    /// Somebody with work of their own.
    #[must_use]
    pub fn turn(&self) -> Turn {
        Turn(self.door.turns.fetch_add(1, Relaxed))
    }

    /// Queues `job`; never blocks.
    ///
    /// # Errors
    /// [`Busy`]: the queue is full, and the job was dropped.
    pub fn run(&self, turn: Turn, job: impl FnOnce() + Send + 'static) -> Result<(), Busy> {
        let work = &self.door.work;
        let mut queue = work.queue();
        if queue.count >= QUEUE {
            return Err(Busy);
        }
        queue.count += 1;
        match queue.waiting.iter_mut().find(|(whose, _)| *whose == turn) {
            Some((_, jobs)) => jobs.push_back(Box::new(job)),
            None => queue.waiting.push_back((turn, VecDeque::from([Box::new(job) as Job]))),
        }
        drop(queue);
        work.changed.notify_one();
        Ok(())
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.work.queue().is_closed = true;
        self.work.changed.notify_all();
    }
}

impl Queue {
    /// The next job of somebody who has none under way.
    fn take(&mut self) -> Option<(Turn, Job)> {
        let place = self.waiting.iter().position(|(turn, _)| !self.running.contains(turn))?;
        let (turn, mut jobs) = self.waiting.remove(place)?;
        let job = jobs.pop_front()?;
        if !jobs.is_empty() {
            self.waiting.push_back((turn, jobs));
        }
        self.count -= 1;
        self.running.push(turn);
        Some((turn, job))
    }
}

impl Work {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attend(&self) {
        lower_priority();
        while let Some((turn, job)) = self.next() {
            // Jobs report their own outcome through what they drop; a panic must not take the thread along.
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
                tracing::error!("a prompt loader panicked; its prompt is reported as failed");
            }
            self.queue().running.retain(|running| *running != turn);
            // Others may have passed over what this one was waiting for.
            self.changed.notify_all();
        }
    }

    /// Waits for a job; `None` once there will be no more.
    fn next(&self) -> Option<(Turn, Job)> {
        let mut queue = self.queue();
        loop {
            if let Some(next) = queue.take() {
                return Some(next);
            }
            if queue.is_closed && queue.waiting.is_empty() {
                return None;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
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
    use std::sync::mpsc::{SyncSender, sync_channel};

    use super::*;

    /// Work that goes on until it is let go.
    fn long(pool: &LoaderPool, turn: Turn) -> SyncSender<()> {
        let (running, started) = sync_channel(0);
        let (release, gate) = sync_channel::<()>(1);
        pool.run(turn, move || {
            running.send(()).unwrap();
            // Let go by the end of the test at the latest.
            let _ = gate.recv();
        })
        .unwrap();
        started.recv().unwrap();
        release
    }

    #[test]
    fn a_panicking_job_does_not_stop_the_next_one() {
        let pool = LoaderPool::new(1).unwrap();
        let (sender, receiver) = sync_channel(1);
        let turn = pool.turn();
        pool.run(turn, || panic!("expected by this test")).unwrap();
        pool.run(turn, move || sender.send(7).unwrap()).unwrap();
        assert_eq!(receiver.recv(), Ok(7));
    }

    #[test]
    fn a_full_queue_refuses_instead_of_blocking() {
        let pool = LoaderPool::new(1).unwrap();
        let release = long(&pool, pool.turn());
        let turn = pool.turn();
        for _ in 0..QUEUE {
            pool.run(turn, || ()).unwrap();
        }
        assert_eq!(pool.run(turn, || ()), Err(Busy));
        release.send(()).unwrap();
    }

    #[test]
    fn whoever_has_much_to_do_takes_one_thread_and_turns_with_the_others() {
        let pool = LoaderPool::new(2).unwrap();
        let (greedy, first, second) = (pool.turn(), pool.turn(), pool.turn());
        let release = long(&pool, greedy);
        let (sender, done) = sync_channel(8);
        let note = |turn: Turn, name: &'static str| {
            let sender = sender.clone();
            pool.run(turn, move || sender.send(name).unwrap()).unwrap();
        };
        let other = long(&pool, first);
        note(greedy, "greedy 1");
        note(greedy, "greedy 2");
        note(second, "second");
        other.send(()).unwrap();
        assert_eq!(done.recv(), Ok("second"), "a thread is left to others");
        let other = long(&pool, first);
        note(second, "second again");
        release.send(()).unwrap();
        assert_eq!([done.recv(), done.recv(), done.recv()], [Ok("greedy 1"), Ok("second again"), Ok("greedy 2")]);
        drop(other);
    }

    #[test]
    fn what_waits_is_done_before_the_threads_end() {
        let pool = LoaderPool::new(2).unwrap();
        let turn = pool.turn();
        let release = long(&pool, turn);
        let (sender, receiver) = sync_channel(1);
        pool.run(turn, move || sender.send(7).unwrap()).unwrap();
        drop(pool);
        release.send(()).unwrap();
        assert_eq!(receiver.recv(), Ok(7));
    }
}
