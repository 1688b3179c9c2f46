//! `lockstep check`: what can be said of a script before a call runs it.
//!
//! A real parser reads it, so that comments, strings and templates mislead nobody. Found are syntax errors, operations whose
//! promise nobody listens to ([`floating`]), races that do not stop their losers ([`race`]), and modules that cannot be loaded
//! ([`modules`]).

mod calls;
mod constants;
mod entry;
mod fate;
mod floating;
mod modules;
mod nesting;
mod options;
mod places;
mod race;
mod words;

use std::path::Path;

use lockstep_ctx_api::js;
use lockstep_ctx_api::wire::Bundle;
use oxc_allocator::Allocator;
use oxc_parser::{ParseOptions, Parser};
use oxc_semantic::SemanticBuilder;
use oxc_span::{SourceType, Span};
use serde::{Deserialize, Serialize};

pub use modules::Modules;

pub(crate) use calls::Calls;
pub(crate) use places::line_column;
pub(crate) use words::words;

use crate::typescript;
use places::Places;

/// The longest script looked at, in bytes.
pub const MAX_SOURCE: usize = 4 << 20;

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in UTF-16 code units, as editors and stack traces count.
    pub column: usize,
    pub code: Code,
    pub message: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}: {} [{}]", self.file, self.line, self.column, self.message, self.code.name())
    }
}

/// The kind of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The text does not parse.
    Syntax,
    /// The `// @lockstep` comment is wrong.
    Header,
    /// An operation nobody waits for.
    Floating,
    /// A race whose loser goes on.
    Race,
    /// A module that cannot be loaded.
    Module,
}

impl Code {
    /// As printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::Header => "header",
            Self::Floating => "floating",
            Self::Race => "race",
            Self::Module => "module",
        }
    }
}

/// Looks at the source of `file`; findings come in the order of the text.
pub fn check(file: &str, source: &str, modules: &Modules) -> Vec<Finding> {
    let mut remarks = match refusal(source) {
        Some(refusal) => vec![refusal],
        None => nesting::on_a_deep_stack(|| look(file, source, modules)),
    };
    remarks.sort_by_key(|(span, _, _)| span.start);
    let mut places = Places::new(source);
    let finding = |(span, code, message): (Span, Code, String)| {
        let (line, column) = places.at(span.start as usize);
        Finding { file: file.to_owned(), line, column, code, message }
    };
    let mut findings: Vec<Finding> = remarks.into_iter().map(finding).collect();
    if findings.iter().all(|finding| finding.code != Code::Syntax) {
        findings.extend(uncompilable(file, source));
    }
    if findings.iter().all(|finding| finding.code != Code::Syntax)
        && let Err(error) = crate::config::header_comment::read(file, source)
    {
        findings.push(Finding { file: file.to_owned(), line: error.line, column: 1, code: Code::Header, message: error.message });
        findings.sort_by_key(|finding| (finding.line, finding.column));
    }
    findings
}

/// What parses, and the runtime does not compile.
fn uncompilable(file: &str, source: &str) -> Option<Finding> {
    let text = if typescript::is_typescript(file) { typescript::strip(file, source).ok()?.into() } else { source.into() };
    let bundle = Bundle { entry: file.to_owned(), files: [(file.to_owned(), text)].into(), ..Bundle::default() };
    let error = js::check(&bundle).into_iter().next()?;
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let (line, column) = error.at.map_or((1, 1), |at| (count(at.line), count(at.column)));
    Some(Finding { file: file.to_owned(), line, column, code: Code::Syntax, message: error.message })
}

/// Why the text is not even parsed.
fn refusal(source: &str) -> Option<(Span, Code, String)> {
    if source.len() > MAX_SOURCE {
        let message = format!("the script has {} bytes, at most {MAX_SOURCE} expected", source.len());
        return Some((Span::empty(0), Code::Syntax, message));
    }
    let offset = nesting::too_deep(source)?;
    let message = format!("SyntaxError: more than {} brackets within each other", nesting::MAX_DEPTH);
    Some((Span::empty(u32::try_from(offset).unwrap_or(u32::MAX)), Code::Syntax, message))
}

fn look(file: &str, source: &str, modules: &Modules) -> Vec<(Span, Code, String)> {
    let allocator = Allocator::default();
    let parsed = Parser::new(&allocator, source, source_type(file)).with_options(parsing()).parse();
    let mut mistakes: Vec<Remark> = parsed.diagnostics.errors().map(diagnostic).collect();
    if !mistakes.is_empty() {
        return of(Code::Syntax, mistakes).collect();
    }
    let analysed = SemanticBuilder::new_compiler().with_build_nodes(true).with_check_syntax_error(true).build(&parsed.program);
    let semantic = &analysed.semantic;
    mistakes.extend(analysed.diagnostics.errors().map(diagnostic));
    if typescript::is_typescript(file)
        && let Err(refusals) = typescript::erase(source, &parsed.program, semantic.scoping())
    {
        mistakes.extend(refusals);
    }
    if !mistakes.is_empty() {
        return of(Code::Syntax, mistakes).collect();
    }
    let calls = Calls::find(semantic);
    of(Code::Floating, floating::find(semantic, &calls))
        .chain(of(Code::Race, race::find(semantic, &calls)))
        .chain(of(Code::Module, modules.find(semantic)))
        .collect()
}

fn of(code: Code, remarks: Vec<Remark>) -> impl Iterator<Item = (Span, Code, String)> {
    remarks.into_iter().map(move |(span, message)| (span, code, message))
}

fn diagnostic(error: &oxc_diagnostics::OxcDiagnostic) -> Remark {
    let offset = error.labels.first().map_or(0, |label| label.offset());
    let help = error.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
    (Span::empty(offset), format!("SyntaxError: {}{help}", error.message))
}

