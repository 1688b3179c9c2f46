//! Finds where marks belong, by the syntax tree.

use std::collections::BTreeMap;

use oxc_ast::ast::{
    ArrowFunctionBody, BindingPattern, BlockStatement, CatchClause, ComputedMemberExpression, ConditionalExpression, Declaration,
    DoWhileStatement, ExportDefaultDeclarationKind, Expression, ForInStatement, ForOfStatement, ForStatement, IfStatement,
    LabeledStatement, LogicalExpression, ObjectPropertyKind, Program, PropertyKey, Statement as Node, SwitchStatement,
    VariableDeclaration, VariableDeclarationKind, VariableDeclarator, WhileStatement,
};
use oxc_ast_visit::{Visit, walk};
use oxc_semantic::{Scoping, SymbolId};
use oxc_span::{GetSpan, Span};

use super::instrument::{Arm, ArmKind, Branch, BranchKind, Insertion, Instrumented, Statement, number};
use crate::check::line_column;

/// Keys of a table that are told apart: beyond, it is data rather than a menu.
const MAX_KEYS: usize = 32;

/// Walks a script.
pub(super) struct Marker<'s> {
    source: &'s str,
    scoping: &'s Scoping,
    /// Objects that are written out in the script, with their keys.
    tables: BTreeMap<SymbolId, Vec<(String, Span)>>,
    made: Instrumented,
    insertions: Vec<(u32, Insertion)>,
}

impl<'s> Marker<'s> {
    pub(super) fn new(source: &'s str, scoping: &'s Scoping) -> Self {
        Self { source, scoping, tables: BTreeMap::new(), made: Instrumented::default(), insertions: Vec::new() }
    }

    pub(super) fn finish(self) -> (Instrumented, Vec<(u32, Insertion)>) {
        (self.made, self.insertions)
    }

    fn mark(&mut self) -> u32 {
        self.made.marks += 1;
        self.made.marks - 1
    }

    fn insert(&mut self, at: u32, insertion: Insertion) {
        self.insertions.push((at, insertion));
    }

    fn line(&self, offset: u32) -> u32 {
        number(line_column(self.source, offset as usize).0)
    }

    fn text(&self, span: Span) -> String {
        self.source.get(span.start as usize..span.end as usize).unwrap_or_default().to_owned()
    }

    fn arm(&mut self, kind: ArmKind, at: u32) -> Arm {
        Arm { kind, mark: self.mark(), line: self.line(at) }
    }

    fn branch(&mut self, kind: BranchKind, span: Span, arms: Vec<Arm>) {
        let (line, column) = line_column(self.source, span.start as usize);
        self.made.branches.push(Branch { kind, span, line: number(line), column: number(column), arms, key_mark: None });
    }

    /// A statement in a list.
    fn listed(&mut self, node: &Node<'_>) {
        let mark = self.mark();
        let span = node.span();
        self.made.statements.push(Statement { mark, span, line: self.line(span.start) });
        self.insert(span.start, Insertion::Statement(mark));
    }

    /// A statement that alone is what an arm does.
    fn alone(&mut self, node: &Node<'_>, arm: Option<u32>) {
        if let Node::BlockStatement(block) = node {
            return self.block(block, arm);
        }
        let span = node.span();
        self.insert(span.start, Insertion::Text("{"));
        if let Some(mark) = arm {
            self.insert(span.start, Insertion::Statement(mark));
        }
        if !matches!(node, Node::EmptyStatement(_)) {
            self.listed(node);
        }
        walk::walk_statement(self, node);
        self.insert(span.end, Insertion::Text("}"));
    }

    fn block(&mut self, block: &BlockStatement<'_>, arm: Option<u32>) {
        if let Some(mark) = arm {
            self.insert(block.span.start + 1, Insertion::Statement(mark));
        }
        self.visit_statements(&block.body);
    }

    fn looped(&mut self, span: Span, body: &Node<'_>) {
        let arm = self.arm(ArmKind::Entered, begin(body));
        let mark = arm.mark;
        self.branch(BranchKind::Loop, span, vec![arm]);
        self.alone(body, Some(mark));
    }

    fn wrapped(&mut self, expression: &Expression<'_>, mark: u32) {
        let span = expression.span();
        self.insert(span.start, Insertion::Before(mark));
        self.visit_expression(expression);
        self.insert(span.end, Insertion::Text(")"));
    }

    fn table_of(&self, object: &Expression<'_>) -> Option<&Vec<(String, Span)>> {
        let Expression::Identifier(name) = object.get_inner_expression() else { return None };
        let symbol = self.scoping.get_reference(name.reference_id.get()?).symbol_id()?;
        self.tables.get(&symbol)
    }
}

