//! Contexts that serve many runs of a synchronous script: none learns anything of another, none harms another.

use std::sync::Arc;

use lockstep_ctx_api::js::{PRELUDE_VERSION, Worker};
use lockstep_ctx_api::wire::{
    Bundle, FromWorker, Limits, RunHeader, RunId, RunState, ScriptErrorKind, ScriptType, Start, ToWorker, TurnEnd,
};

use crate::harness::EPOCH_MS;

/// Says whether the context is a shared one, without a word that would keep it from being shared.
pub(crate) const IS_SHARED: &str = "({})['const' + 'ructor']['isFro' + 'zen']([].map)";

/// A worker that runs one script over and over.
pub(crate) struct Bench {
    worker: Worker,
    pub(crate) header: RunHeader,
    runs: u64,
    pub(crate) texts: Vec<String>,
}

impl Bench {
    pub(crate) fn new(source: &str) -> Self {
        Self::of(ScriptType::Script, &[("main.js", source)])
    }

    pub(crate) fn of(script_type: ScriptType, files: &[(&str, &str)]) -> Self {
        let mut worker = Worker::new().expect("the prelude compiles");
        let files = files.iter().map(|(name, source)| ((*name).to_owned(), (*source).into())).collect();
        let sources = Arc::new(Bundle { entry: "main.js".to_owned(), files, ..Bundle::default() });
        worker.handle(ToWorker::Bundle { bundle: 1, sources }, &mut Vec::new());
        let header = RunHeader {
            bundle: 1,
            script_type,
            function: None,
            env: [("CORRELATION_ID".to_owned(), "run".to_owned())].into(),
            limits: Limits { memory_bytes: 16 << 20, turn_ms: 200, after_end_ms: 10_000 },
            seed: [7; 32],
            time_zone: "UTC".to_owned(),
            prelude: PRELUDE_VERSION,
            is_awaited: true,
        };
        Self { worker, header, runs: 0, texts: Vec::new() }
    }

    pub(crate) fn end(&mut self, data: &str) -> TurnEnd {
        self.runs += 1;
        let start = Arc::new(Start { at: EPOCH_MS + self.runs, data: data.to_owned(), call: None });
        let header = Arc::new(self.header.clone());
        self.frame(ToWorker::Start { run: RunId(self.runs), epoch: 1, header, start }).expect("a start is a turn")
    }

    pub(crate) fn frame(&mut self, frame: ToWorker) -> Option<TurnEnd> {
        let mut out = Vec::new();
        self.worker.handle(frame, &mut out);
        let mut ended = None;
        for frame in out {
            match frame {
                FromWorker::Log { line, .. } => self.texts.push(line.text),
                FromWorker::TurnEnd(end) => ended = Some(end),
                FromWorker::Ready { .. } => {}
            }
        }
        ended
    }

    /// JSON of a result, or the message of an error.
    pub(crate) fn run(&mut self, data: &str) -> String {
        told(self.end(data).state)
    }
}

/// JSON of a result, or the message of an error.
pub(crate) fn told(state: RunState) -> String {
    match state {
        RunState::Finished { result } => result.unwrap_or_else(|| "undefined".to_owned()),
        RunState::Failed(error) => error.message,
        RunState::Running => "still running".to_owned(),
    }
}

/// Runs a script once with `1`, for what it breaks, and then with `0`: what it says then.
#[track_caller]
fn after_attack(source: &str) -> String {
    let mut bench = Bench::new(source);
    assert_eq!(bench.run("0"), "\"clean\"", "before the attack: {source}");
    bench.run("1");
    bench.run("0")
}

