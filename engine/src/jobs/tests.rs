//! Jobs in the store, on a clock that the test moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::table::{self, TryEnd};
use super::*;
use crate::store::Clock;

struct Office {
    jobs: Jobs,
    hand: Arc<AtomicU64>,
}

impl Office {
    fn new() -> Self {
        let hand = Arc::new(AtomicU64::new(1_000_000));
        let store = Store::in_memory(Clock::manual(Arc::clone(&hand))).unwrap();
        Self { jobs: Jobs::new(&store), hand }
    }

    fn pass(&self, ms: u64) {
        self.hand.fetch_add(ms, Ordering::SeqCst);
    }

    async fn add(&self, change: impl FnOnce(&mut NewJob)) -> i64 {
        let mut new = NewJob::new("a", "work", "{}");
        change(&mut new);
        self.jobs.add(new).await.unwrap()
    }

    async fn claim(&self, limit: usize) -> Vec<i64> {
        let claimed = self.jobs.store().write(move |connection, now| table::claim(connection, now, limit)).await.unwrap();
        claimed.into_iter().map(|job| job.id).collect()
    }

    async fn finish(&self, id: i64, attempt: u32, end: TryEnd) {
        self.jobs.store().write(move |connection, now| table::finish(connection, now, (id, attempt), &end)).await.unwrap();
    }

    async fn job(&self, id: i64) -> Job {
        self.jobs.job("a", id).await.unwrap().unwrap()
    }

    async fn state(&self, id: i64) -> JobState {
        self.job(id).await.state
    }
}

fn failed() -> TryEnd {
    TryEnd::Failed("no".to_owned())
}

/// What the account's jobs take.
async fn bytes(office: &Office) -> u64 {
    office.jobs.store().read(|connection, _| crate::store::usage::of(connection, "a", "jobs")).await.unwrap().bytes
}

#[tokio::test]
async fn what_jobs_take_is_counted_until_they_are_forgotten() {
    let office = Office::new();
    let id = office.add(|new| new.data = "[1]".to_owned()).await;
    assert_eq!(bytes(&office).await, 3);
    office.claim(1).await;
    for (progress, expected) in [("10", 5), ("5", 4)] {
        office.jobs.store().write(move |connection, _| table::set_progress(connection, id, 1, progress)).await.unwrap();
        assert_eq!(bytes(&office).await, expected);
    }
    office.finish(id, 1, TryEnd::Completed(Some("1234".to_owned()))).await;
    assert_eq!(bytes(&office).await, 8);
    office.jobs.store().write(|connection, now| table::forget(connection, now + 1, 10)).await.unwrap();
    assert_eq!(bytes(&office).await, 0);
}

#[tokio::test]
async fn a_list_ends_where_it_becomes_large_and_goes_on_from_there() {
    let office = Office::new();
    let large = format!("\"{}\"", "x".repeat(1_000_000));
    for _ in 0..6 {
        office.add(|new| new.data.clone_from(&large)).await;
    }
    let page = async |before| {
        let filter = JobFilter { before, ..JobFilter::default() };
        let jobs = office.jobs.list("a", filter, 100).await.unwrap();
        jobs.iter().map(|job| job.id).collect::<Vec<_>>()
    };
    assert_eq!((page(None).await, page(Some(2)).await), (vec![6, 5, 4, 3, 2], vec![1]));
}

#[tokio::test]
async fn a_result_that_is_too_large_fails_its_job() {
    let office = Office::new();
    let id = office.add(|new| new.attempts = 3).await;
    office.claim(1).await;
    office.finish(id, 1, TryEnd::Completed(Some(format!("\"{}\"", "x".repeat(1 << 20))))).await;
    let job = office.job(id).await;
    assert_eq!((job.state, job.result), (JobState::Failed, None));
    assert!(job.error.unwrap().starts_with("the result cannot be kept"));
}

#[tokio::test]
async fn those_without_a_priority_come_first_then_the_lowest_number_then_the_oldest() {
    let office = Office::new();
    let low = office.add(|new| new.priority = 9).await;
    let high = office.add(|new| new.priority = 1).await;
    let plain = office.add(|_| ()).await;
    let later = office.add(|_| ()).await;
    assert_eq!(office.state(high).await, JobState::Prioritized);
    assert_eq!(office.claim(3).await, [plain, later, high]);
    assert_eq!((office.state(plain).await, office.state(low).await), (JobState::Active, JobState::Prioritized));
    assert_eq!(office.claim(3).await, [low]);
    assert_eq!(office.claim(3).await, [0; 0]);
}