/// Where a statement does something first.
fn begin(node: &Node<'_>) -> u32 {
    match node {
        Node::BlockStatement(block) => block.body.first().map_or(block.span.start, begin),
        node => node.span().start,
    }
}

/// Whether a statement does anything when its turn comes.
fn runs(node: &Node<'_>) -> bool {
    match node {
        Node::FunctionDeclaration(_)
        | Node::BlockStatement(_)
        | Node::EmptyStatement(_)
        | Node::ImportDeclaration(_)
        | Node::ExportAllDeclaration(_)
        | Node::ExportNamedDeclaration(_)
        | Node::ExportFromDeclaration(_) => false,
        Node::ExportDeclaration(export) => {
            matches!(export.declaration, Declaration::VariableDeclaration(_) | Declaration::ClassDeclaration(_))
        }
        Node::ExportDefaultDeclaration(export) => {
            !matches!(export.declaration, ExportDefaultDeclarationKind::FunctionDeclaration(_))
        }
        node => !node.is_typescript_syntax(),
    }
}

/// The tables of a script: objects that never change their name, with keys that are written out.
struct Tables<'t>(&'t mut BTreeMap<SymbolId, Vec<(String, Span)>>);

impl<'a> Visit<'a> for Tables<'_> {
    fn visit_variable_declaration(&mut self, declaration: &VariableDeclaration<'a>) {
        if declaration.kind == VariableDeclarationKind::Const {
            declaration.declarations.iter().for_each(|declarator| self.declared(declarator));
        }
        walk::walk_variable_declaration(self, declaration);
    }
}

impl Tables<'_> {
    fn declared(&mut self, declarator: &VariableDeclarator<'_>) {
        if let BindingPattern::BindingIdentifier(name) = &declarator.id
            && let Some(Expression::ObjectExpression(object)) = declarator.init.as_ref().map(Expression::get_inner_expression)
            && let Some(symbol) = name.symbol_id.get()
        {
            let key = |property: &ObjectPropertyKind<'_>| match property {
                ObjectPropertyKind::ObjectProperty(property) if !property.computed => {
                    let name = match &property.key {
                        PropertyKey::NumericLiteral(key) => Some(key.value.to_string()),
                        key => key.static_name().map(|name| name.into_owned()),
                    };
                    name.map(|name| (name, property.span))
                }
                _ => None,
            };
            let keys: Option<Vec<(String, Span)>> = object.properties.iter().map(key).collect();
            if let Some(keys) = keys.filter(|keys| (2..=MAX_KEYS).contains(&keys.len())) {
                self.0.insert(symbol, keys);
            }
        }
    }
}

