//! Reads a script's flow out of its syntax tree.

use std::collections::BTreeSet;

use oxc_allocator::Allocator;
use oxc_ast::AstKind;
use oxc_ast::ast::{
    Argument, ArrowFunctionBody, BlockStatement, CallExpression, Declaration, Expression, ForInStatement, ForOfStatement,
    ForStatement, Statement, SwitchStatement, TryStatement,
};
use oxc_parser::Parser;
use oxc_semantic::{NodeId, Semantic, SemanticBuilder};
use oxc_span::{GetSpan, Span};

use super::expression::Expressions;
use super::label::of_source;
use super::{Chart, EndKind, Function, Step, Way};
use crate::check::{Calls, line_column, parsing, source_type};
use crate::config::header_comment;
use crate::coverage::{Branch, BranchKind, Counts, Instrumented};

/// Functions that are drawn.
const MAX_FUNCTIONS: usize = 40;

/// What is known while a script is read.
pub(super) struct Reader<'r> {
    pub(super) source: &'r str,
    pub(super) calls: &'r Calls,
    /// Functions of the script that have something to draw.
    pub(super) drawn: &'r BTreeSet<String>,
    pub(super) made: &'r Instrumented,
    counts: Option<&'r Counts>,
    /// Functions whose steps stand where they are called.
    pub(super) inlined: BTreeSet<u32>,
}

/// See [`super::chart`].
pub(super) fn read(file: &str, source: &str, made: &Instrumented, counts: Option<&Counts>) -> Option<Chart> {
    let allocator = Allocator::default();
    let parsed = Parser::new(&allocator, source, source_type(file)).with_options(parsing()).parse();
    if parsed.diagnostics.has_errors() {
        return None;
    }
    let semantic = SemanticBuilder::new_compiler().with_build_nodes(true).build(&parsed.program).semantic;
    let calls = Calls::find(&semantic);
    // Twice: which functions have something to draw shows when they are read.
    let none = BTreeSet::new();
    let mut reader = Reader { source, calls: &calls, drawn: &none, made, counts, inlined: BTreeSet::new() };
    let drawn: BTreeSet<String> = functions(&semantic, &mut reader).into_iter().map(|function| function.name).collect();
    let mut reader = Reader { drawn: &drawn, inlined: BTreeSet::new(), ..reader };
    let mut functions = functions(&semantic, &mut reader);
    let top = reader.statements(&parsed.program.body);
    if top.iter().any(says_something) {
        functions.insert(
            0,
            Function { name: "when it is loaded".to_owned(), count: reader.of_first(&parsed.program.body), body: top },
        );
    }
    functions.sort_by_key(|function| function.name != "main");
    functions.truncate(MAX_FUNCTIONS);
    let destination = header_comment::read(file, source).ok().and_then(|entry| entry.class5_destination);
    Some(Chart {
        title: file.rsplit('/').next().unwrap_or(file).to_owned(),
        subtitle: destination.map(|destination| format!("reached by dialling {destination}")).unwrap_or_default(),
        functions,
        is_covered: counts.is_some(),
    })
}

/// The functions with something to draw, in the order of the text.
fn functions(semantic: &Semantic<'_>, reader: &mut Reader<'_>) -> Vec<Function> {
    let mut functions = Vec::new();
    for node in semantic.nodes().iter() {
        let (span, steps, count) = match node.kind() {
            AstKind::Function(function) => {
                let Some(body) = &function.body else { continue };
                (function.span, reader.statements(&body.statements), reader.of_first(&body.statements))
            }
            AstKind::ArrowFunctionExpression(arrow) => (arrow.span, reader.arrow(&arrow.body), reader.of_arrow(&arrow.body)),
            _ => continue,
        };
        if !reader.inlined.contains(&span.start) && steps.iter().any(says_something) {
            functions.push(Function { name: reader.name_of(semantic, node.id()), body: steps, count });
        }
    }
    functions
}

/// Whether there is more to a step than that a function returns.
fn says_something(step: &Step) -> bool {
    !matches!(step, Step::End { .. })
}

