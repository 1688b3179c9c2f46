//! Every way a script may be written (contract, section 1).

use lockstep_ctx_api::wire::{ScriptErrorKind, ScriptType};

use crate::harness::Setup;

#[test]
fn main_in_every_place_it_may_stand() {
    let places = [
        "function main(data) { return data.n + 1 }",
        "async function main(data) { return data.n + 1 }",
        "const main = (data) => data.n + 1",
        "main = function (data) { return data.n + 1 }",
        "'use strict'; function main(data) { return data.n + 1 }",
        "module.exports.main = (data) => data.n + 1",
        "exports.main = async (data) => data.n + 1",
        "module.exports = { main(data) { return data.n + 1 } }",
        "module.exports = (data) => data.n + 1",
        "module.export = (data) => data.n + 1",
        "module.export = { main: (data) => data.n + 1 }",
        "export function main(data) { return data.n + 1 }",
        "export async function main(data) { return data.n + 1 }",
        "export default (data) => data.n + 1",
        "export default async function (data) { return data.n + 1 }",
        "export default { main: (data) => data.n + 1 }",
        "export const main = (data) => data.n + 1",
        "function main(data) { return data.n + 1 }\nexport { main }",
        "import { kv } from 'cxKV'; async function main(data) { return data.n + 1 }",
        "await null; const main = (data) => data.n + 1 // no line break at the end",
        "import { kv } from 'cxKV'; export default (data) => data.n + 1; function main() { return 'not this one' }",
        "module.exports = { one: 1, main(data) { return data.n + this.one } }",
        "export default { one: 1, main(data) { return data.n + this.one } }",
        "class Menu { one = 1; main(data) { return data.n + this.one } } module.exports = new Menu()",
        "#!/usr/bin/env node\nfunction main(data) { return data.n + 1 }",
        "\u{feff}function main(data) { return data.n + 1 }",
        "exit(vars.n + 1)",
        "exit(vars().n + 1)",
        "const { n } = vars(); exit(n + 1); function main() { return 'not reached' }",
        "function main(data) { Promise.resolve().then(() => exit(data.n + 1)) }",
        "function main(data) { return new Promise((resolve) => setTimeout(() => resolve(data.n + 1), 0)) }",
        "function main(data) { exit(Promise.resolve(data.n + 1)); return 'not this' }",
    ];
    for source in places {
        let mut run = Setup::app(source).start();
        if run.is_running() && run.last().wake_at.is_some() {
            run.wake();
        }
        assert_eq!(run.result(), "2", "{source}");
        run.assert_replays();
    }
}

