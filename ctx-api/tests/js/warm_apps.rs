//! Contexts that serve many runs which may go on after their first turn.

use std::sync::Arc;

use lockstep_ctx_api::host::HostReply;
use lockstep_ctx_api::op::OpId;
use lockstep_ctx_api::outcome::Outcome;
use lockstep_ctx_api::wire::{Bundle, Entry, EntryKind, RunId, RunState, ScriptErrorKind, ScriptType, ToWorker, TurnEnd};

use crate::harness::EPOCH_MS;
use crate::warm::{Bench, IS_SHARED, told};

/// Runs after which a script has a context to share.
const WARM: usize = 13;
fn app(source: &str) -> Bench {
    Bench::of(ScriptType::App, &[("main.js", source)])
}

/// Runs it until it has a context to share.
fn warmed(mut bench: Bench, data: &str) -> Bench {
    for _ in 0..WARM {
        bench.run(data);
    }
    bench
}

fn outcome(bench: &mut Bench, of: &TurnEnd, op: OpId, value: &str) -> TurnEnd {
    let result = Ok(Outcome::Host(HostReply { value: value.to_owned(), body: None }));
    entry(bench, of, EntryKind::Outcome { op, result })
}

fn entry(bench: &mut Bench, of: &TurnEnd, kind: EntryKind) -> TurnEnd {
    let entry = Entry { at: EPOCH_MS + 100_000, kind };
    bench.frame(ToWorker::Entry { run: of.run, epoch: of.epoch, entry }).expect("an entry is a turn")
}

const FIRST: OpId = OpId { turn: 0, ordinal: 0 };

#[test]
fn runs_come_to_share_a_context() {
    let mut bench = app(&format!("module.exports = async () => {IS_SHARED}"));
    assert_eq!(bench.run("0"), "false", "one run does not make up for a context's making");
    let mut bench = warmed(bench, "0");
    assert_eq!(bench.run("0"), "true");
}

#[test]
fn a_run_that_goes_on_has_its_context_for_itself_and_gives_it_back() {
    let source = format!(
        "const {{ kv }} = require('cxKV'); let turns = 0;
         async function main(wait) {{ turns += 1; mine = wait; if (wait) await kv.get('a'); turns += 1; return [{IS_SHARED}, turns, mine] }}"
    );
    let mut bench = warmed(app(&source), "0");
    let waiting = bench.end("1");
    assert_eq!(waiting.issued.len(), 1);
    // Nobody else is let in meanwhile, and another context is not worth its making yet.
    assert_eq!(bench.run("0"), "[false,2,0]");
    let end = outcome(&mut bench, &waiting, FIRST, "\"x\"");
    assert_eq!((end.run, end.turn, told(end.state)), (waiting.run, 1, "[true,2,1]".to_owned()));
    assert_eq!(bench.run("0"), "[true,2,0]");
}

#[test]
fn timers_are_each_runs_own() {
    let source = format!(
        "async function main(wait) {{
           if (wait) setInterval(() => {{ leaked = 1 }}, 5);
           await new Promise((resolve) => setTimeout(resolve, 10));
           return [{IS_SHARED}, typeof leaked];
         }}"
    );
    let mut bench = app(&source);
    for round in 0..2 * WARM {
        let end = bench.end("0");
        assert_eq!((end.wake_at.is_some(), &end.state), (true, &RunState::Running));
        let end = entry(&mut bench, &end, EntryKind::Wake);
        let is_shared = round >= WARM;
        if is_shared || told(end.state.clone()).starts_with("[true") {
            assert_eq!(told(end.state), "[true,\"undefined\"]");
        }
    }
    // One whose interval goes on is dropped by the engine, and takes the context with it.
    let end = bench.end("1");
    bench.frame(ToWorker::Drop { run: end.run, epoch: end.epoch });
    let end = bench.end("0");
    let end = entry(&mut bench, &end, EntryKind::Wake);
    assert_eq!(told(end.state), "[false,\"undefined\"]");
}

/// Runs an app in a shared context once with `1`, for what it breaks, and then with `0`: what it says then, and in which context.
#[track_caller]
fn after_attack(files: &[(&str, &str)]) -> String {
    let mut bench = warmed(Bench::of(ScriptType::App, files), "0");
    assert_eq!(bench.run("0"), "[\"clean\",true]", "before the attack: {files:?}");
    bench.run("1");
    bench.run("0")
}

