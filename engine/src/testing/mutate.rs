//! Breaking scripts on purpose: a test suite is as good as the share of broken scripts it notices.
//!
//! One thing is changed at a time: a literal, a condition, an awaited operation, a statement. A mutant is noticed when a test of
//! the script fails. Only what the tests of that script (`name.test.js` for `name.js`) say counts.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use lockstep_ctx_api::js;
use lockstep_ctx_api::wire::Bundle;
use oxc_allocator::Allocator;
use oxc_ast::ast::{
    BooleanLiteral, ConditionalExpression, ExpressionStatement, ForStatement, IfStatement, ImportDeclaration, LogicalExpression,
    LogicalOperator, NumericLiteral, PropertyKey, Statement, StringLiteral, WhileStatement,
};
use oxc_ast_visit::{Visit, walk};
use oxc_parser::Parser;
use oxc_span::{GetSpan, SourceType, Span};

use super::file::TestFile;
use super::runner::{Plan, Verdict, run_one};
use crate::check::{line_column, parsing};
use crate::script::ProgramSet;
use crate::simulation::Project;

/// One change of a script.
#[derive(Clone, Debug)]
pub(crate) struct Mutation {
    span: Span,
    replacement: String,
    what: &'static str,
}

/// A script with one change, and whether its tests noticed.
#[derive(Clone, Debug)]
pub(crate) struct Mutant {
    /// `file:line:column`
    pub place: String,
    /// The change in words.
    pub what: String,
    pub noticed: bool,
}

/// The changes of one text, in its order.
pub(crate) fn mutations(source: &str) -> Vec<Mutation> {
    let allocator = Allocator::default();
    let parsed = Parser::new(&allocator, source, SourceType::mjs()).with_options(parsing()).parse();
    let mut finder = Finder { source, found: Vec::new() };
    finder.visit_program(&parsed.program);
    let mut found = finder.found;
    found.sort_by_key(|mutation| (mutation.span.start, mutation.span.end));
    found
}

struct Finder<'s> {
    source: &'s str,
    found: Vec<Mutation>,
}

impl Finder<'_> {
    fn text(&self, span: Span) -> &str {
        self.source.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    fn change(&mut self, span: Span, replacement: impl Into<String>, what: &'static str) {
        self.found.push(Mutation { span, replacement: replacement.into(), what });
    }

    fn negate(&mut self, test: Span) {
        let negated = format!("!({})", self.text(test));
        self.change(test, negated, "negated");
    }
}

impl<'a> Visit<'a> for Finder<'_> {
    fn visit_string_literal(&mut self, literal: &StringLiteral<'a>) {
        let replacement = if literal.value.is_empty() { "'mutant'" } else { "''" };
        self.change(literal.span, replacement, "another text");
    }

    fn visit_numeric_literal(&mut self, literal: &NumericLiteral<'a>) {
        // Far enough that a test with some tolerance sees it, too.
        let other = if literal.value == 0.0 { "1".to_owned() } else { format!("{}", literal.value * 2.0) };
        self.change(literal.span, other, "another number");
    }

    fn visit_boolean_literal(&mut self, literal: &BooleanLiteral) {
        self.change(literal.span, if literal.value { "false" } else { "true" }, "the other truth");
    }

    fn visit_if_statement(&mut self, statement: &IfStatement<'a>) {
        self.negate(statement.test.span());
        walk::walk_if_statement(self, statement);
    }

    fn visit_while_statement(&mut self, statement: &WhileStatement<'a>) {
        self.negate(statement.test.span());
        walk::walk_while_statement(self, statement);
    }

    fn visit_for_statement(&mut self, statement: &ForStatement<'a>) {
        if let Some(test) = &statement.test {
            self.negate(test.span());
        }
        walk::walk_for_statement(self, statement);
    }

    fn visit_conditional_expression(&mut self, expression: &ConditionalExpression<'a>) {
        self.negate(expression.test.span());
        walk::walk_conditional_expression(self, expression);
    }

    fn visit_logical_expression(&mut self, expression: &LogicalExpression<'a>) {
        let between = Span::new(expression.left.span().end, expression.right.span().start);
        let other = match expression.operator {
            LogicalOperator::And => " || ",
            LogicalOperator::Or | LogicalOperator::Coalesce => " && ",
        };
        self.change(between, other, "the other operator");
        walk::walk_logical_expression(self, expression);
    }

    fn visit_expression_statement(&mut self, statement: &ExpressionStatement<'a>) {
        // `'use strict'` and its like do nothing that a test could see.
        if !matches!(statement.expression, oxc_ast::ast::Expression::StringLiteral(_)) {
            self.change(statement.span, ";", "removed");
        }
        walk::walk_expression_statement(self, statement);
    }

    fn visit_statement(&mut self, statement: &Statement<'a>) {
        match statement {
            Statement::ReturnStatement(returned) if returned.argument.is_none() => self.change(returned.span, ";", "removed"),
            Statement::BreakStatement(broken) => self.change(broken.span, ";", "removed"),
            Statement::ThrowStatement(thrown) => self.change(thrown.span, ";", "removed"),
            _ => {}
        }
        walk::walk_statement(self, statement);
    }

    // What a module or a key is called is no logic.
    fn visit_import_declaration(&mut self, _: &ImportDeclaration<'a>) {}
    fn visit_property_key(&mut self, _: &PropertyKey<'a>) {}
}

/// Breaks each script that has tests of its own, one change at a time.
pub(crate) fn run(files: &[TestFile], jobs: usize, told: impl Fn(&Mutant) + Sync) -> Vec<Mutant> {
    let mut work: Vec<(&TestFile, String, Arc<str>, Mutation)> = Vec::new();
    for file in files {
        let Some((script, source)) = script_of(file) else { continue };
        work.extend(mutations(&source).into_iter().map(|mutation| (file, script.clone(), Arc::clone(&source), mutation)));
    }
    let next = AtomicUsize::new(0);
    let mutants: Mutex<Vec<(usize, Mutant)>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some((file, script, source, mutation)) = work.get(number) else { return };
                    let Some(mutant) = try_one(file, script, source, mutation, number) else { continue };
                    told(&mutant);
                    if let Ok(mut mutants) = mutants.lock() {
                        mutants.push((number, mutant));
                    }
                }
            });
        }
    });
    let mut mutants = mutants.into_inner().unwrap_or_default();
    mutants.sort_by_key(|(number, _)| *number);
    mutants.into_iter().map(|(_, mutant)| mutant).collect()
}

