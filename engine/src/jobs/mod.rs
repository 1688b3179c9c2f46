//! Jobs: runs that are written down before they begin and until they have ended.
//!
//! A job is on disk once `add` has resolved, its result before anybody is told of it. In between the process may die at any moment:
//! the job runs again, so each runs at least once. One engine works on a store's jobs, which a lock on a file beside it ensures;
//! whoever gets the lock gives back what its forerunner had under way.

mod by_hand;
mod dispatcher;
mod job;
mod known;
#[cfg(test)]
mod running_tests;
mod table;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use lockstep_ctx_api::ErrorCode;
use serde_json::json;
use tokio::sync::{Notify, oneshot};

pub use dispatcher::{JobsConfig, JobsThread};
pub use job::{Job, JobKind, JobState, MAX_ATTEMPTS, MAX_MS, MAX_PRIORITY, NewJob};
pub use known::JobEnd;
pub use table::JobFilter;
pub(crate) use table::{add, set_data, set_progress};

use crate::alerts::Alert;
use crate::core::{EngineEvent, EventLog};
use crate::runs::{RunKind, RunsHandle};
use crate::script::ProgramSet;
use crate::script::programs::is_called;
use crate::store::{Place, Store, StoreError};
use known::{Knowledge, Known};

/// How often whoever waits for a job looks for himself where another process runs the jobs of the store.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The same where this process runs them: another may still have cancelled one.
const LOOK_SELDOM: Duration = Duration::from_secs(30);
/// The most jobs one list gives.
pub const MAX_LIST: usize = 1_000;

/// Asks for jobs, and about them. Clones share everything.
#[derive(Clone)]
pub struct Jobs {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    /// Something may run that could not before.
    changed: Notify,
    known: Mutex<Known>,
    /// Jobs that somebody is cancelling.
    cancelling: Mutex<Vec<i64>>,
    /// This process runs the jobs of the store, and so hears of their ends.
    runs_here: AtomicBool,
    /// Somebody [takes](Jobs::take) the jobs one by one.
    is_by_hand: AtomicBool,
    runs: OnceLock<RunsHandle>,
    /// The project's scripts, where this process knows them and runs none.
    scripts: OnceLock<Arc<ProgramSet>>,
    /// Told of how jobs get on.
    events: EventLog,
}

impl std::fmt::Debug for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jobs").field("store", &self.inner.store).finish_non_exhaustive()
    }
}

impl Jobs {
    /// The jobs of a store.
    pub fn new(store: &Store) -> Self {
        Self::with(store, EventLog::default())
    }

    /// Has watchers of `events` told of how jobs get on.
    #[must_use]
    pub fn telling(self, events: &EventLog) -> Self {
        Self::with(&self.inner.store, events.clone())
    }

    fn with(store: &Store, events: EventLog) -> Self {
        let (store, changed, known, runs) = (store.clone(), Notify::new(), Mutex::default(), OnceLock::new());
        let (cancelling, runs_here, scripts) = (Mutex::default(), AtomicBool::new(false), OnceLock::new());
        let is_by_hand = AtomicBool::new(false);
        Self { inner: Arc::new(Inner { store, changed, known, cancelling, runs_here, is_by_hand, runs, scripts, events }) }
    }

    /// The name of the account's script that is known as `script`: by name, file, uuid or number.
    ///
    /// # Errors
    /// When there is none. Where the scripts are not known, any name is taken: whoever runs the jobs knows.
    pub fn script(&self, account: &str, script: &str) -> Result<String, StoreError> {
        let find = |programs: &ProgramSet| {
            let found = programs.by_name(script).filter(|program| program.account == account);
            let found = found.map(|program| program.name.clone());
            found.ok_or_else(|| StoreError::refused(ErrorCode::NotFound, format!("no script '{script}'")))
        };
        if let Some(runs) = self.inner.runs.get() {
            return find(&runs.programs());
        }
        match self.inner.scripts.get() {
            // Of a file that cannot be run, the engine may have an earlier text.
            Some(scripts) if !scripts.problems().any(|problem| is_called(&problem.file, script)) => find(scripts),
            Some(_) | None => Ok(script.to_owned()),
        }
    }

    /// Says which scripts there are, where none of them is run. The first word counts.
    pub(crate) fn knows(&self, scripts: Arc<ProgramSet>) {
        // They are known already.
        let _ = self.inner.scripts.set(scripts);
    }

    /// Whether anybody can run the jobs: threads of this process, whoever takes them, or another process that has the file.
    pub(crate) fn can_run(&self) -> bool {
        self.inner.runs.get().is_some() || self.is_by_hand() || *self.inner.store.place() != Place::Memory
    }