#[test]
fn nothing_of_a_run_is_seen_by_the_next() {
    for (attack, look) in [
        ("leaked = 1", "typeof leaked !== 'undefined'"),
        ("(function () { return this.valueOf() })().leaked = 1", "typeof leaked !== 'undefined'"),
        ("count += 1", "count !== 0"),
        ("module.exports.leaked = 1", "module.exports.leaked"),
        ("load.leaked = 1", "load.leaked"),
        ("other.state.push(1)", "other.state.length !== 0"),
        ("other.leaked = 1", "require('./other').leaked"),
        ("cxKV.leaked = 1; cxKV.kv.leaked = 1", "require('cxKV').leaked || cxKV.kv.leaked"),
        ("cxKV.kv.get.leaked = 1", "cxKV.kv.get.leaked"),
        ("require('cxPubSub').leaked = 1", "require('cxPubSub').leaked"),
        ("console.leaked = 1; console.log = 1", "console.leaked || typeof console.log !== 'function'"),
        ("process.env.LEAKED = '1'", "process.env.LEAKED"),
        ("setTimeout.leaked = 1", "setTimeout.leaked"),
        ("fetch.leaked = 1; Headers.leaked = 1", "fetch.leaked || Headers.leaked"),
        ("new AbortController()['const' + 'ructor'].leaked = 1", "AbortController.leaked"),
        ("api.leaked = 1; api.send = 1", "api.leaked || api.send === 1"),
        ("getEnvVars.leaked = 1", "getEnvVars.leaked"),
        ("vars.leaked = 1", "vars.leaked"),
        ("err.leaked = 1; exit.leaked = 1", "err.leaked || exit.leaked"),
        ("new Error()['const' + 'ructor']['prepare' + 'StackTrace'] = () => 'evil'", "new Error().stack === 'evil'"),
        ("new Error()['const' + 'ructor']['stackTrace' + 'Limit'] = 0", "!new Error().stack.includes('main.js')"),
        ("[]['const' + 'ructor'].leaked = 1; [].map.leaked = 1", "[]['const' + 'ructor'].leaked || [].map.leaked"),
        ("(async () => {})['const' + 'ructor'].leaked = 1", "(async () => {})['const' + 'ructor'].leaked"),
        ("cxKV.kv.get('a')['const' + 'ructor'].leaked = 1", "cxKV.kv.get('a')['const' + 'ructor'].leaked"),
    ] {
        let source = format!(
            "const load = arguments[1]; const other = require('./other'); const cxKV = require('cxKV'); let count = 0;
             async function main(attack) {{
               if (attack) {{ try {{ {attack} }} catch {{}} return }}
               return [({look}) ? 'stained' : 'clean', {IS_SHARED}];
             }}"
        );
        let files = [("main.js", source.as_str()), ("other.js", "exports.state = []")];
        if look.contains("get('a')['const' + 'ructor']") {
            // What asks for something goes on: only its first turn is looked at.
            let mut bench = warmed(Bench::of(ScriptType::App, &files), "1");
            assert!(!bench.run("0").contains("stained"), "{attack}");
            continue;
        }
        let found = after_attack(&files);
        assert!(found.starts_with("[\"clean\","), "{attack}: {found}");
    }
}

#[test]
fn what_a_run_leaves_undone_never_runs() {
    for attack in [
        "Promise.resolve().then(() => { console.log('late') }); exit('gone')",
        "setTimeout(() => console.log('late'), 1); exit('gone')",
        "require('cxKV').kv.get('a').then(() => console.log('late')); exit('gone')",
        "require('cxKV').kv.get('a').then(() => console.log('late')); for (;;);",
    ] {
        let source = format!("async function main(attack) {{ if (attack) {{ {attack} }} return ['clean', {IS_SHARED}] }}");
        let mut bench = warmed(app(&source), "0");
        assert_eq!(bench.run("0"), "[\"clean\",true]");
        let end = bench.end("1");
        assert_ne!(end.state, RunState::Running, "{attack}");
        if !end.issued.is_empty() {
            assert_eq!(outcome(&mut bench, &end, FIRST, "1").turn, 1, "{attack}");
        }
        bench.frame(ToWorker::Drop { run: end.run, epoch: end.epoch });
        for _ in 0..2 * WARM {
            assert!(bench.run("0").starts_with("[\"clean\","), "{attack}");
        }
        assert_eq!(bench.texts, [""; 0], "{attack}");
    }
}

