//! What a script's text tells of whether its runs may share a context whose built-ins are frozen.
//!
//! Isolation does not rest on it: whatever a script does, it finds the built-ins frozen. It is that nobody should be able to
//! tell: a run that goes on is rebuilt after its worker's death, and replayed, in whatever context is at hand.

use super::tokens::{Token, Tokens};

/// Words of whoever wants to change built-ins, or to look at whether they can be changed.
const CHANGES: [&str; 10] = [
    "prototype",
    "__proto__",
    "getOwnProperty",
    "getPrototypeOf",
    "setPrototypeOf",
    "globalThis",
    "defineProperties",
    "defineProperty",
    "prepareStackTrace",
    "stackTraceLimit",
];

/// Names of the same kind, which are parts of ordinary words, too.
const TELLS: [&str; 7] = ["Reflect", "eval", "global", "import", "isExtensible", "isFrozen", "isSealed"];

/// Words of whoever gets at what each evaluation of a file has of its own, or at the functions it declares.
const OF_ONE_EVALUATION: [&str; 3] = ["arguments", "exports", "module"];

/// Globals that are the same objects for all runs of a shared context.
const FROZEN: [&str; 42] = [
    "AggregateError",
    "Array",
    "ArrayBuffer",
    "BigInt",
    "Boolean",
    "Buffer",
    "DataView",
    "Date",
    "Error",
    "EvalError",
    "Float32Array",
    "Float64Array",
    "Function",
    "Int16Array",
    "Int32Array",
    "Int8Array",
    "Iterator",
    "JSON",
    "Map",
    "Math",
    "Number",
    "Object",
    "Promise",
    "Proxy",
    "RangeError",
    "ReferenceError",
    "RegExp",
    "Set",
    "String",
    "Symbol",
    "SyntaxError",
    "TextDecoder",
    "TextEncoder",
    "TypeError",
    "URIError",
    "URL",
    "URLSearchParams",
    "Uint16Array",
    "Uint32Array",
    "Uint8Array",
    "crypto",
    "performance",
];

/// Functions of the global object that are the same for all runs of a shared context.
const FUNCTIONS: [&str; 14] = [
    "atob",
    "btoa",
    "decodeURI",
    "decodeURIComponent",
    "encodeURI",
    "encodeURIComponent",
    "escape",
    "isFinite",
    "isNaN",
    "parseFloat",
    "parseInt",
    "queueMicrotask",
    "structuredClone",
    "unescape",
];

/// The modules that a classic file requires, if it can be told, and if the file only ever calls built-ins, makes objects of them
/// and reads their members: whatever else it does with them might show that they are frozen.
pub(super) fn plain_requires(source: &str) -> Option<Vec<&str>> {
    if CHANGES.iter().any(|word| source.contains(word)) {
        return None;
    }
    let mut requires = Vec::new();
    let Tokens { tokens, is_certain } = Tokens::of(source);
    if !is_certain && TELLS.iter().any(|word| source.contains(word)) {
        return None;
    }
    // Where it is not, a function that is not called on an object has the global object for `this`.
    let is_strict = tokens.first() == Some(&Token::Text("use strict"));
    let has_arguments = tokens.contains(&Token::Word("arguments"));
    for (at, token) in tokens.iter().enumerate() {
        let before = |steps: usize| at.checked_sub(steps).and_then(|at| tokens.get(at)).copied();
        let after = tokens.get(at + 1..).unwrap_or_default();
        let is_member = before(1) == Some(Token::Mark('.'));
        let is_plain = match *token {
            Token::Word("require") if !is_member => match after {
                [Token::Mark('('), Token::Text(name), Token::Mark(')'), ..] => {
                    requires.push(*name);
                    true
                }
                _ => false,
            },
            Token::Word("constructor") => !is_member && matches!(after, [Token::Mark('('), ..]),
            Token::Text("constructor") => false,
            Token::Word("callee") | Token::Text("callee") => !has_arguments,
            // As a statement it assigns to whatever its object has.
            Token::Word("with") => is_member,
            Token::Word("this") if !is_strict && !is_member => matches!(after, [Token::Mark('.' | '[' | '?'), ..]),
            Token::Word(name) if TELLS.contains(&name) => false,
            Token::Text(name) if TELLS.contains(&name) => false,
            Token::Word(name) if FROZEN.contains(&name) => {
                if is_member {
                    is_plain_member(after)
                } else {
                    is_plain_use(name, [before(2), before(1)], after)
                }
            }
            Token::Text(name) if FROZEN.contains(&name) && before(1) == Some(Token::Mark('[')) => match after {
                [Token::Mark(']'), after @ ..] => is_plain_member(after),
                _ => true,
            },
            Token::Word(_) | Token::Text(_) | Token::Mark(_) | Token::Pattern => true,
        };
        if !is_plain {
            return None;
        }
    }
    Some(requires)
}

