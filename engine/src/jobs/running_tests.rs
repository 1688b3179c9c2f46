//! Schedules and jobs of a thread that works on them, with scripts in this process and a clock that the test moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::*;
use crate::config::Config;
use crate::fetch::{EgressPolicy, Fetcher};
use crate::platform::Platform;
use crate::runs::{RunsConfig, RunsHandle, RunsThread, ScriptPlace};
use crate::script::programs::Loader;
use crate::store::Clock;

/// Noon of 1 January 2026, UTC.
const NOON: u64 = 1_767_268_800_000;
const MINUTE: u64 = 60_000;
/// Ends a test that would hang.
const PATIENCE: Duration = Duration::from_secs(60);

const REPORT: &str = "// @lockstep schedule={ minutes = [5] }
const { incr } = require('cxKV');
exports.main = async ({ scheduled_at, schedule }) => ({ run: await incr('runs'), scheduled_at, minutes: schedule.minutes });";

#[tokio::test]
async fn a_schedule_fires_while_its_engine_runs_and_what_the_script_returned_is_kept_with_the_job() {
    let dir = std::env::temp_dir().join(format!("lockstep-jobs-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&dir).unwrap();
    // Its name is the file of another.
    std::fs::write(dir.join("report.js.ts"), REPORT).unwrap();
    std::fs::write(dir.join("report.js"), "exports.main = () => ({})").unwrap();
    let mut config = Config::default();
    config.scripts.dir.clone_from(&dir);
    let programs = Loader::new(&dir, &config).load().unwrap().set;
    std::fs::remove_dir_all(&dir).unwrap();

    let hand = Arc::new(AtomicU64::new(NOON));
    let platform = Platform::in_memory_at(&config, Clock::manual(Arc::clone(&hand))).unwrap();
    let (_programs, latest) = watch::channel(programs);
    let (handle, inbox) = RunsHandle::new(latest);
    let runs_config = RunsConfig {
        place: ScriptPlace::InProcess,
        fetcher: Fetcher::new(EgressPolicy::new(config.security)).unwrap(),
        services: platform.services.clone(),
        events: platform.events.clone(),
        journals: None,
    };
    let runs = RunsThread::start(runs_config, handle, inbox).unwrap();
    let jobs_config = JobsConfig { concurrency: 4, keep: Duration::from_secs(86_400) };
    let _thread = JobsThread::start(jobs_config, &platform.jobs, runs.handle()).unwrap();

    let looked_after = || {
        platform
            .jobs
            .store()
            .read(|connection, _| Ok(connection.query_row("SELECT count(*) FROM schedules", [], |row| row.get::<_, u64>(0))?))
    };
    until("the schedule to be seen", async || looked_after().await.unwrap() == 1).await;
    assert_eq!(platform.jobs.list("default", JobFilter::default(), 10).await.unwrap(), [], "nothing is due at noon");
    for (due, expected) in [(5 * MINUTE, 1), (65 * MINUTE, 2)] {
        hand.store(NOON + due + 300, Ordering::SeqCst);
        let done = async || {
            let jobs = platform.jobs.list("default", JobFilter::default(), 10).await.unwrap();
            jobs.len() == expected && jobs.iter().all(|job| job.state == JobState::Completed)
        };
        until("the job to be done", done).await;
        let newest = platform.jobs.list("default", JobFilter::default(), 10).await.unwrap().remove(0);
        let result: Value = serde_json::from_str(newest.result.as_deref().unwrap()).unwrap();
        assert_eq!(result, json!({ "run": expected, "scheduled_at": NOON + due, "minutes": [5] }));
        assert_eq!((newest.kind, newest.script.as_str()), (JobKind::Schedule, "report.js"));
    }
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}"));
}
