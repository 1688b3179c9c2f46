//! Hostile and broken scripts: each ends alone, and nothing it does can be caught, hidden or made to last.

use lockstep_ctx_api::js::MAX_OPS_PER_TURN;
use lockstep_ctx_api::wire::{RunState, ScriptErrorKind};

use crate::harness::Setup;

fn limited(source: &str) -> Setup {
    let mut setup = short_of_memory(source);
    setup.header.limits.turn_ms = 50;
    setup
}

/// With more time than it takes to use the memory up.
fn short_of_memory(source: &str) -> Setup {
    let mut setup = Setup::call(source);
    setup.header.limits.memory_bytes = 8 << 20;
    setup
}

#[test]
fn an_endless_loop_is_ended_at_its_limit_whatever_it_catches() {
    for source in [
        "function main() { for (;;); }",
        "function main() { for (;;) { try { for (;;); } catch {} finally { continue } } }",
        "async function main() { for (;;) await null }",
        "function main() { const again = () => { Promise.resolve().then(again) }; again() }",
        "function main() { /(a+)+$/.test('a'.repeat(40) + 'b') }",
        "for (;;);",
        "export {}; for (;;);",
    ] {
        let run = limited(source).start();
        assert_eq!(run.error().kind, ScriptErrorKind::TurnLimit, "{source}: {}", run.error());
        assert!(run.error().message.contains("50 ms"), "{}", run.error());
    }
}

#[test]
fn the_function_of_an_endless_loop_is_named() {
    let run = limited("// a comment\nfunction main() {\n  let n = 0;\n  for (;;) n++;\n}").start();
    let error = run.error();
    assert!(error.stack.first().is_some_and(|frame| frame.starts_with("main (main.js:")), "{:?}", error.stack);
    assert!(error.at.is_some());
}

#[test]
fn memory_without_end_ends_the_run_and_cannot_be_caught() {
    for source in [
        "function main() { const all = []; for (;;) all.push(new Uint8Array(1 << 20)) }",
        "function main() { const all = []; for (;;) all.push({ a: 1 }) }",
        "function main() { const all = []; for (;;) { try { for (;;) all.push('x'.repeat(1000) + all.length) } catch { } } }",
        "async function main() { const all = []; try { for (;;) { all.push(new Array(1000).fill(0)); await null } } catch { return 'hidden' } }",
        "function main() { new ArrayBuffer(1 << 30) }",
    ] {
        let run = short_of_memory(source).start();
        assert_eq!(run.error().kind, ScriptErrorKind::MemoryLimit, "{source}: {}", run.error());
        assert!(run.error().message.contains("8 MB"), "{}", run.error());
    }
}

#[test]
fn endless_recursion_is_an_error_of_the_script() {
    for source in [
        "function main() { return main() }",
        "function main() { const o = { get a() { return o.a } }; return o.a }",
        "function main() { return [main].map(main) }",
    ] {
        let run = short_of_memory(source).start();
        assert_eq!(run.error().kind, ScriptErrorKind::StackLimit, "{source}: {}", run.error());
    }
    let deep = "function main() { let a = []; for (let i = 0; i < 1e5; i++) a = [a]; JSON.stringify(a) }";
    assert!(matches!(short_of_memory(deep).start().last().state, RunState::Failed(_)));
}

#[test]
fn a_run_past_its_limit_takes_entries_and_does_nothing() {
    let mut run =
        limited("async function main(data, ctx) { ctx.play('x.wav'); ctx.on('dtmf', () => ctx.log('heard')); for (;;); }")
            .start();
    assert_eq!(run.error().kind, ScriptErrorKind::TurnLimit);
    run.key('1');
    assert_eq!(run.texts(), [""; 0]);
    run.done("play");
    assert_eq!(run.last().turn, 2);
}

#[test]
fn operations_without_end_are_refused() {
    let run = Setup::call("function main(data, ctx) { for (let i = 0; i < 20000; i++) ctx.sleep(1).catch((error) => { if (!ctx.said) { ctx.said = true; ctx.log(error.name) } }) }").start();
    assert_eq!(run.last().issued.len(), MAX_OPS_PER_TURN);
    assert_eq!(run.texts(), ["LimitError"]);
}

