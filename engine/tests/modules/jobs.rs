//! `cxJob`

use crate::harness::{Scripts, failure};

const WORK: &str = "
    const { kv, incr } = require('cxKV');
    const cxJob = require('cxJob');
    module.exports = {
        main: (data) => ({ got: data, env: typeof process.env.JOB_ID }),
        async slow(data) { await cxJob.setProgress(50); return kv.get('done') },
        async flaky(data) {
            const tries = await incr('tries');
            await cxJob.setData({ tries });
            if (tries < 3) throw new Error('not yet');
            return data;
        },
        never() { throw new Error('no use') },
    };";

#[tokio::test]
async fn a_job_runs_and_its_result_comes_back() {
    let main = "
        import { add, scriptForge } from 'cxJob';
        export async function main() {
            const jobs = [await add('work', 'main', { n: 1 }), await add(1, null, [2], { priority: 2 }), await scriptForge('work', 'old')];
            const results = await Promise.all(jobs.map((job) => job.result));
            const state = await jobs[1].state();
            return [results, state.state, state.attempt, state.fn, state.queue];
        }";
    let scripts = Scripts::new(&[("work", WORK), ("main", main)]);
    let expected = concat!(
        r#"[[{"got":{"n":1},"env":"string"},{"got":[2],"env":"string"},{"got":"old","env":"string"}],"#,
        r#""completed",1,null,"work"]"#
    );
    assert_eq!(scripts.run("main", "{}").await.unwrap(), expected);
}

#[tokio::test]
async fn options_of_bull_and_bullmq_are_taken() {
    let main = "
        import { add, scriptForge } from 'cxJob';
        const bull = { attempts: 0, delay: -1e9, jobId: 'a', timeout: 5, lifo: true, keepLogs: 1, repeat: { every: 9 }, removeOnComplete: true };
        export async function main() {
            const jobs = [await add('work', 'main', 1, bull), await scriptForge('work', 2, { ...bull, nosuch: 1 })];
            return Promise.all(jobs.map(async (job) => [(await job.result).got, (await job.state()).attempts]));
        }";
    let scripts = Scripts::new(&[("work", WORK), ("main", main)]);
    assert_eq!(scripts.run("main", "{}").await.unwrap(), "[[1,1],[2,1]]");
}

#[tokio::test]
async fn a_job_is_tried_again_with_the_data_it_left() {
    let main = "
        import { add, get } from 'cxJob';
        export async function main() {
            const job = await add('work', 'flaky', {}, { attempts: 5, backoff_ms: 1 });
            return [await job.result, (await get(job.id)).attempt];
        }";
    let scripts = Scripts::new(&[("work", WORK), ("main", main)]);
    assert_eq!(scripts.run("main", "{}").await.unwrap(), r#"[{"tries":2},3]"#);
}

#[tokio::test]
async fn a_job_that_fails_says_why_and_where() {
    let main = "
        import { add } from 'cxJob';
        export async function main() {
            const job = await add('work', 'never', null);
            return job.result.catch((error) => [error.name, error.message, error.job.state]);
        }";
    let scripts = Scripts::new(&[("work", WORK), ("main", main)]);
    assert_eq!(scripts.run("main", "{}").await.unwrap(), r#"["JobFailed","Error: no use (work.js:13:29)","failed"]"#);
}

#[tokio::test]
async fn progress_is_seen() {
    let main = "
        import { add, get } from 'cxJob';
        export async function main() {
            const job = await add('work', 'slow');
            await job.result;
            return (await get(job.id)).progress;
        }";
    let scripts = Scripts::new(&[("work", WORK), ("main", main)]);
    assert_eq!(scripts.run("main", "{}").await.unwrap(), "50");
}

#[tokio::test]
async fn mistakes_are_named() {
    let main = |call: &str| format!("const cxJob = require('cxJob'); async function main() {{ return {call} }}");
    for (call, message) in [
        ("cxJob.add('nobody', 'main')", "NotFound: jobs.add: no script 'nobody'"),
        ("cxJob.add(undefined)", "TypeError: cxJob.add: `scriptId` must be a string, got undefined"),
        ("cxJob.add('main', 'main', {}, { attempts: -1 })", "RangeError: jobs.add: `attempts` must be 0 to 1000, got -1"),
        ("cxJob.add('main', 'main', {}, { lifo: true, nosuch: 1 })", "TypeError: cxJob.add: unknown option `nosuch`"),
        (
            "cxJob.add('main', 'main', {}, { timeout_ms: 0 })",
            "RangeError: jobs.add: `timeout_ms` must be 1 to 315576000000, got 0",
        ),
        (
            "cxJob.add('main', 'main', {}, { delay: Infinity })",
            "RangeError: cxJob.add: `delay` must be a finite number, got Infinity",
        ),
        (
            "cxJob.add('main', 'main', {}, { attempts: NaN })",
            "RangeError: cxJob.add: `attempts` must be a finite number, got NaN",
        ),
        ("cxJob.add('main', () => 1, {})", "TypeError: cxJob.add: `fn` must be a string, got function"),
        ("cxJob.add('main', '', {})", "TypeError: cxJob.add: `fn` must be the name of a function, got an empty string"),
        ("cxJob.add('main', 'main', () => 1)", "TypeError: cxJob.add: the value cannot be written as JSON, got function"),
        ("cxJob.setProgress(1)", "InvalidState: jobs.setProgress: this run is no job"),
    ] {
        assert_eq!(failure(&main(call)).await, message, "{call}");
    }
}