/// Patterns are looked into, too: a wrong one keeps the whole text from being compiled. A classic file is the body of a function, so
/// that it may return; the compiler knows which one is.
pub(crate) fn parsing() -> ParseOptions {
    ParseOptions { parse_regular_expression: true, allow_return_outside_function: true, ..ParseOptions::default() }
}

/// TypeScript by its extension; whether a `.js` file is a module is for its text to say.
pub(crate) fn source_type(file: &str) -> SourceType {
    match Path::new(file).extension().and_then(|extension| extension.to_str()) {
        Some("ts" | "mts" | "cts") => SourceType::ts(),
        Some("mjs") => SourceType::mjs(),
        Some("cjs") => SourceType::cjs(),
        _ => SourceType::unambiguous(),
    }
}

/// A place in the source and what is to be said of it.
type Remark = (Span, String);

#[cfg(test)]
mod tests {
    use super::*;

    fn found(source: &str) -> Vec<String> {
        check("a.js", source, &Modules::none()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_clean_script_has_no_findings() {
        let source = "async function main(data, ctx) {\n  await ctx.answer();\n  await ctx.play('ivr/welcome.wav');\n}\n";
        assert_eq!(found(source), [""; 0]);
    }

    #[test]
    fn a_syntax_error_has_line_and_column() {
        let findings = check("a.js", "function main() {\n  const = 1;\n}\n", &Modules::none());
        assert_eq!((findings[0].line, findings[0].code), (2, Code::Syntax), "{findings:?}");
    }

    #[test]
    fn a_wrong_pattern_is_a_syntax_error_at_its_place() {
        let findings = check("a.js", "function main() {\n  return /(/.test('x');\n}\n", &Modules::none());
        let places: Vec<_> = findings.iter().map(|finding| (finding.line, finding.code)).collect();
        assert_eq!(places, [(2, Code::Syntax)], "{findings:?}");
    }

    #[test]
    fn a_classic_file_may_return_and_a_module_may_not() {
        assert_eq!(found("if (vars.blocked) return err(603);\nexit(vars);\n"), [""; 0]);
        let findings = check("a.js", "export const a = 1;\nreturn;\n", &Modules::none());
        let places: Vec<_> = findings.iter().map(|finding| (finding.line, finding.code)).collect();
        assert_eq!(places, [(2, Code::Syntax)], "{findings:?}");
    }

    #[test]
    fn what_the_runtime_does_not_compile_is_a_syntax_error() {
        for source in ["const dec = (a) => a;\n@dec class A {}\n", "import defer * as x from 'cxKV';\nx.get('a');\n"] {
            assert!(check("a.js", source, &Modules::none()).iter().any(|finding| finding.code == Code::Syntax), "{source}");
        }
    }

    #[test]
    fn a_duplicate_declaration_is_a_syntax_error() {
        let findings = check("a.js", "let a;\nlet a;\n", &Modules::none());
        assert_eq!(findings[0].code, Code::Syntax, "{findings:?}");
    }

    #[test]
    fn modules_and_classic_scripts_are_told_apart_by_their_text() {
        assert_eq!(found("export async function main(data, ctx) { await ctx.answer(); }"), [""; 0]);
        assert_eq!(found("module.exports = { main: async (d, ctx) => { await ctx.answer(); } };"), [""; 0]);
    }

    #[test]
    fn typescript_is_read_as_such() {
        let source = "export async function main(data: { to: string }, ctx: any): Promise<void> { ctx.play(data.to as string); }";
        let findings = check("a.ts", source, &Modules::none());
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].code, Code::Floating);
    }

    #[test]
    fn what_typescript_cannot_be_rid_of_is_a_finding() {
        let source = "export enum Menu { Sales }\nexport class A {\n  constructor(private a: string) {}\n}\n";
        let findings = check("a.ts", source, &Modules::none());
        let places: Vec<_> = findings.iter().map(|finding| (finding.line, finding.column, finding.code)).collect();
        assert_eq!(places, [(1, 8, Code::Syntax), (3, 15, Code::Syntax)], "{findings:?}");
    }

    #[test]
    fn a_wrong_header_comment_is_a_finding() {
        assert_eq!(found("// @lockstep memory_mb=0\n"), ["a.js:1:1: memory_mb: expected 1 to 4096 MB [header]"]);
    }

    #[test]
    fn what_is_nested_deep_is_read_or_refused() {
        let nested = |depth: usize| format!("const x = {}1{};\n", "(".repeat(depth), ")".repeat(depth));
        assert_eq!(found(&nested(200)), [""; 0]);
        // The runtime gives up, and says so.
        assert_eq!(found(&nested(nesting::MAX_DEPTH - 1)), ["a.js:1:1: RangeError: Maximum call stack size exceeded [syntax]"]);
        let findings = check("a.js", &format!("\n{}", nested(1_000_000)), &Modules::none());
        assert_eq!(findings.len(), 1);
        assert_eq!((findings[0].line, findings[0].code), (2, Code::Syntax), "{findings:?}");
    }

    #[test]
    fn long_chains_and_many_findings_are_read() {
        let chain = format!("const x = 1{};\n", " + 1".repeat(20_000));
        assert_eq!(found(&chain), [""; 0]);
        // What is found again and again in one variable and one array, on one line.
        let many = format!(
            "async function main(data, ctx) {{ let x; const all = [ctx.say('a')]; {} }}",
            "x = ctx.say('a'); Promise.race(all); ".repeat(2_000)
        );
        assert_eq!(found(&many).len(), 1);
    }
}