    /// Adds a job; its number, once it is on disk. It is in line when this returns.
    pub fn add(&self, new: NewJob) -> impl Future<Output = Result<i64, StoreError>> + Send + 'static + use<> {
        let jobs = self.clone();
        let inner = Arc::clone(&self.inner);
        let added = self.inner.store.write(move |connection, now| {
            let id = table::add(connection, now, &new)?;
            // Before anybody can have it run, so that its end comes later.
            inner.known().added(id, &new.account);
            Ok(id)
        });
        async move {
            let id = added.await?;
            jobs.wake();
            Ok(id)
        }
    }

    /// A job of the account.
    pub async fn job(&self, account: &str, id: i64) -> Result<Option<Job>, StoreError> {
        let account = account.to_owned();
        let found = self.inner.store.read(move |connection, _| table::find(connection, id)).await?;
        Ok(found.filter(|job| job.account == account))
    }

    /// Jobs of the account, the newest first.
    pub async fn list(&self, account: &str, filter: JobFilter, limit: usize) -> Result<Vec<Job>, StoreError> {
        let account = account.to_owned();
        self.inner.store.report(move |connection, _| table::list(connection, &account, &filter, limit.min(MAX_LIST))).await
    }

    /// How many jobs of all accounts have not ended, by their state; those with a priority are among the waiting ones.
    pub async fn counts(&self) -> Result<[(JobState, u64); 4], StoreError> {
        self.inner.store.read(|connection, _| table::counts(connection)).await
    }

    /// Waits until a job has ended.
    ///
    /// # Errors
    /// When the account has no such job.
    pub async fn ended(&self, account: &str, id: i64) -> Result<Job, StoreError> {
        loop {
            let told = self.inner.known().tell_of(id);
            let mut told = Told { inner: &self.inner, id, told };
            let job = self.known(account, id).await?;
            if job.state.is_final() {
                self.inner.known().over(id);
                return Ok(job);
            }
            if let Some(job) = self.wait(&mut told).await {
                return Ok(job);
            }
        }
    }

    /// The same for whoever wants what the job gave: mostly that is known without asking the store.
    ///
    /// # Errors
    /// When the account has no such job.
    pub async fn result(&self, account: &str, id: i64) -> Result<JobEnd, StoreError> {
        if self.is_by_hand() {
            return self.result_by_hand(account, id).await;
        }
        let known = self.inner.known().of(account, id);
        match known {
            Knowledge::Ended(end) => return Ok(end),
            Knowledge::Open(told) => {
                let mut told = Told { inner: &self.inner, id, told };
                // Where another process runs the jobs, it is the one that knows.
                if self.inner.runs_here.load(Relaxed)
                    && let Some(job) = self.wait(&mut told).await
                {
                    return Ok(job.into());
                }
            }
            Knowledge::Nothing => {}
        }
        self.ended(account, id).await.map(JobEnd::from)
    }

    /// Waits to be told of a job's end, but not so long that it would be missed when nobody tells.
    async fn wait(&self, told: &mut Told<'_>) -> Option<Job> {
        let told = &mut told.told;
        // No other process has a store in memory.
        if *self.inner.store.place() == Place::Memory {
            return told.await.ok();
        }
        let look = if self.inner.runs_here.load(Relaxed) { LOOK_SELDOM } else { LOOK_EVERY };
        tokio::time::timeout(look, told).await.ok()?.ok()
    }

    /// Runs a failed job again.
    ///
    /// # Errors
    /// When the account has no such job, or it has not failed.
    pub async fn retry(&self, account: &str, id: i64) -> Result<Job, StoreError> {
        let job = self.known(account, id).await?;
        if !self.inner.store.write(move |connection, now| table::retry(connection, now, id)).await? {
            let message = format!("job {id} is {}: only a failed one can be tried again", job.state.name());
            return Err(StoreError::refused(ErrorCode::InvalidState, message));
        }
        self.wake();
        self.known(account, id).await
    }

    /// Ends a job: one that runs by ending its run, one that does not by failing it.
    ///
    /// # Errors
    /// When the account has no such job, or it has ended.
    pub async fn cancel(&self, account: &str, id: i64) -> Result<Job, StoreError> {
        let mut job = self.known(account, id).await?;
        if job.state.is_final() {
            let message = format!("job {id} is {}: there is nothing to cancel", job.state.name());
            return Err(StoreError::refused(ErrorCode::InvalidState, message));
        }
        // From here on no try of it is followed by another.
        let _wanted = Cancelling::new(&self.inner, id);
        // It may be between two states: its run over and not written down, or taken and not begun.
        while !job.state.is_final() {
            if self.inner.store.write(move |connection, now| table::cancel(connection, now, id)).await? {
                let job = self.known(account, id).await?;
                self.tell(&job);
                self.publish(&job);
                return Ok(job);
            }
            job = self.known(account, id).await?;
            if job.state != JobState::Active {
                continue;
            }
            let runs = self.inner.runs.get().filter(|_| self.inner.runs_here.load(Relaxed));
            match runs {
                None => {
                    let message = format!("job {id} is active in another engine on this store: it can be cancelled there");
                    return Err(StoreError::refused(ErrorCode::InvalidState, message));
                }
                Some(runs) if runs.is_stopped() => return Err(StoreError::Stopped),
                Some(runs) if runs.cancel(&run_id(&job)).await.is_ok() => return self.ended(account, id).await,
                Some(_) => {}
            }
        }
        Ok(job)
    }

    /// Whether somebody is cancelling a job.
    fn is_unwanted(&self, id: i64) -> bool {
        self.inner.cancelling().contains(&id)
    }

    /// Holds back a queue of the account; jobs that run go on.
    pub async fn pause(&self, account: &str, queue: &str) -> Result<(), StoreError> {
        self.set_paused(account, queue, true).await
    }

    /// Lets a queue go on.
    pub async fn resume(&self, account: &str, queue: &str) -> Result<(), StoreError> {
        self.set_paused(account, queue, false).await
    }

    /// Tells watchers what a job is now.
    fn publish(&self, job: &Job) {
        let events = &self.inner.events;
        if events.is_watched() {
            let now = self.inner.store.clock().now_ms();
            events.publish(now, Some(job.account.as_str().into()), EngineEvent::Job(Arc::new(job.clone())));
        }
    }

    /// Has somebody look at a job that has failed for good.
    fn raise(&self, job: &Job, error: &str) {
        let facts = json!({
            "job": job.id, "script": job.script, "fn": job.function, "queue": job.queue, "kind": job.kind, "attempts": job.attempt,
            "error": error,
        });
        let text = format!("job {} of {} failed: {error}", job.id, job.script);
        self.inner.events.raise(Alert::error("job-failed", &job.account.as_str().into(), text, job.script.clone(), facts));
    }

    /// Has the dispatcher look for jobs.
    pub(crate) fn wake(&self) {
        self.inner.changed.notify_one();
    }

    /// The store behind it.
    pub(crate) fn store(&self) -> &Store {
        &self.inner.store
    }

    async fn set_paused(&self, account: &str, queue: &str, paused: bool) -> Result<(), StoreError> {
        let (account, queue) = (account.to_owned(), queue.to_owned());
        self.inner.store.write(move |connection, _| table::set_paused(connection, &account, &queue, paused)).await?;
        self.wake();
        Ok(())
    }

    async fn known(&self, account: &str, id: i64) -> Result<Job, StoreError> {
        let found = self.job(account, id).await?;
        found.ok_or_else(|| StoreError::refused(ErrorCode::NotFound, format!("there is no job {id}")))
    }

    /// Tells whoever waits for a job that has ended, and whose end is on disk.
    fn tell(&self, job: &Job) {
        self.inner.known().ended(job);
    }
}

