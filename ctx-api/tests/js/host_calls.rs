//! Modules of the prelude, and the services they call.

use lockstep_ctx_api::host::{HostCall, HostReply};
use lockstep_ctx_api::wire::ScriptErrorKind;
use lockstep_ctx_api::{ErrorCode, Op, OpError, Outcome};

use crate::harness::{Run, Setup};

/// The call of a service that is pending.
fn asked(run: &Run) -> &HostCall {
    match run.op("host") {
        Op::Host(call) => call,
        other => panic!("expected a call of a service, got {other:?}"),
    }
}

fn answer(run: &mut Run, value: &str) {
    run.settle("host", Ok(Outcome::Host(HostReply { value: value.to_owned(), body: None })));
}

#[test]
fn a_module_is_reached_in_every_way_it_can_be_written() {
    for source in [
        "const { kv } = require('cxKV'); async function main() { return kv.get('a') }",
        "const { kv } = await import('cxKV'); export const main = () => kv.get('a')",
        "import { kv } from 'cxKV'; export const main = () => kv.get('a')",
        "import cxKV from 'cxKV'; export const main = () => cxKV.kv.get('a')",
        "import * as cxKV from 'cxKV'; export const main = () => cxKV.kv.get('a')",
    ] {
        let mut run = Setup::app(source).start();
        let call = asked(&run);
        assert_eq!((call.label().as_str(), call.args.as_str(), call.listens), ("kv.get", r#"["a"]"#, false), "{source}");
        answer(&mut run, "\"one\"");
        assert_eq!(run.result(), "\"one\"", "{source}");
        run.assert_replays();
    }
}

#[test]
fn an_answer_without_a_value_is_undefined() {
    let mut run =
        Setup::app("const { kv } = require('cxKV'); async function main() { return typeof await kv.set('a', 1) }").start();
    assert_eq!(asked(&run).args, r#"["a","1",null]"#);
    answer(&mut run, "");
    assert_eq!(run.result(), "\"undefined\"");
}

#[test]
fn a_failure_is_an_error_at_the_line_that_asked() {
    let source = "const { incr } = require('cxKV');\nasync function main() {\n  await incr('a');\n}";
    let mut run = Setup::app(source).start();
    run.settle("host", Err(OpError::new(ErrorCode::LimitError, "kv.incr: the account's keys are full")));
    let error = run.error();
    assert_eq!(error.message, "LimitError: kv.incr: the account's keys are full");
    assert_eq!(error.at.as_ref().map(ToString::to_string).as_deref(), Some("main.js:3:9"));
    assert_eq!(error.kind, ScriptErrorKind::Thrown);
}

#[test]
fn arguments_that_do_not_fit_reject_the_promise_at_their_line() {
    let source = "const { kv } = require('cxKV');\nfunction main() {\n  return kv.get({}).catch((e) => { console.log(e.name); throw e });\n}";
    let run = Setup::app(source).start();
    assert_eq!(run.texts(), ["TypeError"]);
    assert_eq!(run.error().message, "TypeError: kv.get: the key must be a string, got object");
    assert_eq!(run.error().at.as_ref().map(|at| at.line), Some(3));
}

#[test]
fn arguments_are_bounded_in_bytes_and_in_values() {
    for (parameters, expected) in [
        ("Array(60000).fill(1)", "LimitError: cxUserspace.sql: the arguments hold more than 50000 values"),
        ("['x'.repeat(4 << 20)]", "bytes as JSON, at most 3145728 fit"),
    ] {
        let source =
            format!("const us = require('cxUserspace');\nasync function main() {{ await us.sql('select ?', {parameters}) }}");
        let run = Setup::app(&source).start();
        assert!(run.error().message.ends_with(expected), "{}", run.error());
    }
    let run =
        Setup::app("const us = require('cxUserspace');\nasync function main() { await us.sql('select ?', ['1,'.repeat(1e6)]) }")
            .start();
    assert_eq!(asked(&run).function, "sql");
}

#[test]
fn an_argument_that_is_missing_is_no_text() {
    let control = "const { C4, C5 } = require('cxCallControl'); function main() { return";
    let failing = "new Promise((_, reject) => C5()";
    for (source, message) in [
        (
            "const { originate } = require('cxOriginate'); function main() { return originate(1, 's', '45123', '44999') }"
                .to_owned(),
            "cxOriginate.originate: `extension` must be a string, got undefined",
        ),
        (
            format!("{control} {failing}.originate({{ to: 1 }}).on('error', reject)) }}"),
            "C5().originate: `destination` must be a string, got undefined",
        ),
        (
            format!("{control} {failing}.originate('1', '2').on('error', reject)) }}"),
            "C5().originate: `extension` must be a string, got undefined",
        ),
        (format!("{control} C5().transfer('a') }}"), "C5().transfer: `destination` must be a string, got undefined"),
        (format!("{control} C5().hangup() }}"), "C5().hangup: `id` must be a string, got undefined"),
        (
            "const { generatePbxSecurityKey } = require('cxHelper'); function main() { return generatePbxSecurityKey(12) }"
                .to_owned(),
            "cxHelper.generatePbxSecurityKey: `server` must be a string, got undefined",
        ),
        (
            "const { sip } = require('cxSend'); function main() { return sip() }".to_owned(),
            "cxSend.sip: `to` must be a string, got undefined",
        ),
        ("function main() { return setEnvVar(undefined, 'x') }".to_owned(), "setEnvVar: `key` must be a string, got undefined"),
        ("function main() { return api.send.sms('441') }".to_owned(), "cxSend.sms: `text` must be a string, got undefined"),
    ] {
        assert_eq!(Setup::app(&source).start().error().message, format!("TypeError: {message}"), "{source}");
    }
}

#[test]
fn what_a_listener_of_a_placed_call_throws_is_the_scripts_own() {
    let source = "const { C5 } = require('cxCallControl');
    function main() {
      return new Promise((resolve) => {
        const call = C5().originate('1', '2', '3').on('error', () => resolve('no call'));
        call.on('ringing', () => { throw new Error('mine') }).on('ringing', () => console.log('rings'));
      });
    }";
    let mut run = Setup::app(source).start();
    answer(&mut run, r#"{"id":"c","seen":0}"#);
    answer(&mut run, r#"{"seq":1,"event":"ringing"}"#);
    assert_eq!(run.error().message, "Error: mine");
    assert_eq!(run.texts(), ["rings"]);
}

#[test]
fn listeners_of_a_placed_call_come_and_go_as_those_of_node() {
    let source = "const { C5 } = require('cxCallControl');
    function main() {
      return new Promise((resolve) => {
        const call = C5().originate('1', '2', '3').on('hangup', resolve);
        const [gone, heard] = [() => console.log('gone'), ({ call_id }) => console.log(call_id)];
        call.once('ringing', gone).off('ringing', gone).addListener('answered', gone).removeListener('answered', gone);
        call.once('ringing', heard).on('ringing', heard, true);
      });
    }";
    let mut run = Setup::app(source).start();
    answer(&mut run, r#"{"id":"c","seen":0}"#);
    for (seq, event) in ["ringing", "answered", "ringing", "hangup"].into_iter().enumerate() {
        answer(&mut run, &format!(r#"{{"seq":{seq},"event":"{event}"}}"#));
    }
    assert_eq!(run.texts(), ["c"; 3]);
    assert_eq!(run.result(), r#"{"call_id":"c"}"#);
}

#[test]
fn integers_that_no_number_holds_are_given_and_taken_as_bigint() {
    let source = "const { sql } = require('cxUserspace'); async function main() { const [{ n }] = await sql('select ? as n', [9007199254740993n]); return typeof n + n }";
    let mut run = Setup::app(source).start();
    assert_eq!(asked(&run).args, r#"["select ? as n",[{"$int":"9007199254740993"}]]"#);
    answer(&mut run, r#"{"columns":["n"],"rows":[{"n":{"$int":"9007199254740993"}}],"changes":0,"lastID":0}"#);
    assert_eq!(run.result(), "\"bigint9007199254740993\"");
}

#[test]
fn a_call_that_was_not_awaited_and_failed_is_spoken_of() {
    let mut run =
        Setup::call("const { kv } = require('cxKV');\nasync function main(_, ctx) { kv.set('a', 'b'); await ctx.answer() }")
            .start();
    run.settle("host", Err(OpError::new(ErrorCode::LimitError, "kv.set: full")));
    assert_eq!(run.texts(), ["main.js:2: kv.set() was not awaited and failed: LimitError: kv.set: full"]);
    assert!(run.is_running());
}

#[test]
fn a_callback_style_script_is_done_when_the_last_answer_has_come() {
    let source = "const { kv } = require('cxKV'); function main(data) { kv.get('a').then((v) => { data.a = v }) }";
    let mut run = Setup::app(source).start();
    assert!(run.is_running());
    answer(&mut run, "null");
    assert_eq!(run.result(), r#"{"n":1,"a":null}"#);
}

#[test]
fn an_async_main_that_returned_nothing_waits_for_what_may_call_exit_only() {
    let kv = "const { kv } = require('cxKV');";
    let over = Setup::app(&format!("{kv} async function main(data) {{ data.n = 2; kv.get('a').catch((err) => {{}}) }}")).start();
    assert_eq!(over.result(), r#"{"n":2}"#);
    for source in [
        "async function main() { kv.get('a').then((v) => exit(v)) }",
        "async function main() { kv.get('a').then(exit) }",
        "async function main() { kv.get('a').then(require('late')) }",
        "async function main() { setTimeout(() => exit(0), 10); kv.get('a').then((v) => exit(v)) }",
    ] {
        let mut run = Setup::app(&format!("{kv} {source}")).file("late.js", "module.exports = (v) => exit(v)").start();
        assert!(run.is_running(), "{source}");
        answer(&mut run, "7");
        assert_eq!(run.result(), "7", "{source}");
        run.assert_replays();
    }
    let mut refused = Setup::app(&format!("{kv} async function main() {{ kv.get('a').then(() => err([404, 'Gone'])) }}")).start();
    answer(&mut refused, "7");
    assert_eq!(refused.error().sip, Some((404, "Gone".to_owned())));
}

#[test]
fn numbers_are_looked_up_and_messages_sent_by_name() {
    for (source, label, args) in [
        ("async function main() { return api.lookup.hlr('441') }", "lookup.hlr", r#"["441"]"#),
        ("async function main() { return api.lookup['my-own'](441) }", "lookup.my-own", "[441]"),
        ("async function main() { return api.send.sms('441', 'hi') }", "send.sms", r#"["441","hi",null]"#),
        (
            "import { sms } from 'cxSend'; export const main = () => sms({ to: 441, text: 'hi', from: 'Desk' })",
            "send.sms",
            r#"["441","hi","Desk"]"#,
        ),
        ("import cxSend from 'cxSend'; export const main = () => cxSend.email({ to: 'a' })", "send.email", r#"[{"to":"a"}]"#),
        (
            "async function main() { return api.send.notify('Down', 'gateway 7') }",
            "send.notify",
            r#"[{"title":"Down","text":"gateway 7"}]"#,
        ),
    ] {
        let mut run = Setup::app(source).start();
        let call = asked(&run);
        assert_eq!((call.label().as_str(), call.args.as_str()), (label, args), "{source}");
        answer(&mut run, "1");
        assert_eq!(run.result(), "1", "{source}");
    }
}
