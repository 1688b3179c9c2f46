//! Scripts in real worker processes: killed, stuck, hostile; and what becomes of their neighbours.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use lockstep_ctx_api::error::{CallEndedCause, EndedBy};
use lockstep_ctx_api::event::CallFacts;
use lockstep_ctx_api::op::{Op, OpId, Vars};
use lockstep_ctx_api::outcome::{Outcome, PlayReason, Played};
use lockstep_ctx_api::wire::{Bundle, CallStart, EntryKind, RunId, ScriptErrorKind, ScriptType};
use lockstep_engine::config::ScriptEntry;
use lockstep_engine::script::supervisor::RunBounds;
use lockstep_engine::script::{
    Moment, PoolConfig, Program, ProgramLimits, ScriptHost, ScriptOutput, StartRun, TurnOutput, WorkerPool, digest_of, version_of,
};
use tokio::sync::Notify;

/// Longer than anything here takes, even on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

fn program(id: u64, source: &str, turn_ms: u32) -> Arc<Program> {
    let file = format!("test{id}.js");
    let sources = BTreeMap::from([(file.clone(), digest_of(source))]);
    Arc::new(Program {
        name: format!("test{id}"),
        file: file.clone(),
        uuid: format!("00000000-0000-8000-8000-{id:012}"),
        id: 1,
        script_type: ScriptType::App,
        account: "default".to_owned(),
        settings: ScriptEntry::new(file.clone()),
        limits: ProgramLimits { memory_bytes: 32 << 20, turn_ms, after_end_ms: 10_000 },
        time_zone: "UTC".into(),
        env: Vars::new(),
        environment: Default::default(),
        bundle_id: id,
        version: version_of(&file, &sources),
        sources,
        bundle: Arc::new(Bundle { entry: file.clone(), files: [(file, source.into())].into(), ..Bundle::default() }),
    })
}

/// A core that does nothing but remember.
struct Core {
    pool: WorkerPool,
    woken: Rc<Notify>,
    /// Every operation issued, in order, per run.
    issued: BTreeMap<RunId, Vec<(OpId, Op)>>,
    logs: BTreeMap<RunId, Vec<String>>,
    finished: BTreeSet<RunId>,
    failed: BTreeMap<RunId, ScriptErrorKind>,
}

impl Core {
    fn new(workers: usize) -> Self {
        let woken = Rc::new(Notify::new());
        let wake = Rc::clone(&woken);
        let config = PoolConfig { program: PathBuf::from(env!("CARGO_BIN_EXE_lockstep")), workers, bounds: RunBounds::default() };
        Self {
            pool: WorkerPool::new(config, move || wake.notify_one()),
            woken,
            issued: BTreeMap::new(),
            logs: BTreeMap::new(),
            finished: BTreeSet::new(),
            failed: BTreeMap::new(),
        }
    }

    fn start(&mut self, program: &Arc<Program>) -> RunId {
        let call = CallStart { facts: CallFacts { id: "c".into(), ..CallFacts::default() }, ..CallStart::default() };
        let run = StartRun {
            program: Arc::clone(program),
            function: None,
            data: "{}".into(),
            call: Some(call),
            env: Vars::new(),
            seed: [1; 32],
            is_awaited: false,
        };
        self.pool.start(Moment::now(), run)
    }

    fn complete(&mut self, run: RunId, op: OpId) {
        let played = Played { played_ms: 1, reason: PlayReason::Completed, digit: None };
        self.pool.entry(Moment::now(), run, EntryKind::Outcome { op, result: Ok(Outcome::Played(played)) });
    }

    fn drain(&mut self) {
        while let Some(output) = self.pool.poll_output() {
            match output {
                ScriptOutput::Turn(run, TurnOutput { issued, .. }) => {
                    self.issued.entry(run).or_default().extend(issued.into_iter().map(|(id, op, _)| (id, op)));
                }
                ScriptOutput::Finished { run, .. } => assert!(self.finished.insert(run), "finished twice"),
                ScriptOutput::Failed { run, error } => {
                    assert_eq!(self.failed.insert(run, error.kind), None, "failed twice: {error}");
                }
                ScriptOutput::Log { run, line } => self.logs.entry(run).or_default().push(line.text),
                ScriptOutput::GraceOver { .. } | ScriptOutput::Stuck { .. } | ScriptOutput::Quiet { .. } => {}
            }
        }
    }