#[tokio::test]
async fn a_delayed_job_waits_for_its_time() {
    let office = Office::new();
    let id = office.add(|new| new.delay_ms = 500).await;
    assert_eq!(office.state(id).await, JobState::Delayed);
    let due = office.jobs.store().read(|connection, _| table::next_due(connection)).await.unwrap();
    assert_eq!(due, Some(1_000_500));
    office.pass(499);
    assert_eq!(office.claim(1).await, [0; 0]);
    office.pass(1);
    assert_eq!(office.claim(1).await, [id]);
}

#[tokio::test]
async fn jobs_that_have_not_ended_are_counted_by_their_state() {
    let office = Office::new();
    for _ in 0..2 {
        office.add(|_| ()).await;
    }
    office.claim(1).await;
    office.add(|new| new.delay_ms = 500).await;
    let expected = [(JobState::Waiting, 1), (JobState::Delayed, 1), (JobState::Active, 1), (JobState::Paused, 0)];
    assert_eq!(office.jobs.counts().await.unwrap(), expected);
}

#[tokio::test]
async fn tries_are_further_and_further_apart_and_then_over() {
    let office = Office::new();
    let id = office.add(|new| (new.attempts, new.backoff_ms) = (4, 100)).await;
    for (attempt, wait) in [(1, 100), (2, 200), (3, 400)] {
        assert_eq!(office.claim(1).await, [id]);
        office.finish(id, attempt, failed()).await;
        assert_eq!(office.state(id).await, JobState::Delayed);
        office.pass(wait - 1);
        assert_eq!(office.claim(1).await, [0; 0], "after try {attempt}");
        office.pass(1);
    }
    assert_eq!(office.claim(1).await, [id]);
    office.finish(id, 4, failed()).await;
    let job = office.job(id).await;
    assert_eq!((job.state, job.error.as_deref(), job.attempt), (JobState::Failed, Some("no"), 4));
    let again = office.jobs.retry("a", id).await.unwrap();
    assert_eq!((again.state, again.attempt, again.error), (JobState::Waiting, 0, None));
}

#[tokio::test]
async fn the_end_of_a_try_that_is_not_under_way_counts_for_nothing() {
    let office = Office::new();
    let id = office.add(|new| new.attempts = 2).await;
    office.claim(1).await;
    office.finish(id, 2, TryEnd::Completed(Some("1".to_owned()))).await;
    assert_eq!(office.state(id).await, JobState::Active);
    office.finish(id, 1, TryEnd::Completed(Some("2".to_owned()))).await;
    office.finish(id, 1, failed()).await;
    let job = office.job(id).await;
    assert_eq!((job.state, job.result.as_deref()), (JobState::Completed, Some("2")));
}

#[tokio::test]
async fn a_job_that_was_lost_with_its_process_runs_again_and_no_try_is_counted() {
    let office = Office::new();
    let id = office.add(|_| ()).await;
    for round in 1..=20 {
        assert_eq!(office.claim(1).await, [id]);
        assert_eq!(office.jobs.store().write(table::redeliver).await.unwrap(), 1);
        let job = office.job(id).await;
        assert_eq!((job.state, job.attempt, job.redelivered), (JobState::Waiting, 0, round));
    }
    office.claim(1).await;
    office.jobs.store().write(table::redeliver).await.unwrap();
    let job = office.job(id).await;
    assert_eq!((job.state, job.error.as_deref()), (JobState::Failed, Some("the engine went down 21 times while it ran")));
}

#[tokio::test]
async fn a_paused_queue_holds_its_jobs_back_whatever_they_were() {
    let office = Office::new();
    let before = office.add(|_| ()).await;
    let delayed = office.add(|new| new.delay_ms = 10).await;
    let other = office.add(|new| new.queue = "other".to_owned()).await;
    office.jobs.pause("a", "work").await.unwrap();
    let after = office.add(|_| ()).await;
    office.pass(10);
    assert_eq!(office.claim(9).await, [other]);
    for id in [before, delayed, after] {
        assert_eq!(office.state(id).await, JobState::Paused);
    }
    office.jobs.resume("a", "work").await.unwrap();
    assert_eq!(office.claim(9).await, [before, delayed, after]);
}

