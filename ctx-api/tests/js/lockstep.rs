//! The rules of lockstep as the worker keeps them (contract, section 2.1).

use lockstep_ctx_api::event::{CallState, Event, FactsChange};
use lockstep_ctx_api::outcome::{BridgeResult, BridgeStatus, Outcome, PlayReason, Played};
use lockstep_ctx_api::wire::{EntryKind, LogLevel, RunState, ScriptErrorKind};
use lockstep_ctx_api::{ErrorCode, Op, OpError, OpId};

use crate::harness::{Setup, cause};

fn op(turn: u32, ordinal: u32) -> OpId {
    OpId { turn, ordinal }
}

#[test]
fn awaited_operations_go_one_after_another() {
    let mut run = Setup::call(
        "async function main(data, ctx) {
            await ctx.answer();
            const { reason, digit } = await ctx.play('ivr/welcome.wav', { stop_on: '#' });
            ctx.log(reason, digit);
        }",
    )
    .start();
    assert_eq!(run.pending(), ["answer"]);
    run.done("answer");
    assert_eq!(run.pending(), ["play"]);
    run.settle("play", Ok(Outcome::Played(Played { played_ms: 120, reason: PlayReason::Dtmf, digit: Some('#') })));
    assert_eq!(run.result(), "undefined");
    assert_eq!(run.texts(), ["dtmf #"]);
    run.assert_replays();
}

#[test]
fn unawaited_operations_are_issued_in_program_order_and_spoken_of() {
    let mut run = Setup::call(
        "async function main(data, ctx) {
            await ctx.answer();
            ctx.play('user/x.wav');
            await ctx.hangup();
        }",
    )
    .start();
    let end = run.done("answer");
    let names: Vec<_> = end.issued.iter().map(|issued| issued.op.name()).collect();
    assert_eq!(names, ["play", "hangup"]);
    assert_eq!(end.awaited, [op(1, 1)], "only hangup is listened to");
    assert_eq!(end.issued[0].at.as_ref().map(ToString::to_string).as_deref(), Some("main.js:3:17"));
    run.done("play");
    assert_eq!(run.texts(), ["main.js:3: ctx.play() was not awaited"]);
    assert_eq!(run.lines[0].level, LogLevel::Warn);
    assert_eq!(run.lines[0].at.as_ref().map(|at| at.line), Some(3));
    run.done("hangup");
    assert_eq!(run.texts().len(), 1);
}

#[test]
fn whoever_listens_later_is_reported_in_that_turn() {
    let mut run = Setup::call(
        "async function main(data, ctx) {
            const playing = ctx.play('a.wav');
            await ctx.sleep(10);
            await playing;
        }",
    )
    .start();
    assert_eq!(run.last().awaited, [op(0, 1)]);
    assert_eq!(run.done("sleep").awaited, [op(0, 0)]);
}

#[test]
fn every_way_of_listening_counts() {
    for listen in [
        "await p",
        "p.then(() => {})",
        "p.catch(() => {})",
        "p.finally(() => {})",
        "await Promise.race([p])",
        "await Promise.all([p])",
        "return p",
    ] {
        let run = Setup::call(&format!("async function main(data, ctx) {{ const p = ctx.play('a.wav'); {listen} }}")).start();
        assert_eq!(run.last().awaited, [op(0, 0)], "{listen}");
    }
}

#[test]
fn settings_are_not_missed_by_anyone() {
    let mut run = Setup::call("function main(data, ctx) { ctx.set('a', 1); ctx.header('X-A', 'b'); ctx.blockDtmf() }").start();
    for name in ["set", "header", "blockDtmf"] {
        run.done(name);
    }
    assert_eq!(run.texts(), [""; 0]);
}

#[test]
fn a_failed_operation_nobody_awaited_is_logged_and_fails_nothing() {
    let mut run = Setup::call("async function main(data, ctx) {\n  ctx.play('gone.wav');\n  await ctx.sleep(10) }").start();
    run.settle("play", Err(OpError::new(ErrorCode::NotFound, "play: 'gone.wav' does not exist")));
    assert!(run.is_running());
    assert_eq!(run.texts(), ["main.js:2: ctx.play() was not awaited and failed: NotFound: play: 'gone.wav' does not exist"]);
}

