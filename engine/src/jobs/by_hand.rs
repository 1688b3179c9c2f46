//! Jobs of a store in memory that somebody takes one by one: whoever has the clock of a simulation.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use futures_util::FutureExt as _;

use super::dispatcher::end_of;
use super::known::JobEnd;
use super::{Job, Jobs, Told, table};
use crate::block_on::block_on;
use crate::runs::RunError;
use crate::script::ProgramSet;
use crate::store::StoreError;

impl Jobs {
    /// From now on somebody takes them; `scripts` are those there are.
    pub(crate) fn run_by_hand(&self, scripts: Arc<ProgramSet>) {
        self.knows(scripts);
        self.inner.is_by_hand.store(true, Relaxed);
    }

    pub(super) fn is_by_hand(&self) -> bool {
        self.inner.is_by_hand.load(Relaxed)
    }

    /// Whether something may run since the last time this was asked that could not before.
    pub(crate) fn have_changed(&self) -> bool {
        self.inner.changed.notified().now_or_never().is_some()
    }

    /// Takes up to `limit` jobs that may run: they are active from here on. And when the next of the others comes due, milliseconds since
    /// the Unix epoch.
    pub(crate) fn take(&self, limit: usize) -> Result<(Vec<Job>, Option<u64>), StoreError> {
        block_on(self.inner.store.write(move |connection, now| {
            let taken = table::claim(connection, now, limit)?;
            Ok((taken, table::next_due(connection)?))
        }))
    }

    /// Writes down what the run of a job that was taken came to, and tells whoever waits for it.
    pub(crate) fn over(&self, job: &Job, end: Result<Option<String>, RunError>) -> Result<(), StoreError> {
        let (key, end) = ((job.id, job.attempt), end_of(job, end));
        let after = block_on(self.inner.store.write(move |connection, now| table::finish(connection, now, key, &end)))?;
        if let Some(after) = after.filter(|after| after.state.is_final()) {
            self.tell(&after);
        }
        self.wake();
        Ok(())
    }

    /// As [`result`](Self::result), with no other wait than for the job: in virtual time the store answers at once.
    pub(super) async fn result_by_hand(&self, account: &str, id: i64) -> Result<JobEnd, StoreError> {
        let told = self.inner.known().tell_of(id);
        let mut told = Told { inner: &self.inner, id, told };
        let job = block_on(self.known(account, id))?;
        if job.state.is_final() {
            return Ok(job.into());
        }
        (&mut told.told).await.map(JobEnd::from).map_err(|_| StoreError::Stopped)
    }
}