#[test]
fn nothing_of_a_run_is_seen_by_the_next() {
    for source in [
        // The top level is evaluated anew.
        "let count = 0; function main() { count += 1; return count === 1 ? 'clean' : 'stained' }",
        "const seen = []; function main() { seen.push(1); return seen.length === 1 ? 'clean' : 'stained' }",
        // A name that was never declared belongs to the run.
        "function main(attack) { if (attack) leaked = 1; return typeof leaked === 'undefined' ? 'clean' : 'stained' }",
        "function main(attack) { if (attack) this.leaked = 1; return typeof leaked === 'undefined' ? 'clean' : 'stained' }",
        "module.exports = { main(attack) { const seen = module.exports.seen; module.exports.seen = 1; return seen ? 'stained' : 'clean' } }",
        // The wrapper of the file is shared, but frozen.
        "const outer = arguments['cal' + 'lee']; function main(attack) { if (attack) outer.leaked = 1; return outer.leaked ? 'stained' : 'clean' }",
        "const tell = arguments[5]; function main(attack) { if (attack) tell.leaked = 1; return tell.leaked ? 'stained' : 'clean' }",
        // So do the objects of one evaluation, also where the file does nothing but declare functions.
        "function main(attack) { if (attack) exports.leaked = 1; return exports.leaked ? 'stained' : 'clean' }",
        "function main(attack) { if (attack) module.leaked = 1; return module.leaked ? 'stained' : 'clean' }",
        // What is made when it is named is made again.
        "function main(attack) { if (attack) console.leaked = 1; return console.leaked ? 'stained' : 'clean' }",
        "function main(attack) { if (attack) process.env.LEAKED = '1'; return process.env.LEAKED ? 'stained' : 'clean' }",
        "function main(attack) { const B = this['Buf' + 'fer']; if (attack) B.leaked = 1; return B.leaked ? 'stained' : 'clean' }",
        "function main(attack) { const D = this['Da' + 'te']; if (attack) D.now = () => 1; return D.now() > 1 ? 'clean' : 'stained' }",
        "function main(attack) { const C = this['cry' + 'pto']; if (attack) C.leaked = 1; return C.leaked ? 'stained' : 'clean' }",
        "function main(attack) { if (attack) require.leaked = 1; return require.leaked ? 'stained' : 'clean' }",
        "function main(attack) { if (attack) console.count('x'); console.count('x'); return 'clean' }",
        // What is behind an accessor.
        "function main(attack) { if (attack) ({}).toString.leaked = 1; return ({}).toString.leaked ? 'stained' : 'clean' }",
        "function main(attack) { const list = [], key = 'x'; list[key] = 1; if (attack) list.map.leaked = 1; return list.map.leaked ? 'stained' : 'clean' }",
        // The registry of symbols knows names, and those hold nothing.
        "function main(attack) { const key = Symbol.for('x'), O = this['Obj' + 'ect']; if (attack) O[key] = 1; return O[key] ? 'stained' : 'clean' }",
        "const tag = (strings) => strings; function main(attack) { const s = tag`a`; try { s.leaked = 1 } catch {} return s.leaked ? 'stained' : 'clean' }",
    ] {
        assert_eq!(after_attack(source), "\"clean\"", "{source}");
    }
}