#[test]
fn a_wait_nobody_awaited_is_spoken_of_when_it_settles_and_fails_nothing() {
    let mut run = Setup::call(
        "async function main(data, ctx) {
  ctx.waitFor('1', null, 2);
  ctx.waitFor('2', '9', 30);
  ctx.waitFor('3');
  ctx.waitFor('4', () => { throw new Error('mine') });
  ctx.waitFor();
  await ctx.waitForHangup();
}",
    )
    .start();
    assert_eq!(
        run.texts(),
        ["main.js:6: TypeError: ctx.waitFor: `match` must be a string, a RegExp or a function (and was not awaited)"]
    );
    run.wake();
    run.key('9');
    run.hangup();
    assert!(!matches!(run.last().state, RunState::Failed(_)), "{:?}", run.last().state);
    assert_eq!(
        run.texts()[1..],
        [
            "main.js:2: ctx.waitFor() was not awaited and failed: TimeoutError: waitFor: no match within 2 s",
            "main.js:3: ctx.waitFor() was not awaited and failed: QuitError: waitFor: '9' asked to quit",
            "main.js:5: ctx.waitFor() was not awaited and failed: Error: mine",
            "main.js:4: ctx.waitFor() was not awaited",
        ]
    );
    assert_eq!(run.lines[1].at.as_ref().map(ToString::to_string).as_deref(), Some("main.js:2:7"));
    run.assert_replays();
}

#[test]
fn a_wait_that_was_awaited_fails_the_script_at_its_line() {
    let mut run = Setup::call("async function main(data, ctx) {\n  await ctx.waitFor('1', null, 2);\n}").start();
    run.wake();
    assert_eq!(run.error().at.as_ref().map(ToString::to_string).as_deref(), Some("main.js:2:13"));
    assert_eq!(run.texts(), [""; 0]);
}

#[test]
fn a_failed_operation_that_was_awaited_fails_the_script_at_its_line() {
    let mut run = Setup::call("async function main(data, ctx) {\n  await ctx.play('gone.wav');\n}").start();
    run.settle("play", Err(OpError::new(ErrorCode::NotFound, "play: 'gone.wav' does not exist")));
    let error = run.error();
    assert_eq!(error.message, "NotFound: play: 'gone.wav' does not exist");
    assert_eq!((error.sip.clone(), error.kind), (None, ScriptErrorKind::Thrown));
    assert_eq!(error.at.as_ref().map(|at| at.line), Some(2));
}

#[test]
fn errors_of_operations_are_told_apart_by_name() {
    let mut run = Setup::call(
        "async function main(data, ctx) {
            try { await ctx.play('x') } catch (error) { ctx.log(error.name, error instanceof Error, error.message) }
            try { await ctx.sleep(1) } catch (error) { ctx.log(error.name, error instanceof RangeError) }
        }",
    )
    .start();
    run.settle("play", Err(OpError::new(ErrorCode::MediaError, "no audio")));
    run.settle("sleep", Err(OpError::new(ErrorCode::RangeError, "too long")));
    assert_eq!(run.texts(), ["MediaError true no audio", "RangeError true"]);
}

#[test]
fn arguments_that_do_not_fit_reject_and_never_throw() {
    let run = Setup::call(
        "async function main(data, ctx) {
            const promise = ctx.play();
            try { await promise } catch (error) { ctx.log(error.name, error.message) }
            ctx.play(17, { volume_db: 1000 });
        }",
    )
    .start();
    assert_eq!(run.last().issued, []);
    assert_eq!(run.texts()[0], "TypeError ctx.play: `source` must be a non-empty string, got nothing");
    assert_eq!(run.texts()[1], "main.js:4: RangeError: ctx.play: `volume_db` must be -60 to 60, got 1000 (and was not awaited)");
    assert_eq!(run.last().state, RunState::Finished { result: None });
}

#[test]
fn a_signal_asks_the_engine_to_stop_and_rejects_when_it_has() {
    let mut run = Setup::call(
        "async function main(data, ctx) {
            const controller = new AbortController();
            ctx.on('dtmf', () => controller.abort('enough'));
            try { await ctx.play('long.wav', { signal: controller.signal }) } catch (error) { ctx.log(error.name, error.message, error.cause) }
        }",
    )
    .start();
    assert_eq!(run.key('1').cancels, [op(0, 0)]);
    assert!(run.is_running());
    assert_eq!(run.key('2').cancels, [], "an aborted signal is not aborted again");
    run.settle("play", Err(OpError::aborted("play")));
    assert_eq!(run.texts(), ["AbortError play was aborted enough"]);
    run.assert_replays();
}