    async fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            self.drain();
            if done(self) {
                return;
            }
            let woken = Rc::clone(&self.woken);
            if tokio::time::timeout_at(deadline, woken.notified()).await.is_err() {
                panic!("waited in vain until {what}: {:?} {:?}", self.failed, self.pool.stats());
            }
        }
    }

    fn issued(&self, run: RunId) -> usize {
        self.issued.get(&run).map_or(0, Vec::len)
    }
}

fn with_core(workers: usize, test: impl AsyncFnOnce(Core)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async { test(Core::new(workers)).await });
}

/// As from a shell: not through the pool, which must find out by itself.
fn kill(pid: u32) {
    let status = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    assert!(status.success());
}

const PLAYLIST: &str = "
async function main(data, ctx) {
  const order = [];
  for (let i = 0; i < 20; i++) {
    console.log('line ' + i + ' ' + Math.random());
    order.push((await ctx.play('user/' + i + '.wav')).played_ms);
  }
  return order.length;
}";

#[test]
fn fifty_calls_go_on_where_they_were_when_a_worker_is_killed() {
    with_core(2, async |mut core| {
        let program = program(1, PLAYLIST, 2_000);
        let runs: Vec<RunId> = (0..50).map(|_| core.start(&program)).collect();
        core.until("all have begun", |core| runs.iter().all(|run| core.issued(*run) == 1)).await;

        for round in 0..20 {
            if round % 5 == 2 {
                let pids = core.pool.worker_pids();
                kill(pids[round / 5 % pids.len()]);
            }
            for run in &runs {
                let (op, _) = core.issued[run][round].clone();
                core.complete(*run, op);
            }
            core.until("everyone is one step further", |core| {
                runs.iter().all(|run| core.issued(*run) > round + 1 || core.finished.contains(run))
            })
            .await;
        }

        core.until("all have finished", |core| core.finished.len() == runs.len()).await;
        assert_eq!(core.failed, BTreeMap::new());
        assert!(core.pool.stats().worker_deaths >= 3);
        for run in &runs {
            let played: Vec<String> = core.issued[run]
                .iter()
                .map(|(_, op)| match op {
                    Op::Play(args) => args.sources.concat(),
                    other => panic!("{other:?}"),
                })
                .collect();
            let expected: Vec<String> = (0..20).map(|i| format!("user/{i}.wav")).collect();
            assert_eq!(played, expected, "each prompt once and in order");
            assert_eq!(core.logs[run].len(), 20, "each line once: {:?}", core.logs[run]);
        }
    });
}

#[test]
fn a_script_stuck_in_one_built_in_is_killed_alone_and_its_neighbours_do_not_wait() {
    with_core(1, async |mut core| {
        let stuck = program(
            1,
            "async function main(data, ctx) {
               await ctx.answer();
               const big = new Uint8Array(20_000_000);
               for (;;) big.fill(1);
             }",
            2_000,
        );
        let neighbour = program(2, PLAYLIST, 2_000);
        let stuck = core.start(&stuck);
        let neighbours: Vec<RunId> = (0..10).map(|_| core.start(&neighbour)).collect();
        core.until("all have begun", |core| core.issued(stuck) == 1 && neighbours.iter().all(|run| core.issued(*run) == 1)).await;

        let (answer, _) = core.issued[&stuck][0].clone();
        core.pool.entry(Moment::now(), stuck, EntryKind::Outcome { op: answer, result: Ok(Outcome::Unit) });
        for step in 0..19 {
            for run in &neighbours {
                let (op, _) = core.issued[run][step].clone();
                core.complete(*run, op);
            }
            core.until("the neighbours go on", |core| neighbours.iter().all(|run| core.issued(*run) > step + 1)).await;
        }
        assert!(core.failed.is_empty(), "they have not waited for its end, which takes 2 s of CPU time");
        core.until("the stuck one has been ended", |core| core.failed.contains_key(&stuck)).await;
        assert_eq!(core.failed, BTreeMap::from([(stuck, ScriptErrorKind::TurnLimit)]));
        let stats = core.pool.stats();
        assert_eq!(stats.worker_deaths, 0);
        assert!(stats.rebuilds >= 10, "{stats:?}");
        for run in &neighbours {
            let (op, _) = core.issued[run][19].clone();
            core.complete(*run, op);
        }
        core.until("the neighbours finish", |core| core.finished.len() == neighbours.len()).await;
    });
}

