//! The thread that takes jobs from the store and has them run.
#![expect(clippy::disallowed_methods, reason = "an IO edge: sleeps until something is due")]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, LocalSet};

use super::job::{Job, JobState};
use super::table::{self, TryEnd};
use super::{Jobs, run_id, run_kind};
use crate::background;
use crate::runs::{RunError, RunRequest, RunsHandle};
use crate::schedule::Keeper;
use crate::store::{Place, StoreError};

/// How often it looks without being told: another process may have added a job, or another engine gone away.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks between two sweeps of jobs that have been kept long enough.
const LOOKS_PER_SWEEP: u32 = 60;
/// How long it may take, at the end, to give back what is under way. What is not given back by then is when the next engine begins.
const LAST_WRITES: Duration = Duration::from_secs(10);
/// Jobs of one sweep's write.
const SWEEP: usize = 1_000;

/// How jobs are run.
#[derive(Clone, Copy, Debug)]
pub struct JobsConfig {
    /// Jobs that run at once.
    pub concurrency: usize,
    /// How long a job is kept after its end.
    pub keep: Duration,
}

/// The thread, until dropped. Jobs it has under way then go back to the store.
#[derive(Debug)]
pub struct JobsThread {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl JobsThread {
    /// Starts it: `jobs` run through `runs`, and so do the schedules of its scripts.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(config: JobsConfig, jobs: &Jobs, runs: RunsHandle) -> io::Result<Self> {
        // Set once: an engine has one such thread.
        let _ = jobs.inner.runs.set(runs.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopping) = watch::channel(false);
        let jobs = jobs.clone();
        let work = move || {
            background::step_back(background::WAITED_FOR);
            LocalSet::new().block_on(&runtime, work(config, jobs, runs, stopping));
        };
        let thread = std::thread::Builder::new().name("jobs".to_owned()).spawn(work)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for JobsThread {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of jobs panicked");
        }
    }
}

async fn work(config: JobsConfig, jobs: Jobs, runs: RunsHandle, mut stopping: watch::Receiver<bool>) {
    // An error says that whoever could stop it is gone.
    let _lock = tokio::select! {
        lock = take_over(jobs.store().place()) => lock,
        _ = stopping.wait_for(|stop| *stop) => return,
    };
    jobs.inner.runs_here.store(true, Relaxed);
    let dispatcher = Dispatcher::new(config, jobs, runs);
    let running = Rc::clone(&dispatcher.running);
    // Jobs that are being taken when it is told to stop are taken, and then given back with the others.
    let mut told = stopping.clone();
    let overdue = async {
        let _ = told.wait_for(|stop| *stop).await;
        tokio::time::sleep(LAST_WRITES).await;
    };
    tokio::select! {
        () = dispatcher.run(stopping) => {}
        () = overdue => {}
    }
    // Before another engine may take the jobs over: it would be given back what it has under way itself.
    if tokio::time::timeout(LAST_WRITES, running.give_back()).await.is_err() {
        tracing::error!("jobs under way could not be given back in time");
    }
}