/// The script that a test file tests, by its name.
fn script_of(file: &TestFile) -> Option<(String, Arc<str>)> {
    let name = file.name.rsplit('/').next()?.split(".test.").next()?;
    let program = file.project.programs.by_name(name)?;
    let source = program.bundle.files.get(&program.file)?;
    Some((program.file.clone(), Arc::clone(source)))
}

/// `None` when the change makes no script.
fn try_one(file: &TestFile, script: &str, source: &Arc<str>, mutation: &Mutation, number: usize) -> Option<Mutant> {
    let (start, end) = (mutation.span.start as usize, mutation.span.end as usize);
    let (before, after) = (source.get(..start)?, source.get(end..)?);
    let changed: Arc<str> = format!("{before}{}{after}", mutation.replacement).into();
    let own = Bundle { entry: script.to_owned(), files: [(script.to_owned(), Arc::clone(&changed))].into(), ..Bundle::default() };
    if !js::check(&own).is_empty() {
        return None;
    }
    let programs = file.project.programs.iter().map(|program| {
        let mut program = program.as_ref().clone();
        let mut bundle = program.bundle.as_ref().clone();
        if let Some(text) = bundle.files.get_mut(script) {
            *text = Arc::clone(&changed);
        }
        program.bundle = Arc::new(bundle);
        Arc::new(program)
    });
    let set = ProgramSet::new(programs.collect::<Vec<_>>(), Vec::new());
    let project = Project { programs: Arc::new(set), ..file.project.clone() };
    let test_source = file.program.bundle.files.get(&file.program.file)?;
    let noticed = match TestFile::of_source(file.name.clone(), test_source, project, number as u64) {
        Ok(broken) => (0..broken.tests.len())
            .any(|index| matches!(run_one(&broken, index, &Plan::default()).verdict, Verdict::Failed { .. })),
        // The script cannot even be loaded by its tests.
        Err(_) => true,
    };
    let (line, column) = line_column(source, start);
    let text: String = source.get(start..end)?.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(60).collect();
    Some(Mutant { place: format!("{script}:{line}:{column}"), what: format!("{text} → {}", mutation.what), noticed })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(source: &str) -> Vec<String> {
        let apply = |mutation: Mutation| {
            let (start, end) = (mutation.span.start as usize, mutation.span.end as usize);
            format!("{}{}{}", &source[..start], mutation.replacement, &source[end..])
        };
        mutations(source).into_iter().map(apply).collect()
    }

    #[test]
    fn literals_conditions_and_statements_are_changed_one_at_a_time() {
        assert_eq!(
            changed("if (a > 1) f('x');"),
            ["if (!(a > 1)) f('x');", "if (a > 2) f('x');", "if (a > 1) ;", "if (a > 1) f('');",]
        );
        assert_eq!(changed("const b = c && true;"), ["const b = c || true;", "const b = c && false;"]);
    }

    #[test]
    fn a_script_without_a_main_may_return() {
        assert_eq!(changed("if (a) return b;"), ["if (!(a)) return b;"]);
    }

    #[test]
    fn names_of_modules_and_keys_stay() {
        assert!(changed("import { kv } from 'cxKV';\nconst a = { 'x-y': b };").is_empty());
    }
}
