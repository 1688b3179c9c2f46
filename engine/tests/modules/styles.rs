//! Every calling style with every type of script (contract, section 1), through the way that the API, jobs and forms take.

use lockstep_ctx_api::wire::ScriptType;

use crate::harness::Scripts;

/// What is over when `main` returns: `data.n` and one.
const AT_ONCE: &[&str] = &[
    "function main(data) { return { n: data.n + 1 } }",
    "module.exports.main = (data) => ({ n: data.n + 1 })",
    "module.exports = (data) => ({ n: data.n + 1 })",
    "module.exports = { main: (data) => ({ n: data.n + 1 }) }",
    "module.export = { main: (data) => ({ n: data.n + 1 }) }",
    "function main(data) { data.n += 1 }",
    "function main(data) { exit({ n: data.n + 1 }); data.n = 'not reached' }",
    "exit({ n: vars.n + 1 })",
    "const data = vars(); exit({ n: data.n + 1 })",
    "vars.n += 1",
];

/// What is over later.
const LATER: &[&str] = &[
    "async function main(data) { await null; return { n: data.n + 1 } }",
    "function main(data) { return Promise.resolve({ n: data.n + 1 }) }",
    "function main(data) { return new Promise((resolve) => setTimeout(() => resolve({ n: data.n + 1 }), 1)) }",
    "async function main(data) { await null; data.n += 1 }",
];

/// What calls back: nothing is returned, and `exit` comes while something is under way.
const CALLED_BACK: &[&str] = &[
    "function main(data) { setTimeout(() => exit({ n: data.n + 1 }), 1) }",
    "function main(data) { require('cxKV').incr('n', data.n).then((n) => exit({ n: n + 1 })) }",
];

/// Modules of JavaScript.
const MODULES: &[&str] = &[
    "export function main(data) { return { n: data.n + 1 } }",
    "export async function main(data) { return { n: data.n + 1 } }",
    "export default async function (data) { return { n: data.n + 1 } }",
    "import { incr } from 'cxKV'; export const main = async (data) => ({ n: await incr('n', data.n) + 1 });",
];

/// Errors at once that are the SIP reply `404 Not Found`.
const REFUSED_AT_ONCE: &[&str] = &[
    "function main() { throw new Error('404 Not Found') }",
    "function main() { throw '404 Not Found' }",
    "function main() { err([404, 'Not Found']) }",
    "err([404, 'Not Found'])",
];

/// The same, later.
const REFUSED_LATER: &[&str] = &[
    "function main() { return Promise.reject([404, 'Not Found']) }",
    "async function main() { await null; throw '404 Not Found' }",
    "function main() { setTimeout(() => err([404, 'Not Found']), 1) }",
    "export async function main() { throw new Error('404 Not Found') }",
];

const TYPES: [ScriptType; 3] = [ScriptType::Script, ScriptType::App, ScriptType::Driver];

async fn run(script_type: ScriptType, source: &str) -> Result<String, String> {
    let scripts = Scripts::of_type(script_type, &[("main", source)]);
    scripts.run("main", r#"{"n":1}"#).await.map_err(|error| match error.sip {
        Some((code, text)) => format!("{code} {text}"),
        None => error.message,
    })
}

#[tokio::test]
async fn a_result_comes_in_every_style_that_the_type_has() {
    for script_type in TYPES {
        for source in AT_ONCE {
            assert_eq!(run(script_type, source).await.as_deref(), Ok(r#"{"n":2}"#), "{script_type:?}: {source}");
        }
    }
    for script_type in [ScriptType::App, ScriptType::Driver] {
        for source in [LATER, CALLED_BACK, MODULES].concat() {
            assert_eq!(run(script_type, source).await.as_deref(), Ok(r#"{"n":2}"#), "{script_type:?}: {source}");
        }
    }
}

#[tokio::test]
async fn an_error_is_the_sip_reply_in_every_style_that_the_type_has() {
    for script_type in TYPES {
        for source in REFUSED_AT_ONCE {
            assert_eq!(run(script_type, source).await, Err("404 Not Found".to_owned()), "{script_type:?}: {source}");
        }
    }
    for script_type in [ScriptType::App, ScriptType::Driver] {
        for source in REFUSED_LATER {
            assert_eq!(run(script_type, source).await, Err("404 Not Found".to_owned()), "{script_type:?}: {source}");
        }
    }
}

#[tokio::test]
async fn a_synchronous_script_says_what_it_has_not() {
    for (source, said) in [
        ("async function main() {}", "main returned a promise"),
        ("require('cxKV')", "a script of type 'script' has no require"),
        ("export function main() {}", "a script of type 'script' cannot be a module"),
    ] {
        let refused = run(ScriptType::Script, source).await.unwrap_err();
        assert!(refused.contains(said), "{source}: {refused}");
    }
}

#[tokio::test]
async fn functions_of_a_driver_are_called_by_name() {
    let source = "module.exports = { search: async ({ number }) => [{ did: number + '1' }], release: () => true };";
    let scripts = Scripts::of_type(ScriptType::Driver, &[("dids", source)]);
    let found = scripts.run_function("dids", Some("search"), r#"{"number":"44"}"#).await;
    assert_eq!(found.as_deref(), Ok(r#"[{"did":"441"}]"#));
    assert_eq!(scripts.run_function("dids", Some("release"), "{}").await.as_deref(), Ok("true"));
    let missing = scripts.run_function("dids", Some("list"), "{}").await.unwrap_err();
    assert!(missing.message.contains("no function 'list'; it exports search, release"), "{}", missing.message);
}