#[test]
fn hostile_scripts_end_alone() {
    let hostile = [
        ("function main() { for (;;) {} }", ScriptErrorKind::TurnLimit),
        ("function main() { const a = []; for (;;) a.push(new Array(1000).fill('x')); }", ScriptErrorKind::MemoryLimit),
        ("function main() { function f() { return f() + 1 } return f(); }", ScriptErrorKind::StackLimit),
        ("function main( {", ScriptErrorKind::Load),
    ];
    with_core(1, async |mut core| {
        let good = program(100, PLAYLIST, 2_000);
        let good = core.start(&good);
        for (id, (source, kind)) in (1..).zip(hostile) {
            let run = core.start(&program(id, source, 500));
            core.until(source, |core| core.failed.contains_key(&run) || core.finished.contains(&run)).await;
            assert_eq!(core.failed.remove(&run), Some(kind), "{source}");
            core.pool.drop_run(Moment::now(), run);
        }
        for step in 0..20 {
            core.until("the good one goes on", |core| core.issued(good) > step).await;
            let (op, _) = core.issued[&good][step].clone();
            core.complete(good, op);
        }
        core.until("the good one finishes", |core| core.finished.contains(&good)).await;
    });
}

#[test]
fn operations_without_end_do_not_reach_the_engine() {
    with_core(1, async |mut core| {
        let source = "function main(data, ctx) { for (let i = 0; i < 12000; i++) ctx.sleep(1); }";
        let run = core.start(&program(1, source, 20_000));
        core.until("it is over", |core| core.failed.contains_key(&run) || core.finished.contains(&run)).await;
        assert!(core.issued(run) <= 10_000, "{} operations", core.issued(run));
    });
}

#[test]
fn timers_wake_scripts_and_the_end_of_the_call_settles_everything() {
    with_core(1, async |mut core| {
        let source = "async function main(data, ctx) {
            const before = Date.now();
            await new Promise(done => setTimeout(done, 30));
            if (Date.now() - before < 30) throw new Error('too early');
            console.log('woken');
            try { await ctx.play('user/a.wav'); } catch (error) { console.log(error.name); }
            const cause = await ctx.waitForHangup();
            console.log(cause.code);
        }";
        let run = core.start(&program(1, source, 2_000));
        core.until("it plays", |core| core.issued(run) == 1).await;
        let (op, _) = core.issued[&run][0].clone();
        let cause = CallEndedCause { code: 200, reason: "OK".into(), by: EndedBy::Caller };
        let result = Err(lockstep_ctx_api::OpError::call_ended(cause.clone()));
        core.pool.entry(Moment::now(), run, EntryKind::Outcome { op, result });
        core.pool.entry(Moment::now(), run, EntryKind::CallEnded(cause));
        core.until("it finishes", |core| core.finished.contains(&run)).await;
        assert_eq!(core.logs[&run], ["woken", "CallEnded", "200"]);
        let journal = core.pool.drop_run(Moment::now(), run).unwrap();
        assert_eq!(journal.turns_ended(), journal.next_turn());
    });
}

#[test]
fn workers_leave_with_the_pool() {
    with_core(2, async |mut core| {
        let run = core.start(&program(1, PLAYLIST, 2_000));
        core.until("a worker is up", |core| core.issued(run) == 1).await;
        let pids = core.pool.worker_pids();
        assert_eq!(pids.len(), 3, "two and a spare");
        drop(core);
        let gone = async {
            while pids.iter().any(|pid| is_alive(*pid)) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, gone).await.expect("workers outlive their pool");
    });
}

/// A process that has ended and is not reaped yet is not alive.
fn is_alive(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
}