/// Waits until no other engine works on the jobs of this store; none does while the file is held.
async fn take_over(place: &Place) -> Option<File> {
    let Place::File(path) = place else { return None };
    let path = path.with_extension("lock");
    let mut said = false;
    loop {
        let why = match File::create(&path).map(|file| file.try_lock().map(|()| file)) {
            Ok(Ok(file)) => return Some(file),
            Ok(Err(TryLockError::WouldBlock)) => "another engine works on this store".to_owned(),
            Ok(Err(TryLockError::Error(error))) | Err(error) => error.to_string(),
        };
        if !std::mem::replace(&mut said, true) {
            tracing::warn!(lock = %path.display(), %why, "jobs and schedules wait");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

struct Dispatcher {
    config: JobsConfig,
    jobs: Jobs,
    runs: RunsHandle,
    keeper: Keeper,
    running: Rc<RunningJobs>,
}

/// Number of a job, and its try.
type Key = (i64, u32);

/// Jobs under way.
struct RunningJobs {
    jobs: Jobs,
    /// Those whose ends are not on disk.
    tasks: RefCell<BTreeMap<Key, AbortHandle>>,
    /// How those of them ended that have: written down together.
    ended: RefCell<BTreeMap<Key, TryEnd>>,
    left: Notify,
    /// Ends could not be written, and are tried again.
    troubled: Cell<bool>,
}

impl Dispatcher {
    fn new(config: JobsConfig, jobs: Jobs, runs: RunsHandle) -> Self {
        let running = RunningJobs {
            jobs: jobs.clone(),
            tasks: RefCell::default(),
            ended: RefCell::default(),
            left: Notify::new(),
            troubled: Cell::new(false),
        };
        let keeper = Keeper::new(jobs.clone());
        Self { config, jobs, runs, keeper, running: Rc::new(running) }
    }

    /// Takes jobs and starts them until it is told to stop.
    async fn run(mut self, mut stopping: watch::Receiver<bool>) {
        match self.jobs.store().write(table::redeliver).await {
            Ok(0) => {}
            Ok(count) => tracing::warn!(count, "jobs of an engine that is gone run again"),
            Err(error) => tracing::error!(%error, "jobs of an engine that is gone cannot be given back"),
        }
        let mut more = true;
        let mut looks = 0u32;
        let mut due = None;
        let mut look_at = Instant::now();
        // Without a sender nobody is left who could want it to go on.
        while stopping.has_changed().is_ok() && !*stopping.borrow() {
            if look_at <= Instant::now() || self.keeper.next().is_some_and(|next| next <= self.now_ms()) {
                look_at = Instant::now() + LOOK_EVERY;
                looks = looks.wrapping_add(1);
                more = true;
                self.running.troubled.set(false);
                self.keeper.look(&self.runs.programs()).await;
                if looks.is_multiple_of(LOOKS_PER_SWEEP) {
                    self.sweep().await;
                }
            }
            let ended = self.running.ended.borrow().len();
            let free = (self.config.concurrency + ended).saturating_sub(self.running.tasks.borrow().len());
            if !self.running.troubled.get() && (ended > 0 || more && free > 0) {
                // What has ended makes room for what is taken: one after the other in line, they reach the disk together.
                let written = self.running.write_ends();
                if more && free > 0 {
                    let taken = self.take(free);
                    written.await;
                    (more, due) = taken.await;
                } else {
                    due = [due, written.await].into_iter().flatten().min();
                }
                continue;
            }
            let next = next_look(due, free > 0 && !self.running.troubled.get(), self.keeper.next());
            let wait = next.map_or(LOOK_EVERY, |at| Duration::from_millis(at.saturating_sub(self.now_ms())));
            tokio::select! {
                () = self.jobs.inner.changed.notified() => more = true,
                () = self.running.left.notified() => {}
                _ = stopping.wait_for(|stop| *stop) => {}
                () = tokio::time::sleep_until((Instant::now() + wait).min(look_at).into()) => more = true,
            }
        }
    }

    fn now_ms(&self) -> u64 {
        self.jobs.store().clock().now_ms()
    }

    /// Takes up to `free` jobs and starts them: whether there may be more, and when the next delayed one comes due.
    fn take(&self, free: usize) -> impl Future<Output = (bool, Option<u64>)> {
        let taken = self
            .jobs
            .store()
            .write(move |connection, now| Ok((table::claim(connection, now, free)?, table::next_due(connection)?)));
        async move {
            match taken.await {
                Ok((jobs, due)) => {
                    let more = jobs.len() == free;
                    for job in jobs {
                        self.start(job);
                    }
                    (more, due)
                }
                Err(error) => {
                    tracing::error!(%error, "no jobs can be taken");
                    (false, None)
                }
            }
        }
    }

    fn start(&self, job: Job) {
        let (runs, running) = (self.runs.clone(), Rc::clone(&self.running));
        let key = (job.id, job.attempt);
        self.jobs.publish(&job);
        let tasks = Rc::clone(&self.running);
        let task = tokio::task::spawn_local(async move {
            let end = attempt(&runs, &job).await;
            running.ended.borrow_mut().insert(key, end);
            running.left.notify_one();
        });
        // It begins when this thread has time for it, and so is noted before it ends.
        tasks.tasks.borrow_mut().insert(key, task.abort_handle());
    }

    async fn sweep(&self) {
        let keep = u64::try_from(self.config.keep.as_millis()).unwrap_or(u64::MAX);
        let forget =
            || self.jobs.store().write(move |connection, now| table::forget(connection, now.saturating_sub(keep), SWEEP));
        while forget().await.is_ok_and(|forgotten| forgotten == SWEEP) {}
    }
}

/// What comes due first: a schedule, or a delayed job where it could be taken.
fn next_look(job: Option<u64>, is_room: bool, schedule: Option<u64>) -> Option<u64> {
    [job.filter(|_| is_room), schedule].into_iter().flatten().min()
}

impl RunningJobs {
    /// Writes down how tries ended, then tells whoever waits: when the first of those comes due that are tried again. It is in line
    /// when this returns.
    fn write_ends(&self) -> impl Future<Output = Option<u64>> {
        let mut ends = self.ended.take();
        for ((id, _), end) in &mut ends {
            if matches!(end, TryEnd::Failed(_)) && self.jobs.is_unwanted(*id) {
                *end = TryEnd::Cancelled;
            }
        }
        let written = (!ends.is_empty()).then(|| {
            let ends = ends.clone();
            // Each by itself: one that cannot be written keeps none of the others from it.
            let each = move |connection: &Connection, now| {
                Ok(ends.iter().map(|(key, end)| table::finish(connection, now, *key, end)).collect::<Vec<_>>())
            };
            self.jobs.store().write(each)
        });
        async move {
            let mut results = written?.await.map(Vec::into_iter);
            let mut due = None;
            for (key, end) in ends {
                let result = match &mut results {
                    Ok(results) => results.next().unwrap_or(Err(StoreError::Stopped)).map_err(|error| error.to_string()),
                    Err(error) => Err(error.to_string()),
                };
                match result {
                    Ok(after) => due = [due, self.over(key, &end, after)].into_iter().flatten().min(),
                    Err(error) => {
                        tracing::error!(job = key.0, %error, "the end of a job cannot be written");
                        self.ended.borrow_mut().insert(key, end);
                        self.troubled.set(true);
                    }
                }
            }
            due
        }
    }

    /// The end of a try is on disk. `after`: the job as it is then; `None`: it was somebody else's already. When it comes due again.
    fn over(&self, key: Key, end: &TryEnd, after: Option<Job>) -> Option<u64> {
        self.tasks.borrow_mut().remove(&key);
        let after = after?;
        self.jobs.publish(&after);
        if after.state.is_final() {
            // Whoever cancels a job knows of it.
            if let Some(error) = after.error.as_ref().filter(|_| *end != TryEnd::Cancelled) {
                tracing::warn!(job = after.id, script = after.script, %error, "a job failed");
                self.jobs.raise(&after, error);
            }
            self.jobs.tell(&after);
        }
        (after.state == JobState::Delayed).then_some(after.due_ms)
    }

    /// Ends what is under way and gives it back, as if it had not been tried. It is on disk once this resolves.
    async fn give_back(&self) {
        let tasks = self.tasks.take();
        for (key, task) in tasks {
            task.abort();
            let end = self.ended.borrow_mut().remove(&key).unwrap_or(TryEnd::Interrupted);
            let written = self.jobs.store().write(move |connection, now| table::finish(connection, now, key, &end));
            if let Err(error) = written.await {
                tracing::error!(job = key.0, %error, "a job under way cannot be given back: the next engine finds it");
            }
        }
    }
}

/// Runs a job's script once.
async fn attempt(runs: &RunsHandle, job: &Job) -> TryEnd {
    // Whoever added it where no scripts run wrote down what was said.
    let is_name = runs.programs().named(&job.script).is_some_and(|program| program.account == job.account);
    let mut request = RunRequest { is_name, ..RunRequest::new(job.script.clone(), run_kind(job), job.data.clone()) }
        .of_account(job.account.clone())
        .function(job.function.clone())
        .timeout(job.timeout_ms.map(Duration::from_millis));
    request.id = Arc::from(run_id(job));
    request.env.insert("JOB_ID".to_owned(), job.id.to_string());
    end_of(job, runs.run(request).await.map(|success| success.result).map_err(|failure| failure.error))
}

/// What the run of a job means for the job.
pub(super) fn end_of(job: &Job, end: Result<Option<String>, RunError>) -> TryEnd {
    match end {
        Ok(result) => TryEnd::Completed(result),
        Err(RunError::Stopped) => TryEnd::Interrupted,
        Err(RunError::Cancelled) => TryEnd::Cancelled,
        Err(RunError::Script(error)) => TryEnd::Failed(match &error.at {
            Some(at) => format!("{} ({at})", error.message),
            None => error.message.clone(),
        }),
        Err(error @ RunError::NoSuchScript(_)) => {
            if job.absent_ms.is_none() {
                tracing::warn!(job = job.id, %error, "a job waits for its script");
            }
            TryEnd::Absent(error.to_string())
        }
        Err(error @ (RunError::TimedOut { .. } | RunError::TimedOutWaiting { .. } | RunError::Busy { .. } | RunError::Stuck)) => {
            TryEnd::Failed(error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use futures_util::FutureExt as _;
    use tokio::sync::watch;

    use super::*;
    use crate::config::Config;
    use crate::core::tests::lab::{given_to, programs};
    use crate::fetch::{EgressPolicy, Fetcher};
    use crate::jobs::NewJob;
    use crate::platform::Platform;
    use crate::runs::{RunsConfig, RunsThread, ScriptPlace};
    use crate::store::{Clock, Store};

    /// Another engine that gets the lock finds nothing under way, and nothing is given back later what it then has itself.
    #[tokio::test]
    async fn what_was_under_way_has_been_given_back_before_the_lock_is() {
        let dir = std::env::temp_dir().join(format!("lockstep-jobs-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&dir).unwrap();
        let store = Store::open(Place::File(dir.join("jobs.db")), Clock::system()).unwrap();
        let jobs = Jobs::new(&store);
        // Runs are asked for and never made.
        let (runs, _inbox) = RunsHandle::new(watch::channel(programs(&[("1000", "")])).1);
        let config = JobsConfig { concurrency: 1, keep: Duration::from_secs(60) };
        let id = jobs.add(NewJob::new("default", "script-1000", "{}")).await.unwrap();
        let (stop, stopping) = watch::channel(false);
        let local = LocalSet::new();
        let stopped = async {
            while jobs.job("default", id).await.unwrap().unwrap().state != JobState::Active {
                tokio::task::yield_now().await;
            }
            stop.send_replace(true);
        };
        local.run_until(async { tokio::join!(work(config, jobs.clone(), runs, stopping), stopped) }).await;
        let job = jobs.job("default", id).await.unwrap().unwrap();
        assert_eq!((job.state, job.attempt), (JobState::Waiting, 0));
        let place = store.place().clone();
        assert!(take_over(&place).await.is_some());
        std::fs::remove_dir_all(&dir).unwrap();
    }

    /// What a job came to is not lost where the engine stops before it is written down.
    #[tokio::test]
    async fn a_try_that_had_ended_by_the_stop_is_written_as_it_ended() {
        let jobs = Jobs::new(&Store::in_memory(Clock::system()).unwrap());
        let running =
            Dispatcher::new(JobsConfig { concurrency: 2, keep: Duration::from_secs(60) }, jobs.clone(), RunsHandle::stopped())
                .running;
        for _ in 0..2 {
            jobs.add(NewJob::new("a", "b", "{}")).await.unwrap();
        }
        let taken = jobs.store().write(|connection, now| table::claim(connection, now, 2)).await.unwrap();
        let keys: Vec<Key> = taken.iter().map(|job| (job.id, job.attempt)).collect();
        for key in &keys {
            running.tasks.borrow_mut().insert(*key, tokio::spawn(std::future::pending::<()>()).abort_handle());
        }
        running.ended.borrow_mut().insert(keys[0], TryEnd::Completed(Some("1".to_owned())));
        running.give_back().await;
        let mut states = Vec::new();
        for (id, _) in keys {
            states.push(jobs.job("a", id).await.unwrap().unwrap().state);
        }
        assert_eq!(states, [JobState::Completed, JobState::Waiting]);
    }

    #[tokio::test]
    async fn a_job_whose_script_is_not_there_waits_for_it() {
        let jobs = Jobs::new(&Store::in_memory(Clock::system()).unwrap());
        jobs.add(NewJob::new("a", "gone", "{}")).await.unwrap();
        let job = jobs.store().write(|connection, now| table::claim(connection, now, 1)).await.unwrap().remove(0);
        let (runs, _inbox) = RunsHandle::new(watch::channel(programs(&[])).1);
        assert_eq!(attempt(&runs, &job).await, TryEnd::Absent("no script gone".to_owned()));
    }

    /// The run is over and its end not written down, or the job is taken and its run not begun.
    #[tokio::test]
    async fn a_job_is_cancelled_also_between_its_states() {
        let config = Config::default();
        let platform = Platform::in_memory(&config).unwrap();
        let mut alerts = platform.events.take_alerts().unwrap();
        let runs_config = RunsConfig {
            place: ScriptPlace::InProcess,
            fetcher: Fetcher::new(EgressPolicy::new(config.security)).unwrap(),
            services: platform.services.clone(),
            events: platform.events.clone(),
            journals: None,
        };
        let (handle, inbox) = RunsHandle::new(watch::channel(programs(&[])).1);
        let runs = RunsThread::start(runs_config, handle.clone(), inbox).unwrap();
        let jobs = platform.jobs.clone();
        jobs.inner.runs.set(runs.handle()).unwrap();
        jobs.inner.runs_here.store(true, Relaxed);
        let config = JobsConfig { concurrency: 1, keep: Duration::from_secs(60) };
        let running = Dispatcher::new(config, jobs.clone(), handle).running;
        let id = jobs.add(NewJob { attempts: 5, ..NewJob::new("a", "b", "{}") }).await.unwrap();
        let job = jobs.store().write(|connection, now| table::claim(connection, now, 1)).await.unwrap().remove(0);
        running.ended.borrow_mut().insert((job.id, job.attempt), TryEnd::Failed("no".to_owned()));
        let written = async {
            while !jobs.is_unwanted(id) {
                tokio::task::yield_now().await;
            }
            running.write_ends().await
        };
        let (cancelled, due) = tokio::join!(jobs.cancel("a", id), written);
        let cancelled = cancelled.unwrap();
        assert_eq!((cancelled.state, cancelled.error.as_deref(), due), (JobState::Failed, Some("cancelled"), None));
        assert!(alerts.try_recv().is_err(), "nobody has to be told of what was asked for");
        assert!(jobs.cancel("a", id).await.unwrap_err().to_string().contains("nothing to cancel"));
        assert!(!jobs.is_unwanted(id));
    }

    #[tokio::test]
    async fn a_job_does_not_run_what_another_account_has_put_in_place_of_its_script() {
        let jobs = Jobs::new(&Store::in_memory(Clock::system()).unwrap());
        jobs.add(NewJob::new("south", "script-1000", r#"{"secret":42}"#)).await.unwrap();
        let job = jobs.store().write(|connection, now| table::claim(connection, now, 1)).await.unwrap().remove(0);
        let scripts = given_to("north", &programs(&[("1000", "")]), "script-1000", true);
        let (runs, _inbox) = RunsHandle::new(watch::channel(scripts).1);
        let absent = TryEnd::Absent("no script script-1000".to_owned());
        assert_eq!(attempt(&runs, &job).now_or_never(), Some(absent));
    }

    /// It would be due at once again, until another ends.
    #[test]
    fn a_delayed_job_without_room_is_not_waited_for() {
        assert_eq!(next_look(Some(1), true, Some(2)), Some(1));
        assert_eq!(next_look(Some(1), false, Some(2)), Some(2));
        assert_eq!(next_look(Some(1), false, None), None);
    }

    /// Who waits for the next one that comes due is told of it with the end that delays it.
    #[tokio::test]
    async fn a_try_that_is_followed_by_another_tells_when() {
        let hand = Arc::new(AtomicU64::new(1_000_000));
        let jobs = Jobs::new(&Store::in_memory(Clock::manual(hand)).unwrap());
        let config = JobsConfig { concurrency: 3, keep: Duration::from_secs(60) };
        let running = Dispatcher::new(config, jobs.clone(), RunsHandle::stopped()).running;
        for backoff_ms in [300, 200] {
            jobs.add(NewJob { attempts: 2, backoff_ms, ..NewJob::new("a", "b", "{}") }).await.unwrap();
        }
        let taken = jobs.store().write(|connection, now| table::claim(connection, now, 2)).await.unwrap();
        let keys = taken.iter().map(|job| (job.id, job.attempt));
        running.ended.borrow_mut().extend(keys.map(|key| (key, TryEnd::Failed("no".to_owned()))));
        assert_eq!(running.write_ends().await, Some(1_000_200));
    }

    /// Ends are written together, and each comes to what it is by itself.
    #[tokio::test]
    async fn ends_are_written_together_and_make_room() {
        let jobs = Jobs::new(&Store::in_memory(Clock::system()).unwrap());
        let config = JobsConfig { concurrency: 3, keep: Duration::from_secs(60) };
        let running = Dispatcher::new(config, jobs.clone(), RunsHandle::stopped()).running;
        for _ in 0..3 {
            jobs.add(NewJob::new("a", "b", "{}")).await.unwrap();
        }
        let taken = jobs.store().write(|connection, now| table::claim(connection, now, 3)).await.unwrap();
        let ends = [TryEnd::Completed(None), TryEnd::Failed("no".to_owned())];
        for (job, end) in taken.iter().zip(ends) {
            let key = (job.id, job.attempt);
            running.tasks.borrow_mut().insert(key, tokio::spawn(std::future::pending::<()>()).abort_handle());
            running.ended.borrow_mut().insert(key, end);
        }
        // A try of which somebody else has written the end.
        let key = (taken[2].id, taken[2].attempt);
        let gone = jobs.store().write(move |connection, now| table::finish(connection, now, key, &TryEnd::Interrupted));
        gone.await.unwrap();
        running.ended.borrow_mut().insert(key, TryEnd::Completed(None));
        assert_eq!(running.write_ends().await, None);
        let mut states = Vec::new();
        for job in &taken {
            states.push(jobs.job("a", job.id).await.unwrap().unwrap().state);
        }
        assert_eq!(states, [JobState::Completed, JobState::Failed, JobState::Waiting]);
        assert!(running.tasks.borrow().is_empty() && running.ended.borrow().is_empty());
    }
}