/// Whether what may be a built-in, read from what may be the global object, is not changed in that place.
fn is_plain_member(after: &[Token<'_>]) -> bool {
    match after {
        [Token::Mark('['), ..] => false,
        [Token::Mark('.'), Token::Word(_), rest @ ..] => is_plain_member(rest) && !begins_with_assignment(rest),
        _ => true,
    }
}

/// Whether a built-in is called, made objects of, compared with, or one of its members read.
fn is_plain_use(name: &str, [earlier, before]: [Option<Token<'_>>; 2], after: &[Token<'_>]) -> bool {
    if matches!(before, Some(Token::Word("delete"))) {
        return false;
    }
    match after {
        [Token::Mark('('), ..] => true,
        // A symbol names a property: what is given under that name is not looked at.
        [Token::Mark('.'), Token::Word(_), Token::Mark(']'), rest @ ..] if name == "Symbol" => !begins_with_assignment(rest),
        [Token::Mark('.'), Token::Word(_), ..] => is_plain_member(after),
        // `Math.max.apply(Math, …)`
        [Token::Mark(','), ..] if before == Some(Token::Mark('(')) => matches!(earlier, Some(Token::Word("apply" | "call"))),
        [Token::Mark(')'), ..] if matches!(name, "Boolean" | "Number" | "String") => before == Some(Token::Mark('(')),
        _ => matches!(before, Some(Token::Word("new" | "instanceof" | "extends" | "typeof"))) && !begins_with_assignment(after),
    }
}

fn begins_with_assignment(rest: &[Token<'_>]) -> bool {
    match rest {
        [Token::Mark('='), Token::Mark('='), ..] => false,
        [Token::Mark('='), ..] | [Token::Mark('+'), Token::Mark('+'), ..] | [Token::Mark('-'), Token::Mark('-'), ..] => true,
        // `+=`, `??=`, `>>>=` and the like, and comparisons with them: nobody compares the members of built-ins.
        [Token::Mark(_), Token::Mark('='), ..] => true,
        [Token::Mark('|' | '&' | '?' | '*' | '<' | '>'), rest @ ..] => begins_with_assignment(rest),
        _ => false,
    }
}

/// Names of the properties that assignments in a file may give to objects; `None` where that cannot be told.
pub(super) fn assigned(source: &str) -> Option<Vec<&str>> {
    let Tokens { tokens, is_certain } = Tokens::of(source);
    if !is_certain {
        return None;
    }
    let mut names = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let before = |steps: usize| at.checked_sub(steps).and_then(|at| tokens.get(at)).copied();
        let after = tokens.get(at + 1..).unwrap_or_default();
        match *token {
            // To an object that is made there it gives nothing else than an assignment to its properties would.
            Token::Word("assign") if !matches!(after, [Token::Mark('('), Token::Mark('{'), ..]) => return None,
            Token::Word(name) if before(1) == Some(Token::Mark('.')) && is_assigned(after) => names.push(name),
            Token::Mark(']') if is_assigned(after) => match [before(2), before(1)] {
                [Some(Token::Mark('[')), Some(Token::Text(name))] if !name.contains('\\') => names.push(name),
                [Some(Token::Mark('[')), Some(Token::Word(index))] if is_literal(Token::Word(index)) => {}
                _ => return None,
            },
            Token::Mark('}') if is_assigned(after) && !is_declaration(tokens.get(..at).unwrap_or_default()) => return None,
            Token::Mark(')') if matches!(after, [Token::Mark('='), next, ..] if !matches!(next, Token::Mark('=' | '>'))) => {
                return None;
            }
            // `++counts[key]`, `++(counts.key)`
            Token::Mark(mark @ ('+' | '-'))
                if matches!(
                    after,
                    [Token::Mark(next), Token::Word(_), Token::Mark('.' | '['), ..] | [Token::Mark(next), Token::Mark('('), ..] if *next == mark
                ) =>
            {
                return None;
            }
            Token::Word(_) | Token::Text(_) | Token::Mark(_) | Token::Pattern => {}
        }
    }
    Some(names)
}

/// Global functions that a file may assign something else to: it does not just call them.
pub(super) fn assigned_functions(source: &str) -> impl Iterator<Item = &'static str> {
    let Tokens { tokens, is_certain } = Tokens::of(source);
    FUNCTIONS.into_iter().filter(move |function| {
        !is_certain
            || tokens.iter().enumerate().any(|(at, token)| {
                let before = at.checked_sub(1).and_then(|at| tokens.get(at));
                *token == Token::Word(function)
                    && before != Some(&Token::Mark('.'))
                    && tokens.get(at + 1) != Some(&Token::Mark('('))
            })
    })
}