/// Somebody is to be told of a job's end, until dropped.
struct Told<'a> {
    inner: &'a Inner,
    id: i64,
    told: oneshot::Receiver<Job>,
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.told.close();
        self.inner.known().no_longer_waited_for(self.id);
    }
}

/// Somebody is cancelling a job, until dropped.
struct Cancelling<'a> {
    inner: &'a Inner,
    id: i64,
}

impl<'a> Cancelling<'a> {
    fn new(inner: &'a Inner, id: i64) -> Self {
        inner.cancelling().push(id);
        Self { inner, id }
    }
}

impl Drop for Cancelling<'_> {
    fn drop(&mut self) {
        let mut cancelling = self.inner.cancelling();
        if let Some(at) = cancelling.iter().position(|id| *id == self.id) {
            cancelling.swap_remove(at);
        }
    }
}

impl Inner {
    fn cancelling(&self) -> MutexGuard<'_, Vec<i64>> {
        self.cancelling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names the run of a job's try.
pub(crate) fn run_id(job: &Job) -> String {
    format!("job-{}-{}", job.id, job.attempt)
}

/// What the run of a job is for.
pub(crate) fn run_kind(job: &Job) -> RunKind {
    match job.kind {
        JobKind::Job => RunKind::Job,
        JobKind::Schedule => RunKind::Schedule,
    }
}

/// The job and its try that a run is, by the run's name.
pub(crate) fn job_of(run: &str) -> Option<(i64, u32)> {
    let (id, attempt) = run.strip_prefix("job-")?.split_once('-')?;
    Some((id.parse().ok()?, attempt.parse().ok()?))
}
