//! What this process knows of jobs without asking the store: who waits for which, which have not ended, and what the last that
//! were completed gave.

use std::collections::{HashMap, VecDeque};

use tokio::sync::oneshot;

use super::job::{Job, JobState};

/// Jobs that have not ended and are remembered; of others the store is asked.
const OPEN: usize = 100_000;
/// Results that are remembered.
const RESULTS: usize = 16_384;
/// Octets of them together.
const RESULT_BYTES: usize = 4 << 20;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Known {
    waiting: HashMap<i64, Vec<oneshot::Sender<Job>>>,
    /// Whose they are.
    open: HashMap<i64, String>,
    results: HashMap<i64, Completed>,
    /// Those of `results`, the oldest first.
    order: VecDeque<i64>,
    result_bytes: usize,
}

/// A job of which nothing changes any more.
#[derive(Debug)]
struct Completed {
    account: String,
    result: Option<String>,
}

impl Completed {
    fn bytes(&self) -> usize {
        self.account.len() + self.result.as_ref().map_or(0, String::len)
    }
}

/// How a job ended for whoever asked for its result.
#[derive(Clone, Debug, PartialEq)]
pub enum JobEnd {
    /// What it gave: JSON.
    Completed(Option<String>),
    Failed(Box<Job>),
}

impl From<Job> for JobEnd {
    fn from(job: Job) -> Self {
        if job.state == JobState::Completed { Self::Completed(job.result) } else { Self::Failed(Box::new(job)) }
    }
}

/// What is known of a job.
#[derive(Debug)]
pub(super) enum Knowledge {
    Ended(JobEnd),
    /// It has not ended, and its end will be told.
    Open(oneshot::Receiver<Job>),
    /// The store has to be asked.
    Nothing,
}

impl Known {
    /// A job has been added; it is not on disk yet.
    pub(super) fn added(&mut self, id: i64, account: &str) {
        // A number is given again when the write that it was first given in fails.
        if self.open.len() < OPEN || self.open.contains_key(&id) {
            self.open.insert(id, account.to_owned());
        }
    }

    /// What is known of the account's job.
    pub(super) fn of(&mut self, account: &str, id: i64) -> Knowledge {
        if let Some(completed) = self.results.get(&id).filter(|completed| completed.account == account) {
            return Knowledge::Ended(JobEnd::Completed(completed.result.clone()));
        }
        let is_open = self.open.get(&id).is_some_and(|owner| owner == account);
        if is_open { Knowledge::Open(self.tell_of(id)) } else { Knowledge::Nothing }
    }

    /// The end of a job, once it has one.
    pub(super) fn tell_of(&mut self, id: i64) -> oneshot::Receiver<Job> {
        let (teller, told) = oneshot::channel();
        self.waiting.entry(id).or_default().push(teller);
        told
    }

    /// Somebody who waited for a job's end no longer does.
    pub(super) fn no_longer_waited_for(&mut self, id: i64) {
        if let Some(tellers) = self.waiting.get_mut(&id) {
            tellers.retain(|teller| !teller.is_closed());
            if tellers.is_empty() {
                self.waiting.remove(&id);
            }
        }
    }

    /// The store says that a job has ended.
    pub(super) fn over(&mut self, id: i64) {
        self.open.remove(&id);
    }

    /// Jobs that are remembered because they have not ended, and those that somebody waits for.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.open.len(), self.waiting.len())
    }

    /// A job has ended, and its end is on disk: whoever waits for it is told.
    pub(super) fn ended(&mut self, job: &Job) {
        self.over(job.id);
        // One that failed may be tried again, by another process too.
        if job.state == JobState::Completed {
            self.remember(job.id, Completed { account: job.account.clone(), result: job.result.clone() });
        }
        for teller in self.waiting.remove(&job.id).into_iter().flatten() {
            // Whoever waited may have gone.
            let _ = teller.send(job.clone());
        }
    }

    fn remember(&mut self, id: i64, completed: Completed) {
        self.result_bytes += completed.bytes();
        if let Some(before) = self.results.insert(id, completed) {
            self.result_bytes -= before.bytes();
        } else {
            self.order.push_back(id);
        }
        while self.order.len() > RESULTS || self.result_bytes > RESULT_BYTES {
            let Some(oldest) = self.order.pop_front() else { break };
            self.result_bytes -= self.results.remove(&oldest).map_or(0, |gone| gone.bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::JobKind;

    fn job(id: i64, state: JobState, result: &str) -> Job {
        Job {
            id,
            account: "a".to_owned(),
            queue: "work".to_owned(),
            script: "work".to_owned(),
            function: None,
            kind: JobKind::Job,
            state,
            data: "{}".to_owned(),
            priority: 0,
            attempts: 1,
            attempt: 1,
            redelivered: 0,
            backoff_ms: 0,
            timeout_ms: None,
            due_ms: 0,
            progress: None,
            result: Some(result.to_owned()),
            error: None,
            created_ms: 0,
            started_ms: None,
            finished_ms: None,
            absent_ms: None,
        }
    }

    #[test]
    fn the_store_is_asked_only_for_what_is_not_known() {
        let mut known = Known::default();
        known.added(1, "a");
        assert!(matches!(known.of("a", 1), Knowledge::Open(_)));
        assert!(matches!(known.of("b", 1), Knowledge::Nothing), "another account's");
        assert!(matches!(known.of("a", 2), Knowledge::Nothing));
        known.ended(&job(1, JobState::Completed, "7"));
        let Knowledge::Ended(end) = known.of("a", 1) else { panic!("it has ended") };
        assert_eq!(end, JobEnd::Completed(Some("7".to_owned())));
        assert!(matches!(known.of("b", 1), Knowledge::Nothing), "another account's");
    }

    #[test]
    fn of_one_that_failed_the_store_is_asked() {
        let mut known = Known::default();
        known.added(1, "a");
        known.ended(&job(1, JobState::Failed, "null"));
        assert!(matches!(known.of("a", 1), Knowledge::Nothing));
    }

    #[test]
    fn all_who_wait_are_told() {
        let mut known = Known::default();
        known.added(1, "a");
        let (Knowledge::Open(mut one), Knowledge::Open(mut two)) = (known.of("a", 1), known.of("a", 1)) else {
            panic!("it has not ended")
        };
        let ended = job(1, JobState::Completed, "7");
        known.ended(&ended);
        assert_eq!((one.try_recv(), two.try_recv()), (Ok(ended.clone()), Ok(ended)));
        assert!(known.waiting.is_empty());
    }

    #[test]
    fn the_oldest_results_make_room() {
        let mut known = Known::default();
        for id in 0..=RESULTS as i64 {
            known.ended(&job(id, JobState::Completed, "7"));
        }
        assert!(matches!(known.of("a", 0), Knowledge::Nothing));
        assert!(matches!(known.of("a", 1), Knowledge::Ended(_)));
        let large = "7".repeat(RESULT_BYTES / 2);
        for id in 0..3 {
            known.ended(&job(1_000_000 + id, JobState::Completed, &large));
        }
        assert_eq!(known.results.len(), known.order.len());
        assert!(known.results.len() < 3 && known.result_bytes <= RESULT_BYTES);
        assert_eq!(known.result_bytes, known.results.values().map(Completed::bytes).sum::<usize>());
    }
}