#[test]
fn what_a_turn_asks_for_is_bounded_in_bytes_and_the_next_turn_may_ask_again() {
    let list = Setup::call(
        "async function main(data, ctx) { await ctx.play(Array(100).fill('x'.repeat(2e6))).catch((error) => ctx.log(error.name)) }",
    );
    let run = list.start();
    assert_eq!((run.last().issued.len(), run.texts().join(" ")), (0, "LimitError".to_owned()));
    let mut run = Setup::call(
        "async function main(data, ctx) {
  const ask = () => ctx.play(Array(5).fill('x'.repeat(1 << 20))).catch((error) => ctx.log(error.name));
  for (let i = 0; i < 5; i++) ask();
  await ctx.sleep(1);
  ask();
}",
    )
    .start();
    assert_eq!((run.last().issued.len(), run.texts().join(" ")), (4, "LimitError LimitError".to_owned()));
    run.done("sleep");
    assert_eq!(run.last().issued.len(), 1);
}

#[test]
fn what_is_refused_does_not_count_against_the_turn() {
    let run = Setup::app(
        "const us = require('cxUserspace');
function main() {
  const [long, fitting] = ['x'.repeat(4 << 20), 'x'.repeat(2 << 20)];
  for (const text of [long, long, long, fitting, fitting]) us.sql('select ?', [text]).catch((error) => console.log(error.name));
}",
    )
    .start();
    assert_eq!((run.last().issued.len(), run.texts().join(" ")), (2, "LimitError LimitError LimitError".to_owned()));
}

#[test]
fn variables_without_end_are_refused_and_removing_some_makes_room() {
    let run = Setup::call(
        "async function main(data, ctx) {
  const set = (key, value) => ctx.set(key, value).catch((error) => ctx.log(`${key} ${error.name}`));
  for (let i = 0; i < 17; i++) set(`k${i}`, 'x'.repeat(62000));
  set('k3');
  set('late', 'x'.repeat(62000));
  set('later', 'x'.repeat(62000));
}",
    )
    .start();
    assert_eq!(run.texts(), ["k16 LimitError", "later LimitError"]);
}

#[test]
fn log_lines_without_end_are_cut() {
    let run =
        Setup::app("function main() { console.log('x'.repeat(100000)); for (let i = 0; i < 5000; i++) console.log(i) }").start();
    assert_eq!(run.lines.len(), 1_001);
    assert!(run.lines[0].text.len() < 20_000);
    assert!(run.lines[1_000].text.contains("the rest is dropped"));
}

#[test]
fn meddling_with_built_ins_hurts_only_the_meddler() {
    for source in [
        "Map.prototype.get = () => { throw 1 }; Array.prototype.splice = null; Promise.prototype.then = null; async function main(data, ctx) { await ctx.sleep(1) }",
        "Error.prepareStackTrace = () => { throw new Error('no') }; async function main(data, ctx) { await ctx.play('x') }",
        "Error.stackTraceLimit = 0; async function main(data, ctx) { await ctx.play('x') }",
        "Object.defineProperty(Object.prototype, 'signal', { get() { throw new Error('trap') } }); async function main(data, ctx) { await ctx.play('x', {}) }",
        "async function main(data, ctx) { await ctx.play(new Proxy([], { get() { throw new Error('trap') } })) }",
        "async function main(data, ctx) { await ctx.play({ toString() { throw 1 } }) }",
        "async function main(data, ctx) { throw { get message() { throw 1 }, get stack() { throw 2 } } }",
        "async function main(data, ctx) { throw Object.assign(new AggregateError([]), { errors: Object.assign([], { length: 2 ** 32 - 1 }) }) }",
        "async function main(data, ctx) { throw Symbol('s') }",
        "async function main(data, ctx) { throw null }",
        "async function main(data, ctx) { console.log(new Proxy({}, { get() { throw 1 }, ownKeys() { throw 2 } })) }",
        "async function main(data, ctx) { await ctx.play('\\ud800') ; }",
        "delete globalThis.Promise; async function main(data, ctx) { await ctx.play('x') }",
        "globalThis.Reflect = null; Object.defineProperty = null; async function main(data, ctx) { console.log(new Date(), new URL('http://a/')) }",
    ] {
        let mut run = Setup::call(source).start();
        run.key('1');
        run.hangup();
        assert_eq!(run.turns.len(), 3, "{source}");
    }
}