/// Whether what stands before these tokens is given a value.
fn is_assigned(rest: &[Token<'_>]) -> bool {
    match rest {
        [Token::Word("of" | "in"), ..] => true,
        // Comparisons, and what stands last in a pattern.
        [Token::Mark('!' | '<' | '>' | '}' | ']' | ')'), Token::Mark('='), ..] => false,
        _ => begins_with_assignment(rest),
    }
}

/// Whether the braces that are closed after these tokens are the pattern of a declaration.
fn is_declaration(before: &[Token<'_>]) -> bool {
    let mut depth = 0_usize;
    let opened = before.iter().rposition(|token| match token {
        Token::Mark('}') => {
            depth += 1;
            false
        }
        Token::Mark('{') if depth > 0 => {
            depth -= 1;
            false
        }
        token => *token == Token::Mark('{'),
    });
    let kind = opened.and_then(|at| at.checked_sub(1)).and_then(|at| before.get(at));
    matches!(kind, Some(Token::Word("const" | "let" | "var")))
}

/// Whether a classic file does nothing but declare functions and constants that are numbers or strings, and nothing is done with
/// these functions but calling them: evaluating it once is as good as evaluating it for each run.
pub(super) fn only_declares_functions(source: &str) -> bool {
    let Tokens { tokens, is_certain } = Tokens::of(source);
    // Comments as in a web page reach to the end of their line.
    let has_markup = source.contains("<!--") || source.contains("-->");
    if !is_certain || has_markup || OF_ONE_EVALUATION.iter().any(|word| tokens.contains(&Token::Word(word))) {
        return false;
    }
    let Some(names) = declared(&tokens) else { return false };
    tokens.iter().enumerate().all(|(at, token)| {
        let before = |steps: usize| at.checked_sub(steps).and_then(|at| tokens.get(at)).copied();
        let Token::Word(name) = *token else { return true };
        if !names.contains(&name) || before(1) == Some(Token::Word("function")) {
            return true;
        }
        match before(1) {
            // A member of that name, and not what is spread.
            Some(Token::Mark('.')) => before(2) != Some(Token::Mark('.')),
            // An object made by a function shows the function's prototype.
            Some(Token::Word("new")) => false,
            _ => tokens.get(at + 1) == Some(&Token::Mark('(')),
        }
    })
}

/// Names of the functions that a file declares; `None` when it does something else, too.
fn declared<'a>(tokens: &[Token<'a>]) -> Option<Vec<&'a str>> {
    let (mut names, mut rest) = (Vec::new(), tokens);
    loop {
        rest = match rest {
            [] => return Some(names),
            [Token::Mark(';') | Token::Text("use strict"), rest @ ..] => rest,
            [Token::Word("const"), Token::Word(_), Token::Mark('='), value, Token::Mark(';'), rest @ ..]
                if is_literal(*value) =>
            {
                rest
            }
            [Token::Word("function"), Token::Word(name), rest @ ..] => {
                names.push(*name);
                let body = after_group(rest, '(', ')')?;
                after_group(body, '{', '}')?
            }
            _ => return None,
        };
    }
}

