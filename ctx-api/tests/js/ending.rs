//! How scripts come to their end: what keeps one, and what it is told of the end of its call.

use lockstep_ctx_api::wire::{EntryKind, ScriptErrorKind};
use lockstep_ctx_api::{CallEndedCause, EndedBy, Op};

use crate::harness::{Setup, cause};

#[test]
fn a_callback_script_stays_until_its_timers_are_done() {
    let mut run = Setup::call("function main(data, ctx) { ctx.answer(); setTimeout(() => ctx.hangup(), 5000) }").start();
    assert!(run.is_running());
    run.done("answer");
    run.wake();
    assert_eq!((run.pending(), run.result()), (vec!["hangup"], "undefined"));
}

#[test]
fn an_async_main_is_over_when_it_returns() {
    let run = Setup::call("async function main(data, ctx) { setTimeout(() => ctx.hangup(), 3600_000) }").start();
    assert_eq!(run.result(), "undefined");
}

#[test]
fn outside_calls_no_timer_keeps_an_async_main_that_has_returned() {
    for source in [
        "async function main(data) { setTimeout(() => {}, 3000); data.n = 2 }",
        "async function main(data) { setInterval(() => {}, 3000); data.n = 2 }",
        "async function main(data) {
           const late = new Promise((_, no) => setTimeout(() => no(new Error('late')), 3000));
           await Promise.race([Promise.resolve(), late]);
           data.n = 2;
           if (data.n === 3) exit();
         }",
    ] {
        let run = Setup::app(source).start();
        assert_eq!(run.result(), r#"{"n":2}"#, "{source}");
        run.assert_replays();
    }
}

#[test]
fn a_timer_that_nobody_refers_to_keeps_no_script() {
    let over = Setup::app("function main(data) { setInterval(() => {}, 1000).unref(); data.n = 2 }").start();
    assert_eq!(over.result(), r#"{"n":2}"#);
    let source = "function main(data) {
        const timer = setTimeout(() => { data.n = 3 }, 1000);
        data.n = [timer.hasRef(), timer.unref().hasRef(), timer.ref().hasRef()];
        console.log(data.n.join());
    }";
    let mut kept = Setup::app(source).start();
    assert_eq!(kept.texts(), ["true,false,true"]);
    kept.wake();
    assert_eq!(kept.result(), r#"{"n":3}"#);
    kept.assert_replays();
}

#[test]
fn code_after_the_end_of_the_call_may_wait_for_timers_but_not_repeat_them_for_ever() {
    for (waits, lingers) in [
        ("ctx.waitForHangup().then(() => setTimeout(() => {}, 500))", true),
        ("ctx.on('hangup', () => setTimeout(() => {}, 500))", true),
        ("ctx.play('a.wav').catch(() => setTimeout(() => {}, 500))", true),
        ("ctx.on('hangup', () => setInterval(() => {}, 500))", false),
        ("ctx.on('hangup', () => clearTimeout(setTimeout(() => {}, 500)))", false),
        ("ctx.on('hangup', () => { AbortSignal.timeout(500) })", false),
        ("setTimeout(() => {}, 500)", false),
    ] {
        let mut run = Setup::call(&format!("async function main(data, ctx) {{ {waits} }}")).start();
        assert!(!run.last().lingers, "{waits}");
        run.hangup();
        assert_eq!(run.last().lingers, lingers, "{waits}");
        if run.last().wake_at.is_some() {
            assert!(!run.wake().lingers, "{waits}");
        }
        run.assert_replays();
    }
}

#[test]
fn a_call_that_was_hung_up_is_ended() {
    for (operation, name) in [("hangup()", "hangup"), ("reject(486)", "reject")] {
        let source = format!("async function main(data, ctx) {{ await ctx.{operation}; ctx.log(ctx.call.state) }}");
        let mut run = Setup::call(&source).start();
        run.done(name);
        assert_eq!(run.texts(), ["ended"], "{operation}");
    }
}

#[test]
fn what_was_not_awaited_before_an_exit_is_spoken_of() {
    let source = "async function main(data, ctx) {\n  await ctx.answer();\n  ctx.play('a.wav'); ctx.play('b.wav'); ctx.play('c.wav');\n  exit() }";
    let mut run = Setup::call(source).start();
    run.done("answer");
    run.done("play");
    assert_eq!(run.texts(), ["main.js:3: ctx.play() was not awaited"]);
    run.hangup();
    assert_eq!(run.texts(), ["main.js:3: ctx.play() was not awaited"; 3]);
}

#[test]
fn what_a_call_exits_with_need_not_be_json() {
    for exits in ["exit({ n: 5n })", "data.self = data; exit()", "exit({ toJSON() { throw new Error('no') } })", "exit(7)"] {
        let source = format!("function main(data, ctx) {{ try {{ {exits} }} catch (error) {{ ctx.log(String(error)) }} }}");
        let run = Setup::call(&source).start();
        assert_eq!(run.texts(), [""; 0], "{exits}");
        assert_eq!(run.result(), "undefined", "{exits}");
    }
}

#[test]
fn callbacks_still_run_after_main_has_returned() {
    let mut run = Setup::call(
        "function main(data, ctx) { ctx.answer().then(() => ctx.play('x.wav')).then(() => ctx.hangup()).catch(() => {}) }",
    )
    .start();
    run.done("answer");
    assert_eq!(run.pending(), ["play"]);
    assert!(run.is_running(), "whoever listens to an operation has more to say");
    run.done("play");
    assert_eq!(run.pending(), ["hangup"]);
    run.done("hangup");
    assert_eq!(run.result(), "undefined");
}

#[test]
fn an_operation_nobody_listens_to_keeps_no_script_of_callbacks() {
    let run = Setup::call("function main(data, ctx) { ctx.answer(); ctx.play('x.wav') }").start();
    assert_eq!(run.result(), "undefined");
    let waits = Setup::call("function main(data, ctx) { ctx.answer(); ctx.waitForHangup().then(() => ctx.log('over')) }").start();
    assert_eq!(waits.result(), "undefined", "listeners keep nothing alive");
}

#[test]
fn a_callback_of_an_operation_may_refuse_the_call() {
    let mut run = Setup::call("function main(data, ctx) { ctx.sleep(100).then(() => err([486, 'Busy Here'])) }").start();
    run.done("sleep");
    assert_eq!(run.error().sip, Some((486, "Busy Here".to_owned())));
}

#[test]
fn a_script_that_has_hung_up_is_told_of_its_own_mistake() {
    let mut run = Setup::call(
        "async function main(data, ctx) {
           const held = ctx.play('long.wav').catch((error) => ctx.log(error.name));
           await ctx.hangup();
           await ctx.play('x.wav').catch((error) => ctx.log(error.name, error.message));
         }",
    )
    .start();
    run.done("hangup");
    run.entry(EntryKind::CallEnded(CallEndedCause { by: EndedBy::Script, ..cause() }));
    assert_eq!(run.texts(), ["CallEnded", "InvalidState play: the call is ended"]);
}

