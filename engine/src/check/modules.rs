//! Modules a script asks for: what a run would not find is found here first.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_ctx_api::js;
use lockstep_ctx_api::packages::Packages;
use oxc_ast::AstKind;
use oxc_ast::ast::{Expression, StringLiteral};
use oxc_semantic::Semantic;
use oxc_span::{GetSpan, Span};

use super::Remark;
use crate::script::programs::{is_script, means};

/// What a script may ask for.
#[derive(Clone, Debug, Default)]
pub struct Modules {
    /// Names of the scripts next to the script.
    siblings: BTreeSet<String>,
    /// Scripts of other apps that lie there, too, each with why it cannot be required.
    apart: BTreeMap<String, String>,
    packages: Packages,
}

impl Modules {
    /// The built-in modules, no siblings.
    pub fn none() -> Self {
        Self::default()
    }

    /// As [`Modules::none`], with the scripts among the files of the script's folder as siblings.
    pub fn with_siblings(files: impl IntoIterator<Item = String>) -> Self {
        Self { siblings: files.into_iter().filter(|file| is_script(file)).collect(), ..Self::default() }
    }

    /// The same, with scripts next to the script that it cannot require, each with the reason.
    #[must_use]
    pub fn and_apart(self, apart: BTreeMap<String, String>) -> Self {
        Self { apart, ..self }
    }

    /// The same, with npm packages.
    #[must_use]
    pub fn and_packages(self, packages: Packages) -> Self {
        Self { packages, ..self }
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

    /// Why `name` cannot be loaded; `None` when it can. The runtime itself is asked, so that no script passes that it would refuse.
    fn problem(&self, name: &str) -> Option<String> {
        let problem = js::module_problem(name, self.siblings.iter().map(String::as_str), &self.packages)?;
        let apart = self.apart.iter().find(|(file, _)| means(name, file));
        Some(apart.map_or(problem, |(_, why)| why.clone()))
    }
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
    fn built_in_modules_and_siblings_are_found() {
        let source =
            "const C5 = require('cxC5Server'); require('cxKV'); require('helper'); require('HELPER'); require('./helper.js');";
        assert_eq!(messages(source), [""; 0]);
        assert_eq!(
            messages("import C5 from 'cxC5Server'; import x from './helper.js'; export * from 'helper'; await import('helper');"),
            [""; 0]
        );
    }

    #[test]
    fn what_the_runtime_does_not_have_is_refused_before_it_runs() {
        for name in ["cxkv", "cxBilling", "axios", "csv-parse/lib/sync", "readme", "readme.md"] {
            let expected = format!("1: Cannot find module '{name}' (not on the allow-list; see docs/modules.md)");
            assert_eq!(messages(&format!("require('{name}')")), [expected]);
        }
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