#[test]
fn an_operation_that_finished_before_its_abort_reached_it_resolves() {
    let mut run = Setup::call(
        "async function main(data, ctx) {
            const { reason } = await ctx.play('x.wav', { signal: AbortSignal.timeout(50) });
            ctx.log(reason);
        }",
    )
    .start();
    assert_eq!(run.wake().cancels, [op(0, 0)]);
    run.settle("play", Ok(Outcome::Played(Played { played_ms: 50, reason: PlayReason::Completed, digit: None })));
    assert_eq!(run.texts(), ["completed"]);
}

#[test]
fn a_signal_that_was_aborted_before_issues_nothing() {
    let run = Setup::call(
        "async function main(data, ctx) {
            try { await ctx.play('x.wav', { signal: AbortSignal.abort() }) } catch (error) { ctx.log(error.name, error.cause.name) }
            try { await ctx.play('x.wav', { signal: 5 }) } catch (error) { ctx.log(error.message) }
        }",
    )
    .start();
    assert_eq!(run.last().issued, []);
    assert_eq!(run.texts(), ["AbortError AbortError", "ctx.play: `signal` must be an AbortSignal"]);
}

#[test]
fn any_of_several_signals_stops() {
    let mut run = Setup::call(
        "async function main(data, ctx) {
            const first = new AbortController();
            const signal = AbortSignal.any([first.signal, AbortSignal.timeout(1000)]);
            try { await ctx.echo(0, { signal }) } catch (error) { ctx.log(error.name, error.cause.name) }
        }",
    )
    .start();
    assert_eq!(run.wake().cancels, [op(0, 0)]);
    run.settle("echo", Err(OpError::aborted("echo")));
    assert_eq!(run.texts(), ["AbortError TimeoutError"]);
}

#[test]
fn a_race_does_not_stop_the_loser() {
    let mut run = Setup::call(
        "async function main(data, ctx) {
            await Promise.race([ctx.play('x.wav'), ctx.waitFor('1')]);
            ctx.log('raced');
            await ctx.sleep(1);
        }",
    )
    .start();
    let end = run.key('1');
    assert_eq!(end.cancels, []);
    assert_eq!(run.pending(), ["play", "sleep"]);
}

#[test]
fn when_the_call_ends_everything_settles_at_once() {
    let mut run = Setup::call(
        "async function main(data, ctx) {
            const fates = [ctx.play('x.wav'), ctx.waitFor('9'), ctx.waitForHangup()].map((promise) =>
                promise.then((value) => ['resolved', value], (error) => [error.name, error.cause, error.message]));
            ctx.on('hangup', (event) => ctx.log('hangup', event.by));
            for await (const event of ctx.events()) ctx.log('event', event.type);
            for (const fate of await Promise.all(fates)) ctx.log(JSON.stringify(fate));
            try { await ctx.play('y.wav') } catch (error) { ctx.log(error.name, error.message, error.cause.by) }
            ctx.log(ctx.call.state);
        }",
    )
    .start();
    run.hangup();
    let cause = r#"{"code":200,"reason":"Normal Clearing","by":"caller"}"#;
    let message = "the call was ended by the caller (200 Normal Clearing)";
    assert_eq!(
        run.texts(),
        [
            "hangup caller".to_owned(),
            "event hangup".to_owned(),
            format!(r#"["CallEnded",{cause},"{message}"]"#),
            format!(r#"["CallEnded",{cause},"{message}"]"#),
            format!(r#"["resolved",{cause}]"#),
            format!("CallEnded {message} caller"),
            "ended".to_owned(),
        ]
    );
    assert_eq!(run.result(), "undefined");
    run.assert_replays();
}

#[test]
fn an_operation_after_the_caller_has_gone_ends_the_script_normally() {
    let mut run = Setup::call("async function main(data, ctx) { await ctx.waitForHangup(); await ctx.play('x.wav') }").start();
    run.hangup();
    assert_eq!(run.error().kind, ScriptErrorKind::CallEnded);
}

#[test]
fn an_uncaught_call_ended_is_a_normal_end() {
    let mut run = Setup::call("async function main(data, ctx) { await ctx.play('x.wav') }").start();
    run.hangup();
    assert_eq!(run.error().kind, ScriptErrorKind::CallEnded);
}

#[test]
fn a_script_that_has_failed_does_not_fail_again_because_its_call_ends() {
    let mut run = Setup::call(
        "async function main(data, ctx) {
            ctx.on('dtmf', () => { throw new Error('a mistake') });
            await ctx.play('x.wav');
        }",
    )
    .start();
    run.key('9');
    assert!(run.error().message.contains("a mistake"));
    run.hangup();
    assert_eq!(run.texts(), [""; 0]);
}

#[test]
fn a_forgotten_wait_does_not_cut_off_the_code_after_the_hangup() {
    let mut run = Setup::call(
        "async function main(data, ctx) {
            ctx.waitFor('1');
            ctx.play('x.wav').then(() => {});
            await ctx.waitForHangup();
            const response = await fetch('https://example.net/done');
            ctx.log(response.status);
        }",
    )
    .start();
    run.settle("play", Err(OpError::call_ended(cause())));
    run.entry(EntryKind::CallEnded(cause()));
    assert_eq!(run.pending(), ["fetch"]);
    assert!(run.is_running(), "{:?}", run.last().state);
}