#[tokio::test]
async fn an_account_pauses_a_thousand_queues_and_no_more() {
    let office = Office::new();
    let fill =
        |connection: &_, _| (0..1_000).try_for_each(|number| table::set_paused(connection, "a", &format!("q{number}"), true));
    office.jobs.store().write(fill).await.unwrap();
    assert!(office.jobs.pause("a", "another").await.is_err());
    assert!(office.jobs.pause("a", "q7").await.is_ok(), "it is paused already");
    assert!(office.jobs.pause("b", "another").await.is_ok(), "somebody else's");
    office.jobs.resume("a", "q7").await.unwrap();
    assert!(office.jobs.pause("a", "another").await.is_ok());
}

#[tokio::test]
async fn a_job_that_has_not_begun_can_be_cancelled_once() {
    let office = Office::new();
    let id = office.add(|_| ()).await;
    let job = office.jobs.cancel("a", id).await.unwrap();
    assert_eq!((job.state, job.error.as_deref()), (JobState::Failed, Some("cancelled")));
    assert!(office.jobs.cancel("a", id).await.unwrap_err().to_string().contains("nothing to cancel"));
    assert!(office.jobs.cancel("b", id).await.unwrap_err().to_string().contains("no job"), "another account's");
    assert_eq!(office.claim(1).await, [0; 0]);
}

#[tokio::test]
async fn a_job_that_another_engine_runs_is_cancelled_there() {
    let office = Office::new();
    let id = office.add(|_| ()).await;
    office.claim(1).await;
    let refused = office.jobs.cancel("a", id).await.unwrap_err().to_string();
    assert!(refused.contains("is active in another engine"), "{refused}");
}

#[tokio::test]
async fn whoever_waits_is_told_of_the_end_on_disk() {
    let office = Office::new();
    let id = office.add(|_| ()).await;
    let mut ended = Box::pin(office.jobs.ended("a", id));
    assert!(futures_util::future::FutureExt::now_or_never(ended.as_mut()).is_none());
    office.claim(1).await;
    office.finish(id, 1, TryEnd::Completed(None)).await;
    office.jobs.tell(&office.jobs.job("a", id).await.unwrap().unwrap());
    assert_eq!(ended.await.unwrap().state, JobState::Completed);
}

#[tokio::test]
async fn nothing_is_remembered_of_a_job_that_another_process_has_ended() {
    let office = Office::new();
    let id = office.add(|_| ()).await;
    let mut given_up = Box::pin(office.jobs.result("a", id));
    assert!(futures_util::future::FutureExt::now_or_never(given_up.as_mut()).is_none());
    drop(given_up);
    assert_eq!(office.jobs.inner.known().counts(), (1, 0), "nobody waits any more");
    office.claim(1).await;
    office.finish(id, 1, TryEnd::Completed(None)).await;
    assert_eq!(office.jobs.result("a", id).await.unwrap(), JobEnd::Completed(None));
    assert_eq!(office.jobs.inner.known().counts(), (0, 0));
}

#[tokio::test]
async fn what_a_job_gave_is_known_without_the_store_and_to_its_account_only() {
    let office = Office::new();
    office.jobs.inner.runs_here.store(true, Relaxed);
    let id = office.add(|_| ()).await;
    let mut result = Box::pin(office.jobs.result("a", id));
    assert!(futures_util::future::FutureExt::now_or_never(result.as_mut()).is_none());
    office.claim(1).await;
    office.finish(id, 1, TryEnd::Completed(Some("7".to_owned()))).await;
    office.jobs.tell(&office.job(id).await);
    let seven = JobEnd::Completed(Some("7".to_owned()));
    assert_eq!(result.await.unwrap(), seven);
    office.jobs.store().write(|connection, _| table::forget(connection, u64::MAX >> 1, 10)).await.unwrap();
    assert_eq!(office.jobs.result("a", id).await.unwrap(), seven);
    assert!(office.jobs.result("b", id).await.unwrap_err().to_string().contains("no job"), "another account's");
}