#[test]
fn an_error_that_is_returned_is_one() {
    let mut bench = Bench::new("function main({ n }) { return n > 1 ? { n } : new Error('404 No') }");
    assert_eq!([1, 2, 1].map(|n| bench.run(&format!(r#"{{"n":{n}}}"#))), ["Error: 404 No", r#"{"n":2}"#, "Error: 404 No"]);
}

#[test]
fn a_file_of_functions_runs_like_one_that_does_more() {
    for source in [
        "function main() { return vars.n }",
        "function main(data) { if (data.n > 1) exit({ n: vars().n }); data.n += 1 }",
        "function main({ n }) { throw new Error(`40${n} No`) }",
        "function main() { return help() } function help() { this.count = (this.count || 0) + 1; return this.count }",
        "function main() { leaked = typeof leaked; console.seen = leaked + console.seen; return console.seen }",
        "function main(data) { return typeof require + typeof module + typeof exports + data.main }",
        "function main(data) { return { then: data.n > 1 ? () => 1 : 0 } }",
        "'use strict'; const N = 2; function main(data) { return data.n / N + half(data) } function half({ n }) { return n / 2 }",
    ] {
        let mut benches = [Bench::new(source), Bench::new(&format!("{source}\nvar other;"))];
        for data in [r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#, r#"{"n":1}"#] {
            let [once, anew] = benches.each_mut().map(|bench| bench.run(data));
            assert_eq!(once, anew, "{source} {data}");
        }
    }
}

#[test]
fn synchronous_scripts_do_share_a_context() {
    let mut bench = Bench::new(&format!("function main() {{ return {IS_SHARED} }}"));
    assert_eq!([bench.run("0"), bench.run("0")], ["true", "true"]);
}

#[test]
fn built_ins_cannot_be_poisoned() {
    for attack in [
        "B('Array')[P].map = () => ['evil']",
        "B('Array')[P].includes = () => true; B('Map')[P].get = () => 'evil'; B('Set')[P].has = 1",
        "O[P].evil = 1",
        "B('JSON').stringify = () => '\"evil\"'",
        "B('Math').max = () => 0",
        "B('String')[P].split = () => ['evil']",
        "B('Promise')[P].then = () => {}",
        "B('Array')[P][B('Symbol').iterator] = function* () { yield 'evil' }",
        "O[GP]([].values()).next = () => ({ done: true })",
        "O[GP](O[GP]([].values())).map = () => 'evil'",
        "O[GP](function* () {})[P].next = () => 1",
        "O[GP](new Map().entries()).next = () => ({ done: true })",
        "O[GP](B('Uint8Array'))[P].set = () => {}",
        "O[GP](async () => {}).evil = 1",
        "B('Error')[P].name = 'evil'",
        "B('Error')['prepare' + 'StackTrace'] = () => 'evil'",
        "B('Error')['stackTrace' + 'Limit'] = 0",
        "O[GP](Iterator.concat([])).next = () => ({ done: true })",
        "O[DP](O[P], 'evil', { value: 1 })",
        "O[SP](B('Array')[P], { evil: 1 })",
        "O[SP](G, { evil: 1 })",
        "O[SP](O[GP](G), { evil: 1 })",
        "O[GP](G).evil = 1",
        "O[GP](O[GP](G)).evil = 1",
        "O[GP](O[GP](O[GP](G))).evil = 1",
        "O.preventExtensions(G)",
        "O[DP](G, 'evil', { value: 1, configurable: false })",
        "delete O[GP](G).Array; G.Array = undefined",
        "G.Array = undefined",
        "G.Array = class extends Array { map() { return ['evil'] } }",
        "new Map()['const' + 'ructor'][P].get = () => 'evil'",
        "O[GP](O['getOwn' + 'PropertyDescriptor'](O[P], 'toString').get).evil = 1",
        "O['getOwn' + 'PropertyDescriptor'](O[P], 'toString').get.evil = 1",
        "for (const k of ['push', 'join', 'concat', 'slice']) O[DP](B('Array')[P], k, { value: () => 'evil' })",
        "B('URL')[P].toString = () => 'evil'; B('URL').evil = 1",
    ] {
        let source = format!(
            "const P = 'proto' + 'type', DP = 'define' + 'Property', SP = 'set' + 'PrototypeOf', GP = 'get' + 'PrototypeOf', O = ({{}})['const' + 'ructor'];
             const G = (function () {{ return this.valueOf() }})(), B = (name) => G[name];
             function check() {{
               const found = [[1, 2].map((n) => n + 1).join(), {{}}.evil, [].evil, [...'ab'].length, Math.max(1, 2), 'a,b'.split(',').length,
                 JSON.stringify({{ a: [1] }}), [...new Map([[1, 2]])].length, new Map([[1, 2]]).get(1), new Error('x').name, typeof evil,
                 (function* () {{ yield 1 }})().next().value, [...[1, 2].values()].length, String({{}}), (() => {{}}).evil,
                 new URL('http://a/b').pathname, URL.evil, String(new URL('http://a/b')), typeof Array, `${{new Error('y')}}`,
                 typeof Error['prepare' + 'StackTrace'], new Error('z').stack.includes('main.js'), [...Iterator.concat([1])].length, O['isFro' + 'zen']([].map)];
               return JSON.stringify(found);
             }}
             function main(attack) {{
               if (attack) {{ try {{ {attack} }} catch {{}} }} else return check() === '[\"2,3\",null,null,2,2,2,\"{{\\\\\"a\\\\\":[1]}}\",1,2,\"Error\",\"undefined\",1,2,\"[object Object]\",null,\"/b\",null,\"http://a/b\",\"function\",\"Error: y\",\"undefined\",true,1,true]' ? 'clean' : check();
             }}"
        );
        assert_eq!(after_attack(&source), "\"clean\"", "{attack}");
    }
}

#[test]
fn what_a_run_leaves_undone_never_runs() {
    let source = "function main(attack) {
        if (attack) { Promise.resolve().then(() => { leaked = 1; console.log('late') }); exit('gone') }
        return typeof leaked === 'undefined' ? 'clean' : 'stained';
    }";
    let mut bench = Bench::new(source);
    assert_eq!(bench.run("1"), "\"gone\"");
    assert_eq!(bench.run("0"), "\"clean\"");
    assert_eq!(bench.texts, [""; 0]);
}

#[test]
fn a_rejection_belongs_to_its_run() {
    let mut bench = Bench::new("function main(attack) { if (attack) Promise.reject(new Error('mine')); return 'clean' }");
    assert_eq!(bench.run("0"), "\"clean\"");
    bench.run("1");
    assert_eq!(bench.run("0"), "\"clean\"");
}

#[test]
fn a_run_that_hits_a_limit_does_not_take_the_next_one_with_it() {
    for attack in ["for (;;);", "const a = []; for (;;) a.push(new Array(1000).fill(a.length))", "(function f() { f() })()"] {
        let source = format!("function main(attack) {{ if (attack) {{ {attack} }} return 'clean' }}");
        assert_eq!(after_attack(&source), "\"clean\"", "{attack}");
    }
}

#[test]
fn a_limit_is_each_runs_own() {
    // A third of the limit at a time: what one run has used is not held against the next.
    let mut bench = Bench::new("function main() { return 'x'.repeat(5 << 20).length }");
    for _ in 0..20 {
        assert_eq!(bench.run("0"), "5242880");
    }
    let mut greedy = Bench::new("function main() { const all = []; for (;;) all.push('x'.repeat(1 << 20) + all.length) }");
    for _ in 0..5 {
        let RunState::Failed(error) = greedy.end("0").state else { panic!("there is a limit") };
        assert_eq!(error.kind, ScriptErrorKind::MemoryLimit);
    }
}

#[test]
fn objects_of_a_run_may_differ_from_the_frozen_ones() {
    let source = "'use strict';
        class Failure extends Error { constructor(text) { super(text); this.name = 'Failure' } }
        function Old() { this.toString = () => 'old' }
        function main() {
            const error = new TypeError('x'); error.name = 'Mine'; error.message = 'changed';
            const object = {}; object.toString = () => 'own'; object.constructor = 1; object.hasOwnProperty = () => true;
            const list = [1]; list.toString = () => 'list';
            const fn = () => 1; fn.toString = () => 'fn';
            return [String(error), String(new Failure('f')), String(object), String(new Old()), String(list), String(fn), Object.keys(object).length];
        }";
    let mut bench = Bench::new(source);
    for _ in 0..2 {
        assert_eq!(bench.run("0"), r#"["Mine: changed","Failure: f","own","old","list","fn",3]"#);
    }
}

#[test]
fn an_assignment_gives_an_object_of_the_run_its_own_property() {
    for (body, result) in [
        ("const rates = []; ['de', 'at', 'ch'].forEach((code, n) => { rates[code] = n }); return", "rates['at']"),
        ("const counts = [], by = new Map(); counts['map'] = 0; ++counts['map']; by[String(counts.map)] = 1; return", "by[1]"),
        ("const list = [2]; list.find = () => list[0] - 1; return", "list.find()"),
        ("class Registry extends Map { all() { this.get = () => 1; return this.get() } }; return", "new Registry().all()"),
        (
            "class List extends Array {}; const list = new List(); list.filter = () => 1; List.from = () => list.filter(); return",
            "List.from()",
        ),
        ("const all = [1, 2].values(); all.next = () => 1; return", "all.next()"),
        ("const list = Object.assign([], { at: 1 }); return", "list.at"),
        ("'use strict'; const list = []; [list.push] = [1]; return", "list.push"),
        ("const list = []; ++(list.find); return", "typeof list.find === 'number' ? 1 : 0"),
        ("for (atob = 0; atob < 1; atob++); return", "atob"),
        ("const before = typeof escape; escape = () => 1; return", "before === 'function' ? escape('') : before"),
        ("parseFloat = () => 1; this.isNaN = parseFloat; return", "isNaN(NaN)"),
    ] {
        let mut bench = Bench::new(&format!("function main() {{ {body} [{result}, {IS_SHARED}] }}"));
        for _ in 0..2 {
            assert_eq!(bench.run("0"), "[1,true]", "{body}");
        }
    }
}

#[test]
fn methods_that_loops_call_have_no_accessor_where_keys_are_computed() {
    let source = format!(
        "function main(key) {{
            const O = ({{}})['const' + 'ructor'], list = [];
            list[key] = 1;
            const {{ value }} = O['getOwn' + 'PropertyDescriptor'](O['get' + 'PrototypeOf'](list), 'push');
            return [typeof value, list.push, {IS_SHARED}];
        }}"
    );
    let mut bench = Bench::new(&source);
    for _ in 0..2 {
        assert_eq!(bench.run("\"push\""), r#"["function",1,true]"#);
    }
}

#[test]
fn every_style_of_a_synchronous_script_works_again_and_again() {
    for (source, result) in [
        ("function main(data) { return data.n + 1 }", "2"),
        ("function main(data) { data.n = 5 }", r#"{"n":5}"#),
        ("vars.n = 7", r#"{"n":7}"#),
        ("exit({ got: vars().n })", r#"{"got":1}"#),
        ("function main() { err([404, 'Not Found']) }", "404 Not Found"),
        ("function main() { throw '604 On DNC List' }", "604 On DNC List"),
        ("module.export = { main: (data) => data.n }", "1"),
        ("function main() { return process.env.CORRELATION_ID }", "\"run\""),
        ("function main() { return require('cxKV') }", "Error: a script of type 'script' has no require; make it type 'app'"),
        (
            "async function main() {}",
            "Error: main returned a promise, but a script of type 'script' is synchronous; make it type 'app'",
        ),
        ("function main() { return new Date().getUTCFullYear() + structuredClone([1])[0] }", "2024"),
        ("function main() { return Buffer.from('hi').toString('base64') + new URL('http://a/b').pathname }", "\"aGk=/b\""),
    ] {
        let mut bench = Bench::new(source);
        for _ in 0..3 {
            assert_eq!(bench.run(r#"{"n":1}"#), result, "{source}");
        }
    }
}

#[test]
fn time_chance_and_arguments_are_each_runs_own() {
    let mut bench =
        Bench::new("exports.main = (d) => [d, Date.now(), Math.random(), performance.now()]; exports.other = () => 'other'");
    let first = bench.run("1");
    let second = bench.run("2");
    assert!(first.starts_with(&format!("[1,{},", EPOCH_MS + 1)) && second.starts_with(&format!("[2,{},", EPOCH_MS + 2)));
    let chance = |text: &str| text.split(',').nth(2).unwrap().to_owned();
    assert_eq!(chance(&first), chance(&second), "the same seed gives the same numbers");
    bench.header.seed = [8; 32];
    assert_ne!(chance(&bench.run("3")), chance(&first));
    bench.header.function = Some("other".to_owned());
    assert_eq!(bench.run("4"), "\"other\"");
}

#[test]
fn an_error_has_its_place_in_every_run() {
    let mut bench = Bench::new("function main() {\n  null.x;\n}");
    for _ in 0..3 {
        let RunState::Failed(error) = bench.end("1").state else { panic!("it throws") };
        assert_eq!(error.at.map(|at| at.to_string()).as_deref(), Some("main.js:2:3"));
    }
}

#[test]
fn a_synchronous_script_starts_no_operation_and_the_next_run_is_clean() {
    let mut bench = Bench::new("function main(attack) { if (attack) fetch('https://example.net/'); return 'clean' }");
    for _ in 0..3 {
        let end = bench.end("1");
        let RunState::Failed(error) = &end.state else { panic!("{end:?}") };
        assert!(error.message.contains("cannot call fetch"), "{error}");
        assert_eq!((end.issued.len(), error.at.as_ref().map(|at| at.line)), (0, Some(1)));
        assert_eq!(bench.run("0"), "\"clean\"");
    }
}

#[test]
fn a_script_that_keeps_changing_the_language_gets_its_way_without_sharing() {
    let source =
        "String.prototype.shout = function () { return this.toUpperCase() + '!' }; function main(d) { return d.shout() }";
    let mut bench = Bench::new(source);
    for _ in 0..3 {
        assert_eq!(bench.run("\"hi\""), "\"HI!\"");
    }
}