#[test]
fn finally_blocks_run_when_the_call_ends() {
    let mut run =
        Setup::call("async function main(data, ctx) { try { await ctx.echo() } finally { ctx.log('cleaned up') } }").start();
    run.hangup();
    assert_eq!((run.texts(), run.error().kind), (vec!["cleaned up"], ScriptErrorKind::CallEnded));
}

#[test]
fn waiting_for_a_hangup_after_it_resolves_at_once() {
    let mut run = Setup::call(
        "async function main(data, ctx) {
            try { await ctx.sleep(5) } catch {}
            ctx.log((await ctx.waitForHangup()).code);
            for await (const event of ctx.events()) ctx.log('never');
            await ctx.waitFor('1').catch((error) => ctx.log(error.name));
        }",
    )
    .start();
    run.hangup();
    assert_eq!(run.texts(), ["200", "CallEnded"]);
}

#[test]
fn digits_reach_every_listener_and_are_consumed_by_none() {
    let mut run = Setup::call(
        "async function main(data, ctx) {
            ctx.on('dtmf', ({ digit }) => ctx.log('on', digit));
            const all = await Promise.all([ctx.waitFor('12$'), ctx.waitFor(/1(2)/g), ctx.waitFor((digits) => digits.length === 2 && { digits })]);
            ctx.log(JSON.stringify(all));
        }",
    )
    .start();
    run.keys("012");
    assert_eq!(run.texts(), ["on 0", "on 1", "on 2", r#"["12","12",{"digits":"01"}]"#]);
    run.assert_replays();
}

#[test]
fn waiting_rejects_on_quit_timeout_and_throw() {
    let mut run = Setup::call(
        "async function main(data, ctx) {
            const show = (error) => ctx.log(error.name, error.message);
            ctx.waitFor('7', /[*]/).catch(show);
            ctx.waitFor('7', null, 5).catch(show);
            ctx.waitFor('7', null, 8000).catch(show);
            ctx.waitFor(() => { throw new Error('oops') }).catch(show);
            ctx.waitFor(5n).catch(show);
            ctx.waitFor('1', null, -1).catch(show);
            await ctx.waitFor('99', '8').catch(show);
        }",
    )
    .start();
    assert_eq!(
        run.texts(),
        [
            "TypeError ctx.waitFor: `match` must be a string, a RegExp or a function",
            "RangeError ctx.waitFor: `timeout` must be more than 0, got -1"
        ]
    );
    run.key('*');
    let start = run.now;
    run.wake();
    assert_eq!(run.now - start, 5_000);
    run.wake();
    assert_eq!(run.now - start, 8_000, "1000 and more are milliseconds");
    run.wake();
    assert_eq!(run.now - start, 60_000, "a minute unless said otherwise");
    assert_eq!(
        run.texts()[2..],
        [
            "QuitError waitFor: '*' asked to quit",
            "Error oops",
            "TimeoutError waitFor: no match within 5 s",
            "TimeoutError waitFor: no match within 8 s",
            "TimeoutError waitFor: no match within 60 s",
        ]
    );
}