#[test]
fn a_limit_is_each_runs_own() {
    let source = format!(
        "async function main(attack) {{
           if (attack === 1) {{ const all = []; for (;;) all.push('x'.repeat(1 << 20) + all.length) }}
           if (attack === 2) for (;;);
           return ['x'.repeat(5 << 20).length, {IS_SHARED}];
         }}"
    );
    let mut bench = warmed(app(&source), "0");
    for (attack, kind) in [("1", ScriptErrorKind::MemoryLimit), ("2", ScriptErrorKind::TurnLimit)] {
        let RunState::Failed(error) = bench.end(attack).state else { panic!("there is a limit") };
        assert_eq!(error.kind, kind);
        for _ in 0..4 * WARM {
            assert!(bench.run("0").starts_with("[5242880,"));
        }
        assert_eq!(bench.run("0"), "[5242880,true]", "a new context was made for the one that was lost");
    }
}

#[test]
fn what_is_for_synchronous_scripts_only_is_not_asked_of_apps() {
    let source = "const { half } = require('./half');
        module.exports = { main: (data) => Promise.resolve(half(data)), twice: async (data) => data * 2, nothing() {}, late(data) { setTimeout(() => exit(data), 0) } };";
    let files = [("main.js", source), ("half.js", "exports.half = (data) => data / 2")];
    let mut bench = warmed(Bench::of(ScriptType::App, &files), "8");
    assert_eq!(bench.run("8"), "4");
    for (function, result) in [
        ("twice", "16"),
        ("nothing", "8"),
        ("absent", "Error: main.js has no function 'absent'; it exports main, twice, nothing, late"),
    ] {
        bench.header.function = Some(function.to_owned());
        assert_eq!(bench.run("8"), result);
    }
    bench.header.function = Some("late".to_owned());
    let end = bench.end("8");
    assert_eq!(told(entry(&mut bench, &end, EntryKind::Wake).state), "8");
}

#[test]
fn who_might_tell_that_it_is_shared_does_not_share() {
    let frozen = IS_SHARED;
    for source in [
        format!("Math.twice = (n) => 2 * n; exports.main = () => [Math.twice(1), {frozen}]"),
        format!("exports.main = () => [2, {frozen}]; const M = Math; M.extra = 1"),
        format!("exports.main = () => [2, {frozen}]; void require('./helper')"),
        format!("export const main = () => [2, {frozen}]"),
        format!("exports.main = () => [2, {frozen}]; Object.getPrototypeOf([1]).sum = 1"),
        format!("exports.main = () => [2, {frozen}]; [].constructor.extra = 1"),
        format!(
            "exports.main = () => [2, {frozen}]; (function (root) {{ root.JSON.extra = 1 }})(function () {{ return this }}())"
        ),
    ] {
        let files = [("main.js", source.as_str()), ("helper.js", "String.prototype.shout = 1")];
        let mut bench = warmed(Bench::of(ScriptType::App, &files), "0");
        assert_eq!(bench.run("0"), "[2,false]", "{source}");
    }
}

#[test]
fn another_script_never_gets_the_context() {
    let source = format!("let seen = 0; exports.main = () => [++seen, {IS_SHARED}]");
    let mut bench = warmed(app(&source), "0");
    assert_eq!(bench.run("0"), "[1,true]");
    // The same text in a bundle of another account.
    let files = [("main.js".to_owned(), source.as_str().into())].into();
    let sources = Arc::new(Bundle { entry: "main.js".to_owned(), files, ..Bundle::default() });
    bench.frame(ToWorker::Bundle { bundle: 2, sources });
    bench.header.bundle = 2;
    assert_eq!(bench.run("0"), "[1,false]");
    bench.header.bundle = 1;
    assert_eq!(bench.run("0"), "[1,true]");
    bench.frame(ToWorker::DropBundle { bundle: 1 });
    assert!(!bench.run("0").contains("true"), "a bundle that is gone has no context either");
}

#[test]
fn a_run_that_was_ended_from_outside_takes_its_context_with_it() {
    let source = format!(
        "const {{ kv }} = require('cxKV'); exports.main = async (wait) => {{ if (wait) {{ await kv.get('a'); console.log('late') }} return {IS_SHARED} }}"
    );
    let mut bench = warmed(app(&source), "0");
    assert_eq!(bench.run("0"), "true");
    let end = bench.end("1");
    bench.frame(ToWorker::Drop { run: end.run, epoch: end.epoch });
    let late = Entry { at: EPOCH_MS, kind: EntryKind::Outcome { op: FIRST, result: Ok(Outcome::Unit) } };
    assert_eq!(bench.frame(ToWorker::Entry { run: RunId(end.run.0), epoch: end.epoch, entry: late }), None);
    assert_eq!(bench.run("0"), "false");
    assert_eq!(bench.texts, [""; 0]);
}
