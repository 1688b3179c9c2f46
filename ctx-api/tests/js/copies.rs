//! Runtimes are copies of one that was booted before: a run must not be able to tell, and nothing of it may be left afterwards.

use std::sync::Arc;

use lockstep_ctx_api::event::Event;
use lockstep_ctx_api::js::{PRELUDE_VERSION, Worker};
use lockstep_ctx_api::op::DtmfMethod;
use lockstep_ctx_api::wire::{
    Bundle, CallStart, Entry, EntryKind, FromWorker, Limits, RunHeader, RunId, RunState, ScriptErrorKind, ScriptType, Start,
    ToWorker, TurnEnd,
};
use proptest::prelude::*;

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
            is_awaited: true,
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

    /// Puts every run to rest that can be.
    fn rest(&mut self) {
        while self.worker.sweep(0) {}
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
        if run % 3 == 0 {
            many.rest();
            assert_eq!(many.worker.resting_runs(), 1, "run {run}");
        }
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
        if run == RUNS / 2 {
            many.rest();
            assert_eq!(many.worker.resting_runs(), many.worker.live_runs());
        }
    }
    for run in (0..RUNS).map(|at| at * 7 % RUNS) {
        many.hang_up(run);
        if run % 50 == 0 {
            many.rest();
        }
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
        many.rest();
        assert_eq!(many.start(3), RunState::Running);
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

/// Answers every digit with what it finds of all that it holds, and does with each what a script may do.
const EACH_DIGIT: &str = r#"
const kept = new Map(), weak = [], list = [];
class Mine { #count = 0; get count() { return this.#count; } add() { this.#count += 1; return this; } }
const mine = new Mine();
function* numbers() { for (let n = 0; ; n += 1) yield n; }
const each = numbers();
let timers = 0;
const does = {
  0: () => { for (let i = 0; i < 1200; i += 1) { const a = { i }; a.self = { a, text: 'x'.repeat(i % 700) }; } },
  1: () => { kept.set(`key${kept.size}`, { at: Date.now(), random: Math.random(), big: 10n ** 30n }); },
  2: () => { try { null.missing; } catch (error) { list.push(error.stack); } },
  3: () => { setTimeout(() => { timers += 1; console.log(`timer ${timers}`); }, 100); },
  4: () => { Array.prototype.mine = (Array.prototype.mine ?? 0) + 1; globalThis[`global${list.length}`] = /(\d+)-(?<name>x+)/u; },
  5: () => { list.push(new Uint8Array(3000).fill(list.length), 'ä€'.repeat(400), Symbol.for('s').description); },
  6: () => { ctx.play('a.wav').catch((error) => list.push(error.message)); },
  7: () => { kept.clear(); list.length = 0; },
  8: () => { const deep = (n) => n ? deep(n - 1) + 1 : 0; list.push(deep(300)); },
  9: () => { Promise.reject(new Error('unheard')).catch(() => mine.add()); },
};
let ctx;
module.exports = async (data, context) => {
  ctx = context;
  ctx.on('dtmf', ({ digit }) => {
    does[digit]();
    console.log(JSON.stringify([digit, mine.add().count, each.next().value, timers, [].mine, [...kept.values()].map(String),
      [...kept].map(([key, { at, random }]) => [key, at, random]), list.map((item) => item.length ?? item), Object.keys(globalThis).length]));
  });
  await ctx.waitForHangup();
  return list.length;
};
"#;

/// A call of [`EACH_DIGIT`], and what became of it.
struct Call {
    many: Many,
    said: Vec<FromWorker>,
    wake_at: Option<u64>,
}

impl Call {
    fn new() -> Self {
        let mut call = Self { many: Many::new(EACH_DIGIT), said: Vec::new(), wake_at: None };
        let start = Arc::new(Start { at: 0, data: "{}".to_owned(), call: Some(CallStart::default()) });
        let header = Arc::clone(&call.many.header);
        call.take(ToWorker::Start { run: RunId(1), epoch: 0, header, start });
        call
    }

    fn take(&mut self, frame: ToWorker) {
        let mut out = Vec::new();
        self.many.worker.handle(frame, &mut out);
        for frame in &mut out {
            if let FromWorker::TurnEnd(end) = frame {
                self.wake_at = end.wake_at;
                end.cpu_us = 0;
            }
        }
        self.said.append(&mut out);
    }

    fn entry(&mut self, at: u64, kind: EntryKind) {
        self.take(ToWorker::Entry { run: RunId(1), epoch: 0, entry: Entry { at, kind } });
    }

    fn digit(&mut self, at: u64, digit: char) {
        self.entry(at, EntryKind::Event(Event::Dtmf { digit, duration_ms: 100, method: DtmfMethod::Rfc4733 }));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn a_run_does_the_same_whenever_it_has_rested(steps in prop::collection::vec((0_u32..10, any::<bool>(), any::<bool>()), 1..25)) {
        let digits = steps.len();
        let (mut awake, mut rested) = (Call::new(), Call::new());
        for ((digit, wakes, rests), at) in steps.into_iter().zip(1..) {
            let at = at * 60;
            if rests {
                rested.many.rest();
                prop_assert_eq!(rested.many.worker.resting_runs(), 1);
            }
            for call in [&mut awake, &mut rested] {
                if wakes && call.wake_at.is_some_and(|due| due <= at) {
                    call.entry(at, EntryKind::Wake);
                }
                call.digit(at, char::from_digit(digit, 10).unwrap());
            }
            prop_assert_eq!(awake.said.last(), rested.said.last());
        }
        rested.many.rest();
        for call in [&mut awake, &mut rested] {
            call.entry(10_000, EntryKind::CallEnded(cause()));
        }
        let is_over = |end: &FromWorker| matches!(end, FromWorker::TurnEnd(end) if matches!(end.state, RunState::Finished { .. }));
        prop_assert!(awake.said.last().is_some_and(is_over), "{:?}", awake.said.last());
        let lines = awake.said.iter().filter(|said| matches!(said, FromWorker::Log { line, .. } if line.text.starts_with('[')));
        prop_assert_eq!(lines.count(), digits);
        prop_assert_eq!(awake.said, rested.said);
    }
}

#[test]
fn limits_hold_for_a_run_that_has_rested() {
    let source = "module.exports = async (data, ctx) => {
      ctx.on('dtmf', ({ digit }) => { const all = []; for (;;) if (digit === '1') all.push(new Array(1000).fill(all)); });
      await ctx.waitForHangup();
    }";
    for (digit, kind) in [('1', ScriptErrorKind::MemoryLimit), ('2', ScriptErrorKind::TurnLimit)] {
        let mut many = Many::new(source);
        Arc::make_mut(&mut many.header).limits.turn_ms = if digit == '1' { 20_000 } else { 50 };
        assert_eq!(many.start(1), RunState::Running);
        assert_eq!(many.start(2), RunState::Running);
        many.rest();
        let event = Event::Dtmf { digit, duration_ms: 100, method: DtmfMethod::Rfc4733 };
        let entry = Entry { at: 1, kind: EntryKind::Event(event) };
        let end = many.handle(ToWorker::Entry { run: RunId(1), epoch: 0, entry }).expect("every entry has a turn");
        assert!(matches!(&end.state, RunState::Failed(error) if error.kind == kind), "{:?}", end.state);
        assert_eq!(many.worker.resting_runs(), 1, "the other one");
        many.rest();
        many.drop_run(1);
        many.drop_run(2);
        assert_eq!(Arc::strong_count(&many.header), 1);
    }
}