#[test]
fn listeners_can_be_taken_back_and_keep_nothing_alive() {
    let mut run = Setup::call(
        "function main(data, ctx) {
            const listener = ({ digit }) => { ctx.log(digit); ctx.off('dtmf', listener) };
            ctx.on('dtmf', listener).once('dtmf', () => ctx.log('once'));
            try { ctx.on('nonsense', () => {}) } catch (error) { ctx.log(error.message.split(';')[0]) }
        }",
    )
    .start();
    assert_eq!(run.result(), "undefined");
    run.keys("12");
    assert_eq!(run.texts(), ["ctx.on: unknown event 'nonsense'", "1", "once"]);
}

#[test]
fn the_mirror_changes_with_entries_and_with_set() {
    let mut run = Setup::call(
        "async function main(data, ctx) {
            ctx.log(ctx.get('sip_from_user'), ctx.get('sip_h_x-customer'), ctx.get('sip_h_Subject'), ctx.header('subject'), ctx.get('none'));
            ctx.set('mine', 5); ctx.set('sip_from_user', null); ctx.set('sip_h_Subject', 'Bye');
            ctx.log(ctx.get('mine'), await ctx.get('sip_from_user'), ctx.call.state, ctx.call.from, ctx.get('sip_h_Subject'));
            ctx.set('sip_h_Subject', null);
            ctx.log(ctx.get('sip_h_Subject'));
            await ctx.waitFor('1');
            ctx.log(ctx.call.state, ctx.call.codec, ctx.get('later'));
            try { 'use strict'; ctx.call.state = 'x'; } catch {}
        }",
    )
    .start();
    let vars = [("later".to_owned(), "yes".to_owned())].into();
    run.entry(EntryKind::Event(Event::Facts(FactsChange {
        state: Some(CallState::Answered),
        answered_at: Some(1),
        codec: Some("pcmu".to_owned()),
        vars,
    })));
    run.key('1');
    let texts = ["441234567890 12 Hello Hello undefined", "5 undefined new 441234567890 Bye", "Hello", "answered pcmu yes"];
    assert_eq!(run.texts(), texts);
}

#[test]
fn line_breaks_never_reach_a_header() {
    let source = "async function main(data, ctx) {
        const attempts = [
            () => ctx.header('X-A', 'a\\r\\nB: c'), () => ctx.header('X\\n', 'a'), () => ctx.header('X A', 'a'),
            () => ctx.answer({ headers: { 'X-A': 'a\\0' } }), () => ctx.set('sip_h_X-A', 'a\\rb'),
            () => ctx.bridge('1001', { caller_id: 'a\\nb' }), () => ctx.reject(486, 'Busy\\r\\nX: y'),
            () => ctx.hangup({ reason: 'a\\nb' }), () => ctx.redirect('sip:a\\r\\nX: y'), () => ctx.bridge('sip:a@b\\r\\nX: y'),
        ];
        for (const attempt of attempts) await attempt().then(() => ctx.log('taken'), (error) => ctx.log(error.name));
    }";
    let run = Setup::call(source).start();
    assert_eq!(run.texts(), ["TypeError"; 10]);
    assert_eq!(run.last().issued, []);
}

#[test]
fn a_recordings_handle_controls_it() {
    let mut run = Setup::call(
        "async function main(data, ctx) {
            const recording = await ctx.record('call.wav', { stereo: true });
            await recording.pause();
            const { duration_ms } = await recording.stop();
            ctx.log(recording.file, duration_ms);
        }",
    )
    .start();
    run.settle("record", Ok(Outcome::Recording { file: "user/call.wav".to_owned() }));
    let Op::RecordControl(control) = run.op("record.pause") else { panic!("a control") };
    assert_eq!(control.recording, op(0, 0));
    run.done("record.pause");
    run.settle("record.stop", Ok(Outcome::Recorded { file: "user/call.wav".to_owned(), duration_ms: 1500 }));
    assert_eq!(run.texts(), ["user/call.wav 1500"]);
}

#[test]
fn a_bridge_resolves_with_how_it_ended() {
    let mut run = Setup::call("async function main(data, ctx) { const { status, code, bleg } = await ctx.bridge('1001', 'fail'); ctx.log(status, code, bleg) }").start();
    run.settle(
        "bridge",
        Ok(Outcome::Bridged(BridgeResult {
            status: BridgeStatus::NoAnswer,
            code: 408,
            reason: "Request Timeout".to_owned(),
            duration_ms: 0,
            bleg: None,
        })),
    );
    assert_eq!(run.texts(), ["no-answer 408 undefined"]);
}