fn is_literal(token: Token<'_>) -> bool {
    match token {
        Token::Text(_) => true,
        Token::Word(word) => word.starts_with(|first: char| first.is_ascii_digit()),
        Token::Mark(_) | Token::Pattern => false,
    }
}

/// What follows a group in brackets.
fn after_group<'t, 'a>(tokens: &'t [Token<'a>], open: char, close: char) -> Option<&'t [Token<'a>]> {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        match *token {
            Token::Mark(mark) if mark == open => depth += 1,
            Token::Mark(mark) if mark == close => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return if at == 0 { None } else { tokens.get(at + 1..) };
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_only_use_built_ins_may_share_them() {
        for source in [
            "module.exports = (data) => Math.max(...Object.values(data))",
            "const at = new Date; if (at instanceof Date) throw new Error('x')",
            "class Mine extends Error {} // Object.assign(Math, 1)",
            "const all = ['1', \"it's Math\"].map(Number).filter(Boolean)",
            "const half = Math.PI / 2, same = Number.MAX_VALUE === 1; data.Date = 1; row.Error += 2",
            "let found = /* Array */ Array.isArray(data) ? data : []",
            "const url = typeof URL === 'undefined' ? '' : new URL('http://a/b')",
            "const important = Math.max.apply(Math, data.interval), { callee } = data; row.Date.getTime(); row['Error'] = 1",
            "class List { constructor(x) { this.x = x } }; this.count = this['n'] + this?.m",
            "'use strict'; class List { add(x) { this.all.push(x); return this } }",
        ] {
            assert_eq!(plain_requires(source), Some(vec![]), "{source}");
        }
    }

    #[test]
    fn files_that_might_change_built_ins_or_look_at_them_do_not() {
        for source in [
            "String.prototype.shout = 1",
            "Math.max = () => 1",
            "Math.counted ||= 1",
            "Math.counted ??= 1",
            "Math.counted += 1",
            "Math.counted++",
            "JSON.stringify.seen = true",
            "const key = 'max'; Math[key] = 1",
            "Object.assign(Math, { two: 2 })",
            "const M = Math; M.max = 1",
            "Map = class {}",
            "delete Array.from",
            "Object.isFrozen(data)",
            "Error.stackTraceLimit = 50",
            "Object.getPrototypeOf([1]).sum = 1",
            "[].constructor.extra = 5",
            "[]['constructor'].extra = 5",
            "(function (root) { root.Math.random = 1 })(function () { return this }())",
            "this.JSON.extra = 5",
            "this['Math'].max = 1",
            "root.Math.max.seen = 1",
            "const self = this",
            "arguments.callee.count = 1",
            "with (list) { find = 1 }",
            "list[Symbol.iterator] = function* () {}",
            "const all = [Math, 1]",
            "const found = await import('./x')",
            "it`s ${ Math.max = 1 }`",
            "const quote = /'/; Math.max = 1",
        ] {
            assert_eq!(plain_requires(source), None, "{source}");
        }
    }

    #[test]
    fn assigned_names_are_told() {
        for (source, names) in [
            ("row.gw[id].cli = 1; const { routing } = data; x.a += x.b >= 1 ? 2 : 3; x.c++", vec!["cli", "a", "c"]),
            ("list['find'] = 1; list[0] = 2; if (list[i] === 1 || list[i] !== list[j] || list[i] <= 2) f(list[k])", vec!["find"]),
            ("for (const { a } of rows) Object.assign({}, a); for (x.with of rows); const f = (a) => a.b", vec!["with"]),
            ("let { a, ...rest } = { b: { c } }", vec![]),
        ] {
            assert_eq!(assigned(source), Some(names), "{source}");
        }
        for source in [
            "rates[code] = 1",
            "counts[code] += 1",
            "++counts[code]",
            "--counts.at",
            "++(counts.at)",
            "[list.find] = [1]",
            "({ a: list.find } = row)",
            "for (list[code] of rows);",
            "(list.find) = 1",
            "Object.assign(list, row)",
            "list['fi\\x6ed'] = 1",
            "if (a) /'/.test(b) // '",
        ] {
            assert_eq!(assigned(source), None, "{source}");
        }
    }

    #[test]
    fn assigned_functions_are_told() {
        for (source, names) in [
            ("escape(a); b.atob = parseInt(c.isNaN, 10)", vec![]),
            ("for (atob = 0; atob < 3; atob++); [isNaN] = a; ({ unescape }) => 1", vec!["atob", "isNaN", "unescape"]),
        ] {
            assert_eq!(assigned_functions(source).collect::<Vec<_>>(), names, "{source}");
        }
        assert_eq!(assigned_functions("if (a) /'/.test(b) // '").count(), FUNCTIONS.len());
    }

    #[test]
    fn files_that_only_declare_functions_are_told() {
        for source in [
            "function main(data) { return data }",
            "'use strict'; const N = 2; const S = \"}\";\nfunction main(d, n = f({})) { return f(d) - d.x / N }; function f(d) { return /[/{]/.test(d.main) }",
            "/* function */ function main(d) { return `${f(`a${{}}`)} main } ${1 / 2}`; function inner() {} } function f() {}",
            "function main() { const f = function main() { return main() }; return [...f()] }",
        ] {
            assert!(only_declares_functions(source), "{source}");
        }
    }

    #[test]
    fn files_whose_evaluation_could_be_told_are_not_taken_for_declarations() {
        for source in [
            "let count = 0; function main() { count += 1; return count }",
            "var count; function main() {}",
            "const seen = []; function main() { seen.push(1) }",
            "const f = 1",
            "const N = 1 + side(); function main() {}",
            "module.exports = function main() {}",
            "function main() { main.count = 1 }",
            "function main() { main = 1 }",
            "function main() { return [main] }",
            "function main() { return { main } }",
            "function main() { return rows.map(f) } function f() {}",
            "function main() { return f(...f) } function f() {}",
            "function main() { return new main() }",
            "function main() { return arguments.callee }",
            "function main() { return exports.seen = 1 }",
            "function main() { return module.seen }",
            "function main() { return x ? main : 1 }",
            "function main() { return `${main}` }",
            "function main() { return /[}]/ } let count = 0; function f() { return /[{]/ }",
            "function main() { if (x) /{/.test(y) } let count = 0; function f() { if (x) /}/.test(y) }",
            "function main() { return 'a' } /'/.test(count += 1) // '",
            "function main() { return f(1) / 2 } function f() { return /[{]/ }",
            "function main() {",
            "function main() {} <!-- function f() {\nlet count = 0; <!-- }",
            "function* main() {}",
            "class main {}",
            "async () => 1",
            "main(); function main() {}",
            "function main() {} f`${main()}`",
            "import { kv } from 'cxKV'; export function main() {}",
        ] {
            assert!(!only_declares_functions(source), "{source}");
        }
    }

    #[test]
    fn required_modules_are_listed_and_must_be_named() {
        assert_eq!(plain_requires("const { incr } = require('cxKV'); require(\"./other\")"), Some(vec!["cxKV", "./other"]));
        for source in ["require(name)", "const load = require", "require(`cx${name}`)", "[1].map(require)"] {
            assert_eq!(plain_requires(source), None, "{source}");
        }
    }
}
