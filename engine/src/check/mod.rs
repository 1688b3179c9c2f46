//! `lockstep check`: what can be said of a script before a call runs it.
//!
//! A real parser reads it, so that comments, strings and templates mislead nobody. Found are syntax errors, operations whose
//! promise nobody listens to ([`floating`]), races that do not stop their losers ([`race`]), and modules that cannot be loaded
//! ([`modules`]).

mod calls;
mod floating;
mod modules;
mod race;

use std::path::Path;

use oxc_allocator::Allocator;
use oxc_parser::Parser;
use oxc_semantic::SemanticBuilder;
use oxc_span::{SourceType, Span};
use serde::Serialize;

pub use modules::Modules;

pub(crate) use calls::Calls;

use crate::typescript;

/// The longest script looked at, in bytes.
pub const MAX_SOURCE: usize = 4 << 20;

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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
    let report = Report { file, source };
    if source.len() > MAX_SOURCE {
        return vec![report.finding(
            0,
            Code::Syntax,
            format!("the script has {} bytes, at most {MAX_SOURCE} expected", source.len()),
        )];
    }
    let allocator = Allocator::default();
    let parsed = Parser::new(&allocator, source, source_type(file)).parse();
    let mut findings: Vec<Finding> = parsed.diagnostics.errors().map(|error| report.diagnostic(error)).collect();
    if !findings.is_empty() {
        return findings;
    }
    let analysed = SemanticBuilder::new_compiler().with_build_nodes(true).with_check_syntax_error(true).build(&parsed.program);
    findings.extend(analysed.diagnostics.errors().map(|error| report.diagnostic(error)));
    if typescript::is_typescript(file)
        && let Err(refusals) = typescript::erase(source, &parsed.program, analysed.semantic.scoping())
    {
        findings.extend(refusals.into_iter().map(|(span, message)| report.finding(span.start, Code::Syntax, message)));
    }
    if !findings.is_empty() {
        return findings;
    }

    if let Err(error) = crate::config::header_comment::read(file, source) {
        findings.push(Finding { file: file.to_owned(), line: error.line, column: 1, code: Code::Header, message: error.message });
    }
    let calls = calls::Calls::find(&analysed.semantic);
    for (span, message) in floating::find(&analysed.semantic, &calls) {
        findings.push(report.finding(span.start, Code::Floating, message));
    }
    for (span, message) in race::find(&analysed.semantic, &calls) {
        findings.push(report.finding(span.start, Code::Race, message));
    }
    for (span, message) in modules.find(&analysed.semantic) {
        findings.push(report.finding(span.start, Code::Module, message));
    }
    findings.sort_by_key(|finding| (finding.line, finding.column));
    findings
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

struct Report<'a> {
    file: &'a str,
    source: &'a str,
}

impl Report<'_> {
    fn finding(&self, offset: u32, code: Code, message: String) -> Finding {
        let (line, column) = line_column(self.source, offset as usize);
        Finding { file: self.file.to_owned(), line, column, code, message }
    }

    fn diagnostic(&self, error: &oxc_diagnostics::OxcDiagnostic) -> Finding {
        let offset = error.labels.first().map_or(0, |label| label.offset());
        let mut message = format!("SyntaxError: {}", error.message);
        if let Some(help) = &error.help {
            message.push_str(&format!(" ({help})"));
        }
        self.finding(offset, Code::Syntax, message)
    }
}

/// Line and column of a byte offset, counted from 1; columns in UTF-16 code units.
pub(crate) fn line_column(source: &str, offset: usize) -> (usize, usize) {
    let before = source.get(..offset).unwrap_or(source);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let column = before.get(line_start..).map_or(0, |line| line.encode_utf16().count());
    (before.matches('\n').count() + 1, column + 1)
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
    fn columns_count_as_editors_do() {
        assert_eq!(line_column("a😀b", 5), (1, 4));
    }
}