impl Reader<'_> {
    fn name_of(&self, semantic: &Semantic<'_>, id: NodeId) -> String {
        if let AstKind::Function(function) = semantic.nodes().kind(id)
            && let Some(name) = function.name()
        {
            return name.to_string();
        }
        match semantic.nodes().parent_kind(id) {
            AstKind::VariableDeclarator(declarator) => {
                declarator.id.get_binding_identifier().map(|name| name.name.to_string()).unwrap_or_default()
            }
            AstKind::ObjectProperty(property) => self.text(property.key.span()),
            AstKind::MethodDefinition(method) => self.text(method.key.span()),
            AstKind::ExportDefaultDeclaration(_) | AstKind::AssignmentExpression(_) => "main".to_owned(),
            AstKind::CallExpression(call) => {
                let first = call.arguments.first().filter(|first| first.span().start != semantic.nodes().kind(id).span().start);
                let callee = self.text(call.callee.span());
                let callee = callee.strip_prefix("ctx.").unwrap_or(&callee);
                match first {
                    Some(first) => format!("{callee} {}", self.text(first.span())),
                    None => callee.to_owned(),
                }
            }
            _ => "a function".to_owned(),
        }
    }

    /// Source on one line.
    pub(super) fn text(&self, span: Span) -> String {
        of_source(self.source.get(span.start as usize..span.end as usize).unwrap_or_default())
    }

    pub(super) fn line(&self, span: Span) -> u32 {
        u32::try_from(line_column(self.source, span.start as usize).0).unwrap_or(u32::MAX)
    }

    /// How often the statement at `span` ran.
    pub(super) fn of_statement(&self, span: Span) -> Option<u64> {
        let counts = self.counts?;
        let inside =
            self.made.statements.iter().filter(|statement| statement.span.start <= span.start && span.end <= statement.span.end);
        inside.min_by_key(|statement| statement.span.size()).map(|statement| counts.of(statement.mark))
    }

    pub(super) fn of_first(&self, statements: &[Statement<'_>]) -> Option<u64> {
        statements.iter().find_map(|statement| self.of_statement(statement.span()))
    }

    pub(super) fn of_arrow(&self, body: &ArrowFunctionBody<'_>) -> Option<u64> {
        match body {
            ArrowFunctionBody::FunctionBody(body) => self.of_first(&body.statements),
            body => self.of_statement(body.as_expression()?.span()),
        }
    }

    pub(super) fn branch(&self, kind: BranchKind, span: Span) -> Option<&Branch> {
        self.made.branches.iter().find(|branch| branch.kind == kind && branch.span == span)
    }

    /// How often an arm of a branch was taken.
    pub(super) fn of_arm(&self, kind: BranchKind, span: Span, arm: usize) -> Option<u64> {
        self.of_mark(self.branch(kind, span)?.arms.get(arm)?.mark)
    }

    /// How often a mark was passed.
    pub(super) fn of_mark(&self, mark: u32) -> Option<u64> {
        self.counts.map(|counts| counts.of(mark))
    }

    pub(super) fn expression(&mut self, expression: &Expression<'_>) -> Vec<Step> {
        Expressions::read(self, expression)
    }

    pub(super) fn arrow(&mut self, body: &ArrowFunctionBody<'_>) -> Vec<Step> {
        match body {
            ArrowFunctionBody::FunctionBody(body) => self.statements(&body.statements),
            body => body.as_expression().map(|expression| self.expression(expression)).unwrap_or_default(),
        }
    }

    pub(super) fn statements(&mut self, statements: &[Statement<'_>]) -> Vec<Step> {
        let mut steps = Vec::new();
        for statement in statements {
            // What follows the end of a way is never come to, and not drawn.
            if matches!(steps.last(), Some(Step::End { .. })) {
                break;
            }
            self.statement(statement, &mut steps);
        }
        steps
    }

    fn one(&mut self, statement: &Statement<'_>) -> Vec<Step> {
        let mut steps = Vec::new();
        self.statement(statement, &mut steps);
        steps
    }

    fn statement(&mut self, statement: &Statement<'_>, steps: &mut Vec<Step>) {
        match statement {
            Statement::BlockStatement(block) => steps.extend(self.block(block)),
            Statement::ExpressionStatement(one) => self.expression_statement(&one.expression, steps),
            Statement::VariableDeclaration(declaration) => {
                for init in declaration.declarations.iter().filter_map(|declarator| declarator.init.as_ref()) {
                    steps.extend(self.expression(init));
                }
            }
            Statement::IfStatement(one) => {
                steps.extend(self.expression(&one.test));
                let yes = self.one(&one.consequent);
                let no = one.alternate.as_ref().map(|alternate| self.one(alternate)).unwrap_or_default();
                if yes.is_empty() && no.is_empty() {
                    return;
                }
                let taken = |arm| self.of_arm(BranchKind::If, one.span, arm);
                let ways = vec![Way::new("yes", yes, taken(0)), Way::new("no", no, taken(1))];
                let question = format!("{}?", self.text(one.test.span()));
                steps.push(Step::Fork { question, line: self.line(one.span), ways, count: self.of_statement(one.span) });
            }
            Statement::SwitchStatement(switch) => self.switch(switch, steps),
            Statement::ForStatement(one) => self.for_statement(one, steps),
            Statement::ForOfStatement(one) => {
                let ForOfStatement { span, left, right, body, .. } = one.as_ref();
                steps.extend(self.expression(right));
                let what = format!("{} of {}", self.text(left.span()), self.text(right.span()));
                self.looped(*span, what, body, steps);
            }
            Statement::ForInStatement(one) => {
                let ForInStatement { span, left, right, body, .. } = one.as_ref();
                steps.extend(self.expression(right));
                let what = format!("{} in {}", self.text(left.span()), self.text(right.span()));
                self.looped(*span, what, body, steps);
            }
            Statement::WhileStatement(one) => {
                let what = format!("while {}", self.text(one.test.span()));
                self.looped(one.span, what, &one.body, steps);
            }
            Statement::DoWhileStatement(one) => {
                let what = format!("again while {}", self.text(one.test.span()));
                self.looped(one.span, what, &one.body, steps);
            }
            Statement::LabeledStatement(one) => self.statement(&one.body, steps),
            Statement::TryStatement(one) => self.guarded(one, steps),
            Statement::ReturnStatement(one) => {
                if let Some(argument) = &one.argument {
                    steps.extend(self.expression(argument));
                }
                self.end(EndKind::Return, "return".to_owned(), one.span, steps);
            }
            Statement::ThrowStatement(one) => {
                let what = format!("throw {}", self.text(one.argument.span()));
                self.end(EndKind::Throw, what, one.span, steps);
            }
            Statement::BreakStatement(one) => self.end(EndKind::Break, "leave the loop".to_owned(), one.span, steps),
            Statement::ContinueStatement(one) => self.end(EndKind::Continue, "once more".to_owned(), one.span, steps),
            Statement::ExportDeclaration(export) => {
                if let Declaration::VariableDeclaration(declaration) = &export.declaration {
                    for init in declaration.declarations.iter().filter_map(|declarator| declarator.init.as_ref()) {
                        steps.extend(self.expression(init));
                    }
                }
            }
            // Declarations do nothing when their turn comes, or nothing that is drawn.
            _ => {}
        }
    }

    fn block(&mut self, block: &BlockStatement<'_>) -> Vec<Step> {
        self.statements(&block.body)
    }

    fn expression_statement(&mut self, expression: &Expression<'_>, steps: &mut Vec<Step>) {
        let found = self.expression(expression);
        if !found.is_empty() {
            return steps.extend(found);
        }
        let Expression::CallExpression(call) = expression.get_inner_expression() else { return };
        let callee = self.text(call.callee.span());
        match callee.as_str() {
            "exit" => self.end(EndKind::Return, self.text(call.span), call.span, steps),
            "err" => self.end(EndKind::Throw, self.text(call.span), call.span, steps),
            callee if callee.starts_with("console.") || callee.ends_with("ctx.log") || callee == "require" => {}
            _ => steps.push(self.note(call, &callee)),
        }
    }

    /// A call that is none of an operation, as a small step.
    fn note(&self, call: &CallExpression<'_>, callee: &str) -> Step {
        let is_function =
            |argument: &Argument<'_>| matches!(argument, Argument::ArrowFunctionExpression(_) | Argument::FunctionExpression(_));
        let shown = match (call.arguments.first(), call.arguments.iter().any(is_function)) {
            (Some(first), true) if !is_function(first) => format!("{callee} {} …", self.text(first.span())),
            (_, true) => format!("{callee} …"),
            (_, false) => self.text(call.span),
        };
        Step::Operation(super::Operation {
            name: of_source(&shown),
            detail: String::new(),
            line: self.line(call.span),
            kind: if self.drawn.contains(callee) { super::OperationKind::Function } else { super::OperationKind::Host },
            count: self.of_statement(call.span),
            choices: Vec::new(),
        })
    }

    fn end(&self, kind: EndKind, what: String, span: Span, steps: &mut Vec<Step>) {
        steps.push(Step::End { what: of_source(&what), line: self.line(span), count: self.of_statement(span), kind });
    }

    fn for_statement(&mut self, one: &ForStatement<'_>, steps: &mut Vec<Step>) {
        let what =
            one.test.as_ref().map_or_else(|| "again and again".to_owned(), |test| format!("while {}", self.text(test.span())));
        self.looped(one.span, what, &one.body, steps);
    }

    fn looped(&mut self, span: Span, what: String, body: &Statement<'_>, steps: &mut Vec<Step>) {
        let body = self.one(body);
        if !body.is_empty() {
            let entered = self.of_arm(BranchKind::Loop, span, 0);
            let (line, count) = (self.line(span), self.of_statement(span));
            steps.push(Step::Loop { what: of_source(&what), line, body, entered, count });
        }
    }

    fn guarded(&mut self, one: &TryStatement<'_>, steps: &mut Vec<Step>) {
        let body = self.block(&one.block);
        match &one.handler {
            Some(handler) if !body.is_empty() => {
                let handled = self.block(&handler.body);
                let count = self.of_arm(BranchKind::Catch, handler.span, 0);
                let handler = Way::new("when it fails", handled, count);
                steps.push(Step::Guarded { body, handler, line: self.line(one.span) });
            }
            _ => steps.extend(body),
        }
        if let Some(finalizer) = &one.finalizer {
            steps.extend(self.block(finalizer));
        }
    }

    fn switch(&mut self, switch: &SwitchStatement<'_>, steps: &mut Vec<Step>) {
        steps.extend(self.expression(&switch.discriminant));
        let mut ways: Vec<Way> = Vec::new();
        let mut labels: Vec<String> = Vec::new();
        let mut count = 0;
        let mut has_default = false;
        for (index, case) in switch.cases.iter().enumerate() {
            has_default |= case.test.is_none();
            labels.push(case.test.as_ref().map_or_else(|| "otherwise".to_owned(), |test| self.text(test.span())));
            count += self.of_arm(BranchKind::Switch, switch.span, index).unwrap_or_default();
            if case.consequent.is_empty() && index + 1 < switch.cases.len() {
                continue;
            }
            // One case falls through to the next until one ends.
            let mut own = Vec::new();
            for next in switch.cases.iter().skip(index) {
                own.extend(self.statements(&next.consequent));
                if matches!(own.last(), Some(Step::End { .. })) {
                    break;
                }
            }
            if matches!(own.last(), Some(Step::End { kind: EndKind::Break, .. })) {
                own.pop();
            }
            let counted = self.counts.map(|_| count);
            ways.push(Way::new(&std::mem::take(&mut labels).join(", "), own, counted));
            count = 0;
        }
        if !has_default {
            let missed = self.of_arm(BranchKind::Switch, switch.span, switch.cases.len());
            ways.push(Way::new("otherwise", Vec::new(), missed));
        }
        if ways.iter().any(|way| !way.steps.is_empty()) {
            let question = format!("{}?", self.text(switch.discriminant.span()));
            steps.push(Step::Fork { question, line: self.line(switch.span), ways, count: self.of_statement(switch.span) });
        }
    }
}
