//! Jobs under `kill -9` of the engine and of its workers: each runs to its end, and none begins again that was not redelivered.

use std::collections::BTreeMap;

use lockstep_tests::engine::{Engine, until};
use serde_json::Value;

const JOBS: usize = 1_000;
/// Times the engine is killed, each after another share of the jobs is done.
const CRASHES: usize = 4;

const WORK: &str = "
const { incr } = require('cxKV');
const { add } = require('cxJob');

async function main({ n }) {
  const runs = await incr(`begun:${n}`);
  await new Promise((resolve) => setTimeout(resolve, 5));
  await incr(`ended:${n}`);
  return { n, runs };
}

async function feed({ count }) {
  const jobs = Array.from({ length: count }, (_, n) => add('work', 'main', { n }));
  return (await Promise.all(jobs)).length;
}

module.exports = { main, feed };
";

/// Jobs of the engine by number.
async fn jobs(engine: &Engine, query: &str) -> BTreeMap<i64, Value> {
    let listed = engine.get(&format!("/v1/jobs?limit=1000{query}")).await;
    let jobs = listed["jobs"].as_array().expect("a list").clone();
    jobs.into_iter().map(|job| (job["id"].as_i64().expect("a number"), job)).collect()
}

/// Waits until so many jobs are done, killing a worker meanwhile (a run whose workers die twice at the same turn is given up, so a
/// second one is not); how many were killed.
async fn done(engine: &Engine, wanted: usize) -> usize {
    let mut killed = 0;
    let mut may_kill = true;
    until(&format!("{wanted} jobs that are done"), async || {
        if jobs(engine, "&state=completed").await.len() >= wanted {
            return true;
        }
        if may_kill && let Some(worker) = engine.workers().first() {
            may_kill = false;
            // SAFETY: kill takes two numbers; the process is a worker of our engine.
            killed += usize::from(unsafe { libc::kill(worker.cast_signed(), libc::SIGKILL) } == 0);
        }
        false
    })
    .await;
    killed
}

/// What the jobs have counted under a key.
async fn count(engine: &Engine, key: &str) -> u64 {
    let value = engine.get(&format!("/v1/kv/{key}")).await;
    value["value"].as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{key} left no trace: {value}"))
}

#[tokio::test]
async fn every_job_ends_though_engine_and_workers_are_killed_again_and_again() {
    let mut engine = Engine::setup().script("work.js", WORK).config("[jobs]\nconcurrency = 40").start();
    let feed = format!(r#"{{"fn":"feed","data":{{"count":{JOBS}}},"timeout_ms":60000}}"#);
    let (status, body) = engine.request("POST", "/v1/scripts/work/run", &feed).await;
    assert_eq!(status, 200, "{body}");

    let mut workers_killed = 0;
    for crash in 1..=CRASHES {
        workers_killed += done(&engine, crash * JOBS / (CRASHES + 2)).await;
        engine = engine.crash_and_restart();
    }
    done(&engine, JOBS).await;
    assert!(workers_killed > 0, "no worker was killed in time");

    let ended = jobs(&engine, "").await;
    assert_eq!(ended.len(), JOBS);
    let mut redelivered = 0;
    for (id, job) in &ended {
        assert_eq!(job["state"], "completed", "{job}");
        let again = job["redelivered"].as_u64().expect("a count");
        redelivered += again;
        let n = &job["data"]["n"];
        let [begun, ended] = [count(&engine, &format!("begun:{n}")).await, count(&engine, &format!("ended:{n}")).await];
        assert!(begun >= 1 && begun <= again + 1, "job {id} began {begun} times, was redelivered {again} times");
        assert!(ended >= 1 && ended <= begun, "job {id} began {begun} times, ended {ended} times");
    }
    assert!(redelivered > 0, "the engine was never killed while a job ran");
}
