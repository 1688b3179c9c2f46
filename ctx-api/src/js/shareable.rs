//! What a script's text tells of whether its runs may share a context whose built-ins are frozen.
//!
//! Isolation does not rest on it: whatever a script does, it finds the built-ins frozen. It is that nobody should be able to
//! tell: a run that goes on is rebuilt after its worker's death, and replayed, in whatever context is at hand.

/// Words of whoever wants to change built-ins, or to look at whether they can be changed.
const CHANGES: [&str; 6] = ["prototype", "__proto__", "setPrototypeOf", "globalThis", "global.", "defineProperty"];

/// Further words for scripts that may go on after their first turn.
const TELLS: [&str; 11] = [
    "defineProperties",
    "getOwnProperty",
    "isFrozen",
    "isSealed",
    "isExtensible",
    "prepareStackTrace",
    "stackTraceLimit",
    "Reflect",
    "callee",
    "import",
    "eval",
];

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

/// Whether nothing in a synchronous script looks as if it would change built-ins.
pub(super) fn leaves_built_ins_alone(source: &str) -> bool {
    !CHANGES.iter().any(|word| source.contains(word))
}

/// The modules that a classic file requires, if it can be told, and if the file only ever calls built-ins, makes objects of them
/// and reads their members: whatever else it does with them might show that they are frozen.
pub(super) fn plain_requires(source: &str) -> Option<Vec<&str>> {
    if !leaves_built_ins_alone(source) || TELLS.iter().any(|word| source.contains(word)) {
        return None;
    }
    let mut requires = Vec::new();
    let tokens = tokens(source);
    for (at, token) in tokens.iter().enumerate() {
        let (before, after) =
            (at.checked_sub(1).and_then(|at| tokens.get(at)).copied(), tokens.get(at + 1..).unwrap_or_default());
        match *token {
            Token::Word("require") if before != Some(Token::Mark('.')) => match after {
                [Token::Mark('('), Token::Text(name), Token::Mark(')'), ..] => requires.push(*name),
                _ => return None,
            },
            Token::Word(name) if FROZEN.contains(&name) && before != Some(Token::Mark('.')) => {
                if !is_plain_use(name, before, after) {
                    return None;
                }
            }
            Token::Word(_) | Token::Text(_) | Token::Mark(_) => {}
        }
    }
    Some(requires)
}

/// Whether a built-in is called, made objects of, compared with, or one of its members read.
fn is_plain_use(name: &str, before: Option<Token<'_>>, after: &[Token<'_>]) -> bool {
    if matches!(before, Some(Token::Word("delete"))) {
        return false;
    }
    match after {
        [Token::Mark('('), ..] => true,
        [Token::Mark('.'), Token::Word(_), rest @ ..] => {
            let mut rest = rest;
            while let [Token::Mark('.'), Token::Word(_), further @ ..] = rest {
                rest = further;
            }
            !begins_with_assignment(rest) && !matches!(rest, [Token::Mark('['), ..])
        }
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

/// As much of a text's grammar as is needed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    /// A string, without its quotation marks and with its escapes.
    Text(&'a str),
    Mark(char),
}

/// Splits a text up and leaves comments out. What stands in templates and regular expressions is taken for code, so that a file may
/// be thought to do what it does not; two quotation marks in a line of them hide what is between them.
fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let skipped = |end: Option<usize>| rest.get(end.unwrap_or(rest.len())..).unwrap_or_default();
        rest = if rest.starts_with("//") {
            skipped(rest.find('\n'))
        } else if rest.starts_with("/*") {
            skipped(rest.find("*/").map(|end| end + 2))
        } else if let Some((text, length)) = string(rest, first) {
            tokens.push(Token::Text(text));
            skipped(Some(length))
        } else if is_word(first) {
            let end = rest.find(|next| !is_word(next)).unwrap_or(rest.len());
            tokens.push(Token::Word(rest.get(..end).unwrap_or_default()));
            skipped(Some(end))
        } else {
            if !first.is_whitespace() {
                tokens.push(Token::Mark(first));
            }
            skipped(Some(first.len_utf8()))
        };
    }
    tokens
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_' || letter == '$'
}

/// The string that a text begins with, and its length with the marks around it. A mark that is not closed in its line is one of
/// a template or a regular expression.
fn string(text: &str, first: char) -> Option<(&str, usize)> {
    if first != '"' && first != '\'' {
        return None;
    }
    let mut escaped = false;
    for (at, next) in text.char_indices().skip(1) {
        match next {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\n' => return None,
            _ if next == first => return Some((text.get(1..at)?, at + 1)),
            _ => {}
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
            "const found = await import('./x')",
            "it`s ${ Math.max = 1 }`",
            "const quote = /'/; Math.max = 1",
        ] {
            assert_eq!(plain_requires(source), None, "{source}");
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