#[test]
fn waiting_for_any_of_several_ends_with_the_call() {
    let mut run =
        Setup::call("async function main(data, ctx) { await Promise.any([ctx.waitFor('1'), ctx.waitFor('2')]) }").start();
    run.hangup();
    assert_eq!(run.error().kind, ScriptErrorKind::CallEnded);
    let mixed = Setup::call("async function main() { await Promise.any([Promise.reject(new Error('other'))]) }").start();
    assert_eq!(mixed.error().kind, ScriptErrorKind::Thrown);
}

#[test]
fn a_normal_clearing_may_be_named_by_its_code() {
    let mut run = Setup::call(
        "async function main(data, ctx) {
           await ctx.hangup({ code: 202 }).catch((error) => ctx.log(error.name));
           await ctx.hangup({ code: 200, reason: 'bye' });
         }",
    )
    .start();
    assert_eq!(run.texts(), ["RangeError"]);
    let Op::Hangup(args) = run.op("hangup") else { unreachable!() };
    assert_eq!((args.code, args.reason.as_deref()), (None, Some("bye")));
    run.done("hangup");
}

#[test]
fn a_signal_that_cannot_be_left_keeps_nobody_from_the_end_of_the_call() {
    let source = "async function main(data, ctx) {
        const signal = { aborted: false, addEventListener() {}, removeEventListener() { throw new Error('x') } };
        ctx.on('hangup', () => ctx.log('hangup'));
        ctx.waitFor('9', null, 30, { signal }).catch((error) => ctx.log(error.name));
        await ctx.waitForHangup();
        ctx.log('over');
    }";
    let mut run = Setup::call(source).start();
    run.hangup();
    assert_eq!(run.result(), "undefined");
    let mut texts = run.texts();
    texts.sort_unstable();
    assert_eq!(texts, ["CallEnded", "hangup", "over"]);
}
