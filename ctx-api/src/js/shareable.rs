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
    let Tokens { tokens, .. } = Tokens::of(source);
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
            Token::Word(_) | Token::Text(_) | Token::Mark(_) | Token::Pattern => {}
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

/// As much of a text's grammar as is needed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    /// A string, without its quotation marks and with its escapes.
    Text(&'a str),
    Mark(char),
    /// A regular expression, or a piece of a template.
    Pattern,
}

/// A text split up, without its comments.
struct Tokens<'a> {
    tokens: Vec<Token<'a>>,
    /// Each slash was told for a division or a regular expression, and everything that was opened is closed.
    is_certain: bool,
}

/// Words after which an expression begins, and so a slash begins a regular expression.
const BEFORE_EXPRESSIONS: [&str; 14] =
    ["await", "case", "delete", "do", "else", "in", "instanceof", "new", "of", "return", "throw", "typeof", "void", "yield"];

impl<'a> Tokens<'a> {
    fn of(source: &'a str) -> Self {
        let mut split = Self { tokens: Vec::new(), is_certain: true };
        // For each template that is open, the braces that are open in the code within it.
        let mut templates: Vec<usize> = Vec::new();
        let mut rest = source;
        while let Some(first) = rest.chars().next() {
            let skipped = |end: Option<usize>| rest.get(end.unwrap_or(rest.len())..).unwrap_or_default();
            let mut token = None;
            rest = if rest.starts_with("//") {
                skipped(rest.find('\n'))
            } else if rest.starts_with("/*") {
                skipped(rest.find("*/").map(|end| end + 2))
            } else if let Some((text, length)) = string(rest, first) {
                token = Some(Token::Text(text));
                skipped(Some(length))
            } else if is_word(first) {
                let end = rest.find(|next| !is_word(next)).unwrap_or(rest.len());
                token = Some(Token::Word(rest.get(..end).unwrap_or_default()));
                skipped(Some(end))
            } else if first == '`' || (first == '}' && templates.last() == Some(&0)) {
                if first == '}' {
                    templates.pop();
                }
                token = Some(Token::Pattern);
                let (length, goes_on) = template(rest);
                if goes_on {
                    templates.push(0);
                }
                skipped(length)
            } else if first == '/'
                && let Some(length) = split.pattern(rest)
            {
                token = Some(Token::Pattern);
                skipped(Some(length))
            } else {
                match (first, templates.last_mut()) {
                    ('{', Some(open)) => *open += 1,
                    ('}', Some(open)) => *open = open.saturating_sub(1),
                    ('"' | '\'' | '\\', _) => split.is_certain = false,
                    _ => {}
                }
                token = Some(Token::Mark(first)).filter(|_| !first.is_whitespace());
                skipped(Some(first.len_utf8()))
            };
            split.tokens.extend(token);
        }
        split.is_certain &= templates.is_empty();
        split
    }

    /// The length of the regular expression that a text begins with, which begins with a slash.
    fn pattern(&mut self, text: &str) -> Option<usize> {
        match self.tokens.last() {
            Some(Token::Word(word)) if !BEFORE_EXPRESSIONS.contains(word) => return None,
            Some(Token::Text(_) | Token::Pattern | Token::Mark(']')) => return None,
            // After the head of an `if` it is one, after the end of a block it may be.
            Some(Token::Mark(')' | '}' | '+' | '-')) => {
                self.is_certain = false;
                return None;
            }
            Some(Token::Word(_) | Token::Mark(_)) | None => {}
        }
        let (mut escaped, mut in_class) = (false, false);
        for (at, next) in text.char_indices().skip(1) {
            match next {
                '\n' | '\r' | '\u{2028}' | '\u{2029}' => break,
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '[' => in_class = true,
                ']' => in_class = false,
                '/' if !in_class => return Some(at + 1),
                _ => {}
            }
        }
        self.is_certain = false;
        None
    }
}

/// How far a piece of a template reaches, its first mark and its last included, and whether code follows; `None`: to the end.
fn template(text: &str) -> (Option<usize>, bool) {
    let mut before = ' ';
    for (at, next) in text.char_indices().skip(1) {
        before = match (before, next) {
            ('\\', _) => ' ',
            ('$', '{') => return (Some(at + 1), true),
            (_, '`') => return (Some(at + 1), false),
            _ => next,
        };
    }
    (None, true)
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_' || letter == '$'
}

/// The string that a text begins with, and its length with the marks around it; none where it is not closed in its line.
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