#[test]
fn nothing_returned_means_the_input_as_the_script_left_it() {
    for source in [
        "function main(data) { data.seen = true }",
        "async function main(data) { await null; data.seen = true }",
        "vars.seen = true",
        "vars().seen = true",
        "export function main(data) { data.seen = true }",
        "function main(data) { setTimeout(() => { data.seen = true }, 10) }",
        "function main(data) { data.seen = true; exit() }",
    ] {
        let mut run = Setup::app(source).start();
        if run.is_running() {
            run.wake();
        }
        assert_eq!(run.result(), r#"{"n":1,"seen":true}"#, "{source}");
    }
}

#[test]
fn an_error_that_is_none_is_said_to_be_none() {
    for (source, message) in [
        (
            "const main = () => Promise.reject();",
            "`undefined` was thrown, or a promise rejected with it: there is no error to tell of",
        ),
        ("function main() { throw null }", "`null` was thrown, or a promise rejected with it: there is no error to tell of"),
        ("function main() { throw 'undefined' }", "undefined"),
    ] {
        assert_eq!(Setup::app(source).start().error().message, message);
    }
}

#[test]
fn errors_in_every_style_are_sip_replies() {
    for source in [
        "function main() { throw new Error('404 Not Found') }",
        "function main() { throw '404 Not Found' }",
        "function main() { throw [404, 'Not Found'] }",
        "function main() { return Promise.reject([404, 'Not Found']) }",
        "async function main() { await null; throw new Error('404 Not Found') }",
        "function main() { err([404, 'Not Found']) }",
        "err('404 Not Found')",
        "function main() { err(404, 'Not Found') }",
        "function main() { err('404 Not Found', { more: 1 }) }",
        "function main() { err(new Error('404 Not Found')) }",
        "function main() { setTimeout(() => err([404, 'Not Found']), 5) }",
        "function main() { setTimeout(() => { throw new Error('404 Not Found') }, 5) }",
        "export async function main() { throw '404 Not Found' }",
        "throw '404 Not Found'",
    ] {
        let mut run = Setup::app(source).start();
        if run.is_running() {
            run.wake();
        }
        assert_eq!(run.error().sip, Some((404, "Not Found".to_owned())), "{source}");
    }
}

#[test]
fn an_error_that_is_handed_back_is_as_one_that_is_thrown() {
    for source in [
        "function main() { return new Error('404 Not Found') }",
        "async function main() { await null; return new TypeError('404 Not Found') }",
        "exit(new Error('404 Not Found'))",
        "function main() { exit(Promise.resolve(new Error('404 Not Found'))) }",
        "function main() { setTimeout(() => exit(new (class Gone extends Error {})('404 Not Found')), 0) }",
    ] {
        let mut run = Setup::app(source).start();
        if run.is_running() {
            run.wake();
        }
        assert_eq!(run.error().sip, Some((404, "Not Found".to_owned())), "{source}");
    }
    let meant = "function main() { return Object.assign(new Error('404 x'), { toJSON: () => 'as data' }) }";
    assert_eq!(Setup::app(meant).start().result(), " \"as data\"");
    let nested = "function main() { return { error: new Error('404 Not Found') } }";
    assert_eq!(Setup::app(nested).start().result(), r#"{"error":{}}"#);
}

#[test]
fn a_modules_own_main_shows_nowhere() {
    let lib = "export function main() {} export const a = 1";
    let run = Setup::app("import * as lib from './lib'; export const main = () => Object.keys(lib)").file("lib.js", lib).start();
    assert_eq!(run.result(), r#"["a","main"]"#);
    let quiet = "export const a = 1; async function main() { return 'mine' }";
    assert_eq!(Setup::app(quiet).start().result(), "\"mine\"");
    for name in ["absent", "__lockstep_main"] {
        let run = Setup::app(quiet).function(name).start();
        assert_eq!(run.error().message, format!("Error: main.js has no function '{name}'; it exports a"));
    }
}

#[test]
fn only_three_digits_from_300_to_699_and_a_space_are_a_sip_reply() {
    for (message, sip) in [
        ("604 Number on DNC List", Some((604, "Number on DNC List"))),
        ("302 sip:a@example.net", Some((302, "sip:a@example.net"))),
        ("299 Too Low", None),
        ("700 Too High", None),
        ("4040 Not Found", None),
        ("404", None),
        ("not found: 404 x", None),
    ] {
        let run = Setup::app(&format!("function main() {{ throw new Error('{message}') }}")).start();
        assert_eq!(run.error().sip, sip.map(|(code, reason)| (code, reason.to_owned())), "{message}");
    }
}

#[test]
fn a_code_alone_is_a_sip_reply_without_words() {
    for thrown in ["404", "[404]", "[404, null]", "[404, undefined]", "['404', '']", "'404 '"] {
        let run = Setup::app(&format!("function main() {{ throw {thrown} }}")).start();
        assert_eq!(run.error().sip, Some((404, String::new())), "{thrown}");
    }
}

#[test]
fn no_line_runs_after_exit() {
    let source = "
        function main() {
            try { exit('first') } catch (error) { console.log('caught') } finally { console.log('finally') }
            console.log('after');
        }";
    let run = Setup::app(source).start();
    assert_eq!(run.result(), "\"first\"");
    assert_eq!(run.texts(), [""; 0]);
}

#[test]
fn exit_within_an_async_function_is_not_caught_by_its_caller() {
    let source = "
        async function inner() { await null; exit('done') }
        async function main() { try { await inner() } catch (error) { console.log('caught') } finally { console.log('finally') } }";
    let run = Setup::app(source).start();
    assert_eq!((run.result(), run.texts().len()), ("\"done\"", 0));
}

#[test]
fn an_uncaught_error_names_file_line_and_column() {
    let run = Setup::app("function main() {\n  const data = null;\n  return data.field;\n}").start();
    let error = run.error();
    let at = error.at.as_ref().expect("a place");
    assert_eq!((&*at.file, at.line), ("main.js", 3));
    assert!(at.column > 0);
    assert_eq!(error.sip, None);
    assert!(error.message.starts_with("TypeError: "), "{error}");
    assert!(error.stack.iter().all(|frame| !frame.contains("lockstep:")), "{:?}", error.stack);
}

#[test]
fn a_text_that_is_no_json_is_placed_at_the_line_that_parsed_it() {
    for source in [
        "function main() {\n  return JSON.parse('{\"a\":1,}');\n}",
        "async function main() {\n  return await new Response('<html>').json();\n}",
        "async function main() {\n  new Response('<html>').json();\n}",
    ] {
        let run = Setup::app(source).start();
        let error = run.error();
        let at = error.at.as_ref().unwrap_or_else(|| panic!("{source}: {:?}", error.stack));
        assert_eq!((&*at.file, at.line), ("main.js", 2), "{source}");
        assert!(error.message.starts_with("SyntaxError: "), "{error}");
        assert!(error.stack[0].starts_with("<input>:1:"), "{:?}", error.stack);
    }
}

#[test]
fn an_uncaught_error_names_its_causes() {
    for (thrown, message) in [
        (
            "new Error('no charge', { cause: new TypeError('card declined') })",
            "Error: no charge (cause: TypeError: card declined)",
        ),
        (
            "new Error('a', { cause: new Error('b', { cause: new Error('c', { cause: new Error('d', { cause: new Error('e') }) }) }) })",
            "Error: a (cause: Error: b (cause: Error: c (cause: Error: d)))",
        ),
        ("new Error('a', { cause: 'text' })", "Error: a (cause: text)"),
        ("new Error('404 Gone', { cause: { code: 5 } })", "Error: 404 Gone"),
        // As clients of packages hand on what they were told.
        ("new Error('connect: refused', { cause: new Error('refused') })", "Error: connect: refused"),
        ("Object.defineProperty(new Error('a'), 'cause', { get() { throw new Error('b') } })", "Error: a"),
        ("(() => { const e = new Error('a'); e.cause = e; return e })()", "Error: a"),
    ] {
        let run = Setup::app(&format!("async function main() {{ throw {thrown}; }}")).start();
        assert_eq!(run.error().message, message);
    }
}

#[test]
fn positions_on_the_first_line_are_true() {
    let run = Setup::app("function main() { return nothing.at.all }").start();
    let at = run.error().at.clone().expect("a place");
    assert_eq!((at.line, at.column), (1, 26));
}

#[test]
fn a_syntax_error_has_its_position_in_both_dialects() {
    for (source, line) in [
        ("function main() {\n  retrun 1;\n}", 2),
        ("export function main() {\n  retrun 1;\n}", 2),
        ("import { x } from 'cxC5Server'\nconst = 1", 2),
        ("function main() { return 1", 1),
        ("function main() {\n  return 1\n", 2),
        ("function main() { return 1\n}}\n", 2),
    ] {
        let run = Setup::app(source).start();
        let error = run.error();
        assert_eq!(error.kind, ScriptErrorKind::Load, "{source}");
        assert_eq!(error.at.as_ref().map(|at| at.line), Some(line), "{source}: {error}");
    }
}

#[test]
fn a_missing_function_is_named_with_those_there_are() {
    let run = Setup::app("exports.search = () => 1; exports.list = () => 2").function("allocate").start();
    assert_eq!(run.error().message, "Error: main.js has no function 'allocate'; it exports search, list");
}

#[test]
fn what_every_object_has_is_no_function_of_the_script() {
    for source in ["module.exports = { list() {} }", "module.exports = () => 1", "module.exports = new (class { list() {} })()"] {
        for name in ["toString", "constructor", "valueOf", "__defineGetter__", "hasOwnProperty"] {
            let run = Setup::app(source).function(name).start();
            assert_eq!(run.error().kind, ScriptErrorKind::NoFunction, "{source}: {name}: {}", run.error());
        }
    }
    for name in ["call", "bind", "caller", "arguments"] {
        let run = Setup::app("module.exports = () => 1").function(name).start();
        assert_eq!(run.error().kind, ScriptErrorKind::NoFunction, "{name}: {}", run.error());
    }
    let run = Setup::app("exports.toString = () => 'mine'").function("toString").start();
    assert_eq!(run.result(), "\"mine\"");
}

#[test]
fn functions_of_a_driver_call_each_other_by_this() {
    let functions = "{ all: [3], list() { return this.all }, search(q) { return this.list().concat(q.n) } }";
    for export in ["module.exports =", "module.export =", "export default"] {
        let run = Setup::app(&format!("{export} {functions}")).function("search").script_type(ScriptType::Driver).start();
        assert_eq!(run.result(), "[3,1]", "{export}");
        run.assert_replays();
    }
}

#[test]
fn only_a_string_is_a_string_to_those_who_ask() {
    assert_eq!(Setup::app("function main() { return 'text' }").start().result(), "\"text\"");
    let run = Setup::app("function main() { return new Date(0) }").start();
    assert_eq!(run.result(), " \"1970-01-01T00:00:00.000Z\"");
}

#[test]
fn any_exported_function_can_be_the_entry() {
    for source in
        ["exports.search = (q) => q.n", "export function search(q) { return q.n }", "module.exports = { search: (q) => q.n }"]
    {
        let run = Setup::app(source).function("search").script_type(ScriptType::Driver).start();
        assert_eq!(run.result(), "1", "{source}");
    }
}

#[test]
fn siblings_are_required_and_imported_across_dialects() {
    let lib = "exports.double = (n) => n * 2; exports.name = __filename";
    let esm = "export const triple = (n) => n * 3; export default 'esm'";
    for source in [
        "const { double } = require('mylib'); const { triple } = require('./esm.mjs'); exports.main = (d) => [double(d.n), triple(d.n)]",
        "import { double } from 'myLib'; import { triple } from 'esm'; export const main = (d) => [double(d.n), triple(d.n)]",
        "import lib from './mylib.js'; import * as esm from 'esm'; export const main = (d) => [lib.double(d.n), esm.triple(d.n)]",
        "export async function main(d) { const { double } = await import('mylib'); const m = await import('esm'); return [double(d.n), m.triple(d.n)] }",
    ] {
        let run = Setup::app(source).file("mylib.js", lib).file("esm.mjs", esm).start();
        assert_eq!(run.result(), "[2,3]", "{source}");
    }
}

#[test]
fn a_module_is_evaluated_once_however_it_is_reached() {
    let source = "
        import { count } from 'counter';
        const again = require('counter');
        export function main() { return [count(), again.count(), require('classic').n, require('classic').n] }";
    let counter = "let n = 0; export const count = () => ++n";
    let classic = "globalThis.seen = (globalThis.seen ?? 0) + 1; exports.n = globalThis.seen";
    let run = Setup::app(source).file("counter.js", counter).file("classic.js", classic).start();
    assert_eq!(run.result(), "[1,2,1,1]");
}

#[test]
fn unknown_modules_and_forbidden_names_say_so() {
    let unknown = "Error: Cannot find module 'left-pad' (not on the allow-list; see docs/modules.md)";
    for source in ["const x = require('left-pad')", "import x from 'left-pad'", "function main() { require('left-pad') }"] {
        let run = Setup::app(source).start();
        assert_eq!((run.error().message.as_str(), run.error().kind), (unknown, ScriptErrorKind::Load), "{source}");
    }
    for (source, place) in [
        ("\nimport { a } from 'one'", "one.js:2:15"),
        ("\nimport { incr, gone } from 'cxKV'", "main.js:2:28"),
        ("import { b } from 'two'", "main.js:1:19"),
    ] {
        let run =
            Setup::app(source).file("one.js", "// one\nimport x from 'left-pad'").file("two.js", "export const a = 1").start();
        let error = run.error();
        assert_eq!(error.at.as_ref().map(ToString::to_string).as_deref(), Some(place), "{source}: {error}");
    }
    let run = Setup::app("require('./MyLib')").file("MyLib.js", "").start();
    assert!(run.error().message.contains("lowercase letters, digits, '-' and '_'"), "{}", run.error());
}

#[test]
fn a_syntax_error_in_a_sibling_names_the_sibling() {
    let run = Setup::app("require('bad')").file("bad.js", "\nlet let = 1").start();
    let at = run.error().at.clone().expect("a place");
    assert_eq!((&*at.file, at.line), ("bad.js", 2));
}

#[test]
fn the_type_script_is_synchronous() {
    let run = |source: &str| Setup::app(source).script_type(ScriptType::Script).start();
    assert_eq!(run("function main(data) { data.n++; return data }").result(), r#"{"n":2}"#);
    for (source, part) in [
        ("async function main() {}", "returned a promise"),
        ("function main() { return Promise.resolve(1) }", "returned a promise"),
        ("require('x')", "has no require"),
        ("export function main() {}", "cannot be a module"),
        ("setTimeout(() => {}, 1)", "has no setTimeout"),
        ("function main(d) { fetch('http://127.0.0.1/'); return d }", "cannot call fetch; make it type 'app'"),
        ("function main(d) { setEnvVar('A', '1'); return d }", "cannot call env.set; make it type 'app'"),
        ("function main(d) { exit(Promise.resolve(7)) }", "exit was given a promise"),
    ] {
        let run = run(source);
        assert!(run.error().message.contains(part), "{source}: {}", run.error());
        assert!(run.pending().is_empty(), "{source}: {:?}", run.pending());
        run.assert_replays();
    }
}

#[test]
fn results_that_are_no_json_say_so() {
    let run = Setup::app("function main() { const a = {}; a.a = a; return a }").start();
    assert!(run.error().message.contains("cannot be written as JSON"), "{}", run.error());
}

#[test]
fn the_environment_is_the_runs_own() {
    let run = Setup::app("function main() { return process.env }").start();
    assert_eq!(run.result(), r#"{"CORRELATION_ID":"call-1"}"#);
}

#[test]
fn neither_eval_nor_the_function_constructor_compile() {
    for source in
        ["eval('1')", "new Function('return 1')()", "(() => {}).constructor('return 1')()", "(async () => {}).constructor('1')"]
    {
        let run = Setup::app(&format!("function main() {{ {source} }}")).start();
        assert!(
            run.error().message.contains("not supported") || run.error().message.contains("not defined"),
            "{source}: {}",
            run.error()
        );
    }
}

#[test]
fn the_ctx_object_is_one_in_both_dialects() {
    for source in [
        "import cxC5Server from 'cxC5Server'; const ctx = new cxC5Server(process.env.CORRELATION_ID); export async function main() { await ctx.answer() }",
        "import { cxC5Server } from 'cxC5Server'; const ctx = new cxC5Server(process.env.CORRELATION_ID); await ctx.answer()",
        "const cxC5Server = require('cxC5Server'); const ctx = new cxC5Server(process.env.CORRELATION_ID); module.exports = async (data, c) => { if (c === ctx) await c.answer() }",
        "async function main(data, ctx) { await ctx.answer() }",
        "export default async (data, { answer }) => { await answer() }",
    ] {
        let mut run = Setup::call(source).start();
        assert_eq!(run.pending(), ["answer"], "{source}: {:?}", run.last());
        assert!(run.is_running());
        run.done("answer");
        assert_eq!(run.result(), "undefined", "{source}");
    }
}

#[test]
fn a_class_may_extend_the_call() {
    let source = "
        import cxC5Server from 'cxC5Server';
        class Menu extends cxC5Server {
          greeting = 'hello';
          async begin() { await this.answer(); return [this.greeting, this.get('sip_from_user'), this.call.id, this instanceof cxC5Server] }
        }
        export async function main(data, ctx) {
          const begun = await new Menu(process.env.CORRELATION_ID).begin();
          console.log(...begun, ctx instanceof cxC5Server, ctx.greeting, new cxC5Server() === ctx);
        }";
    let mut run = Setup::call(source).start();
    assert_eq!(run.pending(), ["answer"], "{:?}", run.last());
    run.done("answer");
    assert_eq!(run.texts(), ["hello 441234567890 call-1 true true undefined true"], "{:?}", run.last());
}

#[test]
fn a_run_without_a_call_has_no_ctx() {
    let run = Setup::app("const C = require('cxC5Server'); new C('x')").start();
    assert_eq!(run.error().message, "Error: cxC5Server: this run has no call");
}