#[tokio::test]
async fn a_job_that_is_tried_again_after_it_had_failed_is_waited_for() {
    let office = Office::new();
    office.jobs.inner.runs_here.store(true, Relaxed);
    let id = office.add(|_| ()).await;
    office.claim(1).await;
    office.finish(id, 1, failed()).await;
    office.jobs.tell(&office.job(id).await);
    assert!(matches!(office.jobs.result("a", id).await.unwrap(), JobEnd::Failed(job) if job.error.as_deref() == Some("no")));
    office.jobs.retry("a", id).await.unwrap();
    let mut result = Box::pin(office.jobs.result("a", id));
    assert!(futures_util::future::FutureExt::now_or_never(result.as_mut()).is_none());
    office.claim(1).await;
    office.finish(id, 1, TryEnd::Completed(None)).await;
    office.jobs.tell(&office.job(id).await);
    assert_eq!(result.await.unwrap(), JobEnd::Completed(None));
}

#[tokio::test]
async fn a_job_waits_for_its_script_for_a_day_and_no_try_counts_meanwhile() {
    let absent = || TryEnd::Absent("no script work".to_owned());
    let office = Office::new();
    let id = office.add(|new| new.attempts = 2).await;
    let mut looks = 0;
    let mut waits = Vec::new();
    loop {
        assert_eq!(office.claim(1).await, [id]);
        office.finish(id, 1, absent()).await;
        let job = office.job(id).await;
        looks += 1;
        if job.state.is_final() {
            break;
        }
        assert_eq!((job.state, job.attempt, job.error.as_deref()), (JobState::Delayed, 0, Some("no script work")));
        let wait = job.due_ms - office.hand.load(Ordering::SeqCst);
        waits.push(wait);
        office.pass(wait - 1);
        assert_eq!(office.claim(1).await, [0; 0]);
        office.pass(1);
    }
    assert_eq!(waits[..8], [1_000, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000]);
    assert!((1_440..1_460).contains(&looks), "{looks}");
    assert_eq!(office.job(id).await.state, JobState::Failed);

    // One whose script comes back has all of its tries.
    office.jobs.retry("a", id).await.unwrap();
    office.claim(1).await;
    office.finish(id, 1, absent()).await;
    assert_eq!(office.state(id).await, JobState::Delayed, "the day begins anew");
    office.pass(1_000);
    office.claim(1).await;
    office.finish(id, 1, failed()).await;
    assert_eq!((office.job(id).await.attempt, office.job(id).await.absent_ms), (1, None));
}

#[tokio::test]
async fn ended_jobs_are_forgotten_after_a_while_and_make_room() {
    let office = Office::new();
    let id = office.add(|_| ()).await;
    office.claim(1).await;
    office.finish(id, 1, TryEnd::Completed(None)).await;
    let forget = |before: u64| office.jobs.store().write(move |connection, _| table::forget(connection, before, 10));
    assert_eq!(forget(1_000_000).await.unwrap(), 0);
    assert_eq!(forget(1_000_001).await.unwrap(), 1);
    assert_eq!(office.jobs.job("a", id).await.unwrap(), None);
    let usage = office.jobs.store().read(|connection, _| crate::store::usage::of(connection, "a", "jobs")).await.unwrap();
    assert_eq!(usage.entries, 0);
}

#[tokio::test]
async fn a_list_shows_what_was_asked_for() {
    let office = Office::new();
    let one = office.add(|_| ()).await;
    let two = office.add(|new| new.priority = 1).await;
    let three = office.add(|new| new.queue = "other".to_owned()).await;
    let list = async |filter: JobFilter| {
        let jobs = office.jobs.list("a", filter, 10).await.unwrap();
        jobs.into_iter().map(|job| job.id).collect::<Vec<_>>()
    };
    assert_eq!(list(JobFilter::default()).await, [three, two, one]);
    assert_eq!(list(JobFilter { state: Some(JobState::Prioritized), ..JobFilter::default() }).await, [two]);
    assert_eq!(list(JobFilter { queue: Some("work".to_owned()), before: Some(two), ..JobFilter::default() }).await, [one]);
}
