//! Runtimes are copies of one that was booted before: a run must not be able to tell, and nothing of it may be left afterwards.

use std::sync::Arc;

use lockstep_ctx_api::js::{PRELUDE_VERSION, Worker};
use lockstep_ctx_api::wire::{
    Bundle, CallStart, Entry, EntryKind, FromWorker, Limits, RunHeader, RunId, RunState, ScriptType, Start, ToWorker, TurnEnd,
};

use crate::harness::cause;

/// A worker with one script, and the header of its runs.
struct Many {
    worker: Worker,
    header: Arc<RunHeader>,
}

impl Many {
    fn new(source: &str) -> Self {
        let mut worker = Worker::new().expect("the prelude compiles");
        let files = [("main.js".to_owned(), source.into())].into();
        let sources = Arc::new(Bundle { entry: "main.js".to_owned(), files, ..Bundle::default() });
        worker.handle(ToWorker::Bundle { bundle: 1, sources }, &mut Vec::new());
        let header = Arc::new(RunHeader {
            bundle: 1,
            script_type: ScriptType::App,
            function: None,
            env: Default::default(),
            limits: Limits { memory_bytes: 32 << 20, turn_ms: 20_000, after_end_ms: 10_000 },
            seed: [7; 32],
            time_zone: "UTC".to_owned(),
            prelude: PRELUDE_VERSION,
        });
        Self { worker, header }
    }

    fn handle(&mut self, frame: ToWorker) -> Option<TurnEnd> {
        let mut out = Vec::new();
        self.worker.handle(frame, &mut out);
        out.into_iter().find_map(|frame| match frame {
            FromWorker::TurnEnd(end) => Some(end),
            FromWorker::Log { .. } | FromWorker::Ready { .. } => None,
        })
    }

    /// Starts a run that owns a call: those have a runtime of their own, whatever their script.
    fn start(&mut self, run: u64) -> RunState {
        let start = Arc::new(Start { at: 0, data: "{}".to_owned(), call: Some(CallStart::default()) });
        let frame = ToWorker::Start { run: RunId(run), epoch: 0, header: Arc::clone(&self.header), start };
        self.handle(frame).expect("every start has a turn").state
    }

    fn hang_up(&mut self, run: u64) {
        let entry = Entry { at: 1, kind: EntryKind::CallEnded(cause()) };
        self.handle(ToWorker::Entry { run: RunId(run), epoch: 0, entry });
    }

    fn drop_run(&mut self, run: u64) {
        self.handle(ToWorker::Drop { run: RunId(run), epoch: 0 });
    }
}

/// Waits, and holds everything that a run can hold: listeners, timers, waits, log lines, buffers, regular expressions, classes.
const BUSY: &str = r#"
import { ko } from 'cxKV';
const held = [];
class Node { #next; constructor(next) { this.#next = next; held.push(this); } }
export async function main(data, ctx) {
  if (globalThis.seen || Array.prototype.seen || Object.seen || ctx.seen) throw new Error('somebody was here');
  globalThis.seen = Array.prototype.seen = Object.seen = ctx.seen = true;
  let ring = new Node();
  for (let i = 0; i < 200; i += 1) ring = new Node(ring);
  for (let i = 0; i < 1200; i += 1) { const a = { i }; a.self = { a, text: 'x'.repeat(i % 900) }; }
  ctx.on('dtmf', (event) => held.push(event));
  setInterval(() => held.push(Date.now()), 10_000);
  console.log('%o', { math: Math.random(), bytes: new Uint8Array(5000), map: new Map([[ring, 1]]) });
  await Promise.all([ko.get('key'), ctx.answer(), ctx.waitFor(/^never$/, 'quit', 900), ctx.waitForHangup(), crypto.randomUUID()]);
}
"#;

#[test]
fn nothing_of_a_run_is_left_for_the_next_and_nothing_is_kept_of_it() {
    let mut many = Many::new(BUSY);
    for run in 0..200 {
        let state = many.start(run);
        assert_eq!(state, RunState::Running, "run {run}");
        if run % 2 == 0 {
            many.hang_up(run);
        }
        many.drop_run(run);
        assert_eq!(Arc::strong_count(&many.header), 1, "what the run's functions held is given up");
    }
}

#[test]
fn many_runs_live_beside_each_other_and_end_in_any_order() {
    let mut many = Many::new(BUSY);
    // More than there are places kept for those that come after them.
    const RUNS: u64 = 150;
    for run in 0..RUNS {
        assert_eq!(many.start(run), RunState::Running, "run {run}");
    }
    for run in (0..RUNS).map(|at| at * 7 % RUNS) {
        many.hang_up(run);
        many.drop_run(run);
    }
    assert_eq!(Arc::strong_count(&many.header), 1);
    assert_eq!(many.start(RUNS), RunState::Running);
}

#[test]
fn a_worker_that_ends_with_its_thread_leaves_nothing() {
    let thread = std::thread::spawn(|| {
        let mut many = Many::new(BUSY);
        for run in 0..3 {
            assert_eq!(many.start(run), RunState::Running);
        }
        Arc::clone(&many.header)
    });
    assert_eq!(Arc::strong_count(&thread.join().expect("the runs end well")), 1);
}

#[test]
fn a_run_that_is_stopped_anywhere_leaves_a_place_for_the_next() {
    for source in [
        "export async function main(data, ctx) { const all = []; for (;;) all.push(new Array(1000).fill(all)); }",
        "export async function main(data, ctx) { const deep = () => deep(); deep(); }",
        "export async function main(data, ctx) { exit({ at: 1 }); }",
        "export async function main(data, ctx) { await null; throw new Error('thrown'); }",
        "throw new Error('while loading'); export async function main() {}",
        "import missing from 'missing'; export async function main() {}",
    ] {
        let mut many = Many::new(source);
        let states = [0, 1, 2].map(|run| {
            let state = many.start(run);
            many.drop_run(run);
            state
        });
        assert_ne!(states[0], RunState::Running, "{source}");
        assert!(states.iter().all(|state| *state == states[0]), "{source}: {states:?}");
        assert_eq!(Arc::strong_count(&many.header), 1, "{source}");
    }
}
