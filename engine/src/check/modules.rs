//! Modules a script asks for: a `cx*` module, a sibling script, or an allow-listed npm package (contract, section 1).

use std::collections::BTreeSet;

use oxc_ast::AstKind;
use oxc_ast::ast::{Expression, StringLiteral};
use oxc_semantic::Semantic;
use oxc_span::{GetSpan, Span};

use super::Remark;

/// Modules of the platform (contract, section 3).
const PLATFORM: &[&str] = &[
    "cxC5Server",
    "cxCallControl",
    "cxHelper",
    "cxJob",
    "cxKV",
    "cxOriginate",
    "cxPubSub",
    "cxRest",
    "cxSend",
    "cxUserspace",
    "cxWebSocket",
];

/// Modules of test files.
const TESTING: &[&str] = &["lockstep:test"];

/// npm packages that scripts may load, and the paths within them.
const ALLOW_LIST: &[&str] = &[
    "axios",
    "axios-cookiejar-support",
    "card-validator",
    "csv-parse",
    "csv-parse/lib/sync",
    "data-forge",
    "decompress-zip",
    "elasticemail-webapiclient",
    "fast-csv",
    "fast-toml",
    "ftp",
    "helpscout-2.0",
    "moment",
    "rss-parser",
    "soap",
    "stripe",
    "tough-cookie",
];

/// Extensions a sibling may have.
const EXTENSIONS: &[&str] = &[".js", ".mjs", ".cjs", ".ts"];

/// What a script may ask for.
#[derive(Clone, Debug, Default)]
pub struct Modules {
    /// File names next to the script.
    siblings: BTreeSet<String>,
}

impl Modules {
    /// The platform's modules and the allow-list, no siblings.
    pub fn none() -> Self {
        Self::default()
    }

    /// As [`Modules::none`], with the files of the script's folder as siblings.
    pub fn with_siblings(files: impl IntoIterator<Item = String>) -> Self {
        Self { siblings: files.into_iter().collect() }
    }

    pub(super) fn find(&self, semantic: &Semantic<'_>) -> Vec<Remark> {
        let mut remarks = Vec::new();
        let mut look = |span: Span, name: &str| {
            if let Some(message) = self.problem(name) {
                remarks.push((span, message));
            }
        };
        let mut literal = |source: &StringLiteral<'_>| look(source.span(), &source.value);
        for node in semantic.nodes().iter() {
            match node.kind() {
                AstKind::ImportDeclaration(import) if !import.import_kind.is_type() => literal(&import.source),
                AstKind::ExportAllDeclaration(export) => literal(&export.source),
                AstKind::ExportFromDeclaration(export) => literal(&export.source),
                AstKind::ImportExpression(import) => {
                    if let Expression::StringLiteral(source) = import.source.get_inner_expression() {
                        literal(source);
                    }
                }
                AstKind::CallExpression(call) => {
                    let is_global =
                        matches!(&call.callee, Expression::Identifier(name) if semantic.is_reference_to_global_variable(name));
                    if let Some(source) = call.common_js_require().filter(|_| is_global) {
                        literal(source);
                    }
                }
                _ => {}
            }
        }
        remarks
    }

    /// Why `name` cannot be loaded; `None` when it can.
    fn problem(&self, name: &str) -> Option<String> {
        let known = |list: &[&str]| list.contains(&name);
        if known(PLATFORM) || known(ALLOW_LIST) || known(TESTING) {
            return None;
        }
        let relative = name.strip_prefix("./");
        let bare = relative.unwrap_or(name);
        let stem = EXTENSIONS.iter().find_map(|extension| bare.strip_suffix(extension)).unwrap_or(bare);
        let sibling = self.siblings.iter().find_map(|file| {
            let file_stem = EXTENSIONS.iter().find_map(|extension| file.strip_suffix(extension))?;
            file_stem.eq_ignore_ascii_case(stem).then_some(file_stem)
        });
        match sibling {
            Some(file_stem) if is_sibling_name(file_stem) => None,
            Some(file_stem) => Some(format!(
                "Cannot require '{file_stem}': the file name of a required script may hold only lowercase letters, digits, '-' and '_'"
            )),
            None => Some(format!("Cannot find module '{name}' (not on the allow-list; see docs/modules.md)")),
        }
    }
}

fn is_sibling_name(stem: &str) -> bool {
    !stem.is_empty() && stem.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Code, check};

    fn messages(source: &str) -> Vec<String> {
        let modules = Modules::with_siblings(["helper.js".to_owned(), "Bad Name.js".to_owned(), "readme.md".to_owned()]);
        let findings = check("a.js", source, &modules);
        assert!(findings.iter().all(|finding| finding.code == Code::Module), "{findings:?}");
        findings.into_iter().map(|finding| format!("{}: {}", finding.line, finding.message)).collect()
    }

    #[test]
    fn platform_modules_packages_and_siblings_are_found() {
        let source = "const kv = require('cxKV'); require('moment'); require('csv-parse/lib/sync'); require('helper'); require('HELPER'); require('./helper.js');";
        assert_eq!(messages(source), [""; 0]);
        assert_eq!(
            messages("import { kv } from 'cxKV'; import x from './helper.js'; export * from 'axios'; await import('cxJob');"),
            [""; 0]
        );
    }

    #[test]
    fn an_unknown_module_is_named_wherever_it_is_asked_for() {
        let sentence = "Cannot find module 'fs' (not on the allow-list; see docs/modules.md)";
        for source in [
            "require('fs');",
            "import fs from 'fs';",
            "export { a } from 'fs';",
            "import('fs');",
            "function f() { return require('fs') }",
        ] {
            assert_eq!(messages(source), [format!("1: {sentence}")], "{source}");
        }
    }

    #[test]
    fn a_sibling_with_a_name_that_cannot_be_required_says_so() {
        assert!(messages("require('Bad Name')")[0].contains("lowercase letters"), "refused with the rule");
    }

    #[test]
    fn a_function_of_ones_own_called_require_is_left_alone() {
        assert_eq!(messages("function require(x) { return x } require('fs');"), [""; 0]);
    }

    #[test]
    fn types_are_not_loaded() {
        let findings = check("a.ts", "import type { X } from 'whatever'; export const x: X = 1;", &Modules::none());
        assert_eq!(findings, []);
    }
}