impl<'a> Visit<'a> for Marker<'_> {
    fn visit_program(&mut self, program: &Program<'a>) {
        Tables(&mut self.tables).visit_program(program);
        walk::walk_program(self, program);
    }

    fn visit_statements(&mut self, nodes: &oxc_allocator::Vec<'a, Node<'a>>) {
        for node in nodes {
            if runs(node) {
                self.listed(node);
            }
            walk::walk_statement(self, node);
        }
    }

    fn visit_statement(&mut self, node: &Node<'a>) {
        self.alone(node, None);
    }

    // Braces between a label and its loop would part the two.
    fn visit_labeled_statement(&mut self, labeled: &LabeledStatement<'a>) {
        walk::walk_statement(self, &labeled.body);
    }

    fn visit_if_statement(&mut self, statement: &IfStatement<'a>) {
        let end = statement.consequent.span().end;
        let otherwise = statement.alternate.as_ref().map_or(end, begin);
        let (yes, no) = (self.arm(ArmKind::Yes, begin(&statement.consequent)), self.arm(ArmKind::No, otherwise));
        let (yes_mark, no_mark) = (yes.mark, no.mark);
        self.branch(BranchKind::If, statement.span, vec![yes, no]);
        self.visit_expression(&statement.test);
        self.alone(&statement.consequent, Some(yes_mark));
        match &statement.alternate {
            Some(alternate) => self.alone(alternate, Some(no_mark)),
            None => {
                self.insert(end, Insertion::Text("else{"));
                self.insert(end, Insertion::Statement(no_mark));
                self.insert(end, Insertion::Text("}"));
            }
        }
    }

    fn visit_switch_statement(&mut self, switch: &SwitchStatement<'a>) {
        self.visit_expression(&switch.discriminant);
        let mut arms = Vec::new();
        for case in &switch.cases {
            let kind = case.test.as_ref().map_or(ArmKind::Default, |test| ArmKind::Case(self.text(test.span())));
            arms.push(self.arm(kind, case.consequent.first().map_or(case.span.start, begin)));
        }
        let has_default = switch.cases.iter().any(|case| case.test.is_none());
        if let Some(first) = switch.cases.first().filter(|_| !has_default) {
            // Before the cases, so that none of them falls through to it.
            let arm = self.arm(ArmKind::Default, switch.span.start);
            self.insert(first.span.start, Insertion::Text("default:"));
            self.insert(first.span.start, Insertion::Statement(arm.mark));
            self.insert(first.span.start, Insertion::Text("break;"));
            arms.push(arm);
        }
        let marks: Vec<u32> = arms.iter().map(|arm| arm.mark).collect();
        self.branch(BranchKind::Switch, switch.span, arms);
        for (case, mark) in switch.cases.iter().zip(marks) {
            if let Some(test) = &case.test {
                self.visit_expression(test);
            }
            let at = case.consequent.first().map_or(case.span.end, |first| first.span().start);
            self.insert(at, Insertion::Statement(mark));
            self.visit_statements(&case.consequent);
        }
    }

    fn visit_catch_clause(&mut self, clause: &CatchClause<'a>) {
        let arm = self.arm(ArmKind::Caught, clause.body.body.first().map_or(clause.span.start, begin));
        let mark = arm.mark;
        self.branch(BranchKind::Catch, clause.span, vec![arm]);
        if let Some(parameter) = &clause.param {
            self.visit_catch_parameter(parameter);
        }
        self.block(&clause.body, Some(mark));
    }

    fn visit_for_statement(&mut self, statement: &ForStatement<'a>) {
        if let Some(init) = &statement.init {
            self.visit_for_statement_init(init);
        }
        for part in [&statement.test, &statement.update].into_iter().flatten() {
            self.visit_expression(part);
        }
        self.looped(statement.span, &statement.body);
    }

    fn visit_for_of_statement(&mut self, statement: &ForOfStatement<'a>) {
        self.visit_for_statement_left(&statement.left);
        self.visit_expression(&statement.right);
        self.looped(statement.span, &statement.body);
    }

    fn visit_for_in_statement(&mut self, statement: &ForInStatement<'a>) {
        self.visit_for_statement_left(&statement.left);
        self.visit_expression(&statement.right);
        self.looped(statement.span, &statement.body);
    }

    fn visit_while_statement(&mut self, statement: &WhileStatement<'a>) {
        self.visit_expression(&statement.test);
        self.looped(statement.span, &statement.body);
    }

    // Its body runs once at least: there is nothing to tell apart.
    fn visit_do_while_statement(&mut self, statement: &DoWhileStatement<'a>) {
        self.alone(&statement.body, None);
        self.visit_expression(&statement.test);
    }

    fn visit_conditional_expression(&mut self, expression: &ConditionalExpression<'a>) {
        let (yes, no) = (&expression.consequent, &expression.alternate);
        let arms = vec![self.arm(ArmKind::Yes, yes.span().start), self.arm(ArmKind::No, no.span().start)];
        let marks: Vec<u32> = arms.iter().map(|arm| arm.mark).collect();
        self.branch(BranchKind::Conditional, expression.span, arms);
        self.visit_expression(&expression.test);
        for (arm, mark) in [yes, no].into_iter().zip(marks) {
            self.wrapped(arm, mark);
        }
    }

    fn visit_logical_expression(&mut self, expression: &LogicalExpression<'a>) {
        let arm = self.arm(ArmKind::Right, expression.right.span().start);
        let mark = arm.mark;
        self.branch(BranchKind::Logical, expression.span, vec![arm]);
        self.visit_expression(&expression.left);
        self.wrapped(&expression.right, mark);
    }

    fn visit_computed_member_expression(&mut self, member: &ComputedMemberExpression<'a>) {
        self.visit_expression(&member.object);
        let Some(keys) = self.table_of(&member.object).cloned() else { return self.visit_expression(&member.expression) };
        let key_mark = self.mark();
        let arms = keys.into_iter().map(|(key, span)| self.arm(ArmKind::Key(key), span.start)).collect();
        self.branch(BranchKind::Table, member.span, arms);
        if let Some(branch) = self.made.branches.last_mut() {
            branch.key_mark = Some(key_mark);
        }
        let span = member.expression.span();
        self.insert(span.start, Insertion::Key(key_mark));
        self.visit_expression(&member.expression);
        self.insert(span.end, Insertion::Text(")"));
    }

    fn visit_arrow_function_body(&mut self, body: &ArrowFunctionBody<'a>) {
        let Some(expression) = body.as_expression() else { return walk::walk_arrow_function_body(self, body) };
        let mark = self.mark();
        let span = expression.span();
        self.made.statements.push(Statement { mark, span, line: self.line(span.start) });
        self.wrapped(expression, mark);
    }
}