#[test]
fn operations_of_later_versions_say_so_when_called() {
    let run = Setup::call(
        "async function main(data, ctx) { await ctx.conference('room').catch((error) => ctx.log(error.name, error.message)) }",
    )
    .start();
    assert_eq!(run.texts(), ["Unsupported ctx.conference is not available in this version"]);
}

#[test]
fn every_operation_of_the_catalogue_is_a_method() {
    let names: Vec<_> = lockstep_ctx_api::catalog::OPERATIONS.iter().map(|operation| operation.name).collect();
    let source =
        format!("function main(data, ctx) {{ ctx.log({names:?}.filter((name) => typeof ctx[name] !== 'function').join()) }}");
    assert_eq!(Setup::call(&source).start().texts(), [""]);
}

#[test]
fn a_signal_is_found_before_later_arguments() {
    let mut run = Setup::call(
        "async function main(data, ctx) {
           const signal = AbortSignal.timeout(300);
           await ctx.bridge('1001', { signal, continue_on: true }, true).catch((error) => ctx.log(error.name));
         }",
    )
    .start();
    let end = run.wake();
    assert_eq!(end.cancels.len(), 1, "{end:?}");
}

#[test]
fn what_is_no_expression_is_refused_by_its_name() {
    let run = Setup::call("async function main(data, ctx) { await ctx.waitFor('[') }").start();
    assert!(run.error().message.starts_with("TypeError: ctx.waitFor: `match` is no regular expression: "), "{:?}", run.error());
}

#[test]
fn stars_that_are_no_expression_are_keys() {
    let source = "async function main(data, ctx) {
        ctx.waitFor('#', '*').catch((error) => ctx.log(error.name));
        for (const match of ['*9', /1*2/, '1*2']) ctx.log(await ctx.waitFor(match));
    }";
    let mut run = Setup::call(source).start();
    run.keys("*911212");
    assert_eq!(run.texts(), ["QuitError", "*9", "112", "12"], "what is an expression stays one");
}

#[test]
fn a_rejection_nobody_handles_fails_the_script_at_the_end_of_the_turn() {
    let handled_in_time = "async function main() { const p = Promise.reject(new Error('late')); await null; await null; p.catch(() => {}); return 1 }";
    assert_eq!(Setup::app(handled_in_time).start().result(), "1");
    let run =
        Setup::call("async function main(data, ctx) {\n  Promise.reject(new Error('500 lost'));\n  await ctx.sleep(1) }").start();
    assert_eq!(run.error().message, "Error: 500 lost");
    assert_eq!(run.error().at.as_ref().map(|at| at.line), Some(2));
    let floating = Setup::app("function main() { Promise.reject(new Error('floating')); return { ok: 1 } }").start();
    assert_eq!(floating.error().message, "Error: floating");
    let mut later =
        Setup::call("function main(d, ctx) { ctx.sleep(1).then(() => { throw new Error('later') }); return 1 }").start();
    later.done("sleep");
    assert_eq!((later.result(), later.texts()), ("undefined", vec!["Uncaught Error: later"]));
}

#[test]
fn an_error_in_a_listener_fails_the_script() {
    let mut run = Setup::call(
        "async function main(data, ctx) { ctx.on('dtmf', () => { throw new Error('in a listener') }); await ctx.sleep(1) }",
    )
    .start();
    run.key('1');
    assert_eq!(run.error().message, "Error: in a listener");
}

#[test]
fn outcomes_of_unknown_operations_change_nothing() {
    let mut run = Setup::call("async function main(data, ctx) { await ctx.sleep(1) }").start();
    let end = run.entry(EntryKind::Outcome { op: op(9, 9), result: Ok(Outcome::Unit) });
    assert_eq!((end.turn, &end.state), (1, &RunState::Running));
}

#[test]
fn misspelt_options_are_pointed_out() {
    let run = Setup::call("async function main(data, ctx) { await ctx.play('x.wav', { lop: 3 }) }").start();
    assert_eq!(run.texts(), ["ctx.play has no option 'lop'"]);
}
