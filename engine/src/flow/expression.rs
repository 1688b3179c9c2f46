//! Steps within expressions: operations in the order in which they are evaluated, and what they depend on.

use oxc_ast::ast::{
    Argument, ArrowFunctionExpression, AwaitExpression, CallExpression, ComputedMemberExpression, ConditionalExpression,
    Expression, Function, LogicalExpression, LogicalOperator, ObjectExpression,
};
use oxc_ast_visit::{Visit, walk};
use oxc_semantic::ScopeFlags;
use oxc_span::{GetSpan, Span};

use super::chart::Reader;
use super::label::{cut, of_source};
use super::{Choice, Operation, OperationKind, Step, Way};
use crate::coverage::{ArmKind, BranchKind};

/// Longest detail of an operation, in characters.
const MAX_DETAIL: usize = 40;
/// Operations that end the call or hand it on.
const FINAL: [&str; 4] = ["hangup", "reject", "redirect", "transfer"];

/// Walks one expression.
pub(super) struct Expressions<'e, 'r> {
    reader: &'e mut Reader<'r>,
    steps: Vec<Step>,
    /// How often the way that is read now was taken, where that is not how often its statement ran.
    taken: Option<u64>,
}

impl<'e, 'r> Expressions<'e, 'r> {
    pub(super) fn read(reader: &'e mut Reader<'r>, expression: &Expression<'_>) -> Vec<Step> {
        let mut expressions = Self { reader, steps: Vec::new(), taken: None };
        expressions.visit_expression(expression);
        expressions.steps
    }

    fn part(&mut self, expression: &Expression<'_>, taken: Option<u64>) -> Vec<Step> {
        let mut part = Expressions { reader: &mut *self.reader, steps: Vec::new(), taken };
        part.visit_expression(expression);
        part.steps
    }

    fn count(&self, span: Span) -> Option<u64> {
        self.taken.or_else(|| self.reader.of_statement(span))
    }

    fn operation(&mut self, call: &CallExpression<'_>, name: &str, kind: OperationKind) {
        let detail = call.arguments.first().map(|first| self.detail(first)).unwrap_or_default();
        let mut choices = Choices { reader: &*self.reader, found: Vec::new() };
        for argument in &call.arguments {
            choices.visit_argument(argument);
        }
        let mut choices = choices.found;
        // What the box says already.
        choices.iter_mut().filter(|choice| choice.question == detail).for_each(|choice| choice.question.clear());
        let (line, count) = (self.reader.line(call.span), self.count(call.span));
        self.steps.push(Step::Operation(Operation { name: name.to_owned(), detail, line, kind, count, choices }));
    }

    /// The first argument; options are rarely what tells one operation from another.
    fn detail(&self, first: &Argument<'_>) -> String {
        let shown = match first {
            Argument::ObjectExpression(object) => prompt_of(object).map(|span| self.reader.text(span)).unwrap_or_default(),
            Argument::ArrowFunctionExpression(_) | Argument::FunctionExpression(_) => "…".to_owned(),
            first => self.reader.text(first.span()),
        };
        cut(&shown, MAX_DETAIL)
    }

    /// `op.catch(handler)` and `op.then(next)`.
    fn chained(&mut self, call: &CallExpression<'_>) -> bool {
        let Expression::StaticMemberExpression(member) = call.callee.get_inner_expression() else { return false };
        let method = member.property.name.as_str();
        if !matches!(method, "catch" | "then" | "finally") {
            return false;
        }
        let body = self.part(&member.object, self.taken);
        let Some(handler) = call.arguments.first() else { return false };
        if body.is_empty() {
            return false;
        }
        let (steps, count) = self.handler(handler);
        if method == "catch" {
            let handler = Way::new("when it fails", steps, count);
            self.steps.push(Step::Guarded { body, handler, line: self.reader.line(call.span) });
        } else {
            self.steps.extend(body);
            // What it returns is passed on; nothing ends.
            self.steps.extend(steps.into_iter().filter(|step| !matches!(step, Step::End { .. })));
        }
        true
    }

    fn handler(&mut self, handler: &Argument<'_>) -> (Vec<Step>, Option<u64>) {
        let (steps, count) = match handler {
            Argument::ArrowFunctionExpression(arrow) => {
                self.reader.inlined.insert(arrow.span.start);
                (self.reader.arrow(&arrow.body), self.reader.of_arrow(&arrow.body))
            }
            Argument::FunctionExpression(function) => {
                self.reader.inlined.insert(function.span.start);
                match &function.body {
                    Some(body) => (self.reader.statements(&body.statements), self.reader.of_first(&body.statements)),
                    None => (Vec::new(), None),
                }
            }
            _ => (Vec::new(), None),
        };
        (without_returns(steps), count)
    }
}

/// The steps of a function that stand where it is called: its `return` goes on behind the call.
fn without_returns(steps: Vec<Step>) -> Vec<Step> {
    let is_return = |step: &Step| matches!(step, Step::End { kind: super::EndKind::Return, .. });
    let plain = |way: Way| Way { steps: without_returns(way.steps), ..way };
    let each = |step: Step| match step {
        Step::Fork { question, line, ways, count } => {
            Step::Fork { question, line, ways: ways.into_iter().map(plain).collect(), count }
        }
        step => step,
    };
    steps.into_iter().filter(|step| !is_return(step)).map(each).collect()
}

/// What a `gather` and its like ask with.
fn prompt_of(object: &ObjectExpression<'_>) -> Option<Span> {
    let property = object.properties.iter().filter_map(|property| property.as_property());
    property.filter(|property| property.key.is_specific_static_name("prompt")).map(|property| property.value.span()).next()
}

impl<'a> Visit<'a> for Expressions<'_, '_> {
    fn visit_call_expression(&mut self, call: &CallExpression<'a>) {
        if self.chained(call) {
            return;
        }
        let known = self.reader.calls.at(call.span).map(|operation| operation.name);
        // Operations among the arguments come first.
        walk::walk_call_expression(self, call);
        if let Some(name) = known {
            let kind = if FINAL.contains(&name) { OperationKind::Final } else { OperationKind::Call };
            return self.operation(call, name, kind);
        }
        if let Expression::Identifier(callee) = call.callee.get_inner_expression()
            && self.reader.drawn.contains(callee.name.as_str())
        {
            self.operation(call, callee.name.as_str(), OperationKind::Function);
        }
    }

    fn visit_await_expression(&mut self, awaited: &AwaitExpression<'a>) {
        let before = self.steps.len();
        walk::walk_await_expression(self, awaited);
        if self.steps.len() == before
            && let Expression::CallExpression(call) = awaited.argument.get_inner_expression()
        {
            let callee = of_source(&self.reader.text(call.callee.span()));
            self.operation(call, &callee, OperationKind::Host);
        }
    }

    fn visit_conditional_expression(&mut self, one: &ConditionalExpression<'a>) {
        self.visit_expression(&one.test);
        let arm = |reader: &Reader<'_>, arm| reader.of_arm(BranchKind::Conditional, one.span, arm);
        let (yes_count, no_count) = (arm(self.reader, 0), arm(self.reader, 1));
        let (yes, no) = (self.part(&one.consequent, yes_count), self.part(&one.alternate, no_count));
        if yes.is_empty() && no.is_empty() {
            return;
        }
        let ways = vec![Way::new("yes", yes, yes_count), Way::new("no", no, no_count)];
        let question = format!("{}?", self.reader.text(one.test.span()));
        self.steps.push(Step::Fork { question, line: self.reader.line(one.span), ways, count: self.count(one.span) });
    }

    fn visit_logical_expression(&mut self, one: &LogicalExpression<'a>) {
        self.visit_expression(&one.left);
        let taken = self.reader.of_arm(BranchKind::Logical, one.span, 0);
        let steps = self.part(&one.right, taken);
        if steps.is_empty() {
            return;
        }
        let whole = self.count(one.span);
        let (does, not) = match one.operator {
            LogicalOperator::And => ("yes", "no"),
            LogicalOperator::Or | LogicalOperator::Coalesce => ("no", "yes"),
        };
        let missed = whole.zip(taken).map(|(whole, taken)| whole.saturating_sub(taken));
        let ways = vec![Way::new(does, steps, taken), Way::new(not, Vec::new(), missed)];
        let question = format!("{}?", self.reader.text(one.left.span()));
        self.steps.push(Step::Fork { question, line: self.reader.line(one.span), ways, count: whole });
    }

    // What a function does is done when it is called.
    fn visit_function(&mut self, _: &Function<'a>, _: ScopeFlags) {}
    fn visit_arrow_function_expression(&mut self, _: &ArrowFunctionExpression<'a>) {}
}

/// Choices among the arguments of an operation.
struct Choices<'e, 'r> {
    reader: &'e Reader<'r>,
    found: Vec<Choice>,
}

impl<'a> Visit<'a> for Choices<'_, '_> {
    fn visit_conditional_expression(&mut self, one: &ConditionalExpression<'a>) {
        let way = |expression: &Expression<'a>, arm| {
            (self.reader.text(expression.span()), self.reader.of_arm(BranchKind::Conditional, one.span, arm))
        };
        let ways = vec![way(&one.consequent, 0), way(&one.alternate, 1)];
        self.found.push(Choice { question: format!("{}?", self.reader.text(one.test.span())), ways });
        walk::walk_conditional_expression(self, one);
    }

    fn visit_logical_expression(&mut self, one: &LogicalExpression<'a>) {
        self.visit_expression(&one.left);
        if matches!(one.operator, LogicalOperator::Or | LogicalOperator::Coalesce) {
            let taken = self.reader.of_arm(BranchKind::Logical, one.span, 0);
            let way = ("otherwise ".to_owned() + &self.reader.text(one.right.span()), taken);
            match self.found.last_mut() {
                Some(choice) => choice.ways.push(way),
                None => self.found.push(Choice { question: self.reader.text(one.left.span()), ways: vec![way] }),
            }
        }
        self.visit_expression(&one.right);
    }

    fn visit_computed_member_expression(&mut self, member: &ComputedMemberExpression<'a>) {
        if let Some(table) = self.reader.table(member.span) {
            let ways = table.iter().map(|(key, mark)| (key.clone(), self.reader.of_mark(*mark))).collect();
            self.found.push(Choice { question: self.reader.text(member.span), ways });
        }
        walk::walk_computed_member_expression(self, member);
    }

    fn visit_function(&mut self, _: &Function<'a>, _: ScopeFlags) {}
    fn visit_arrow_function_expression(&mut self, _: &ArrowFunctionExpression<'a>) {}
}

impl Reader<'_> {
    /// The keys of the table that is looked into at `span`.
    fn table(&self, span: Span) -> Option<Vec<(String, u32)>> {
        let branch = self.branch(BranchKind::Table, span)?;
        let keys = branch.arms.iter().filter_map(|arm| match &arm.kind {
            ArmKind::Key(key) => Some((key.clone(), arm.mark)),
            _ => None,
        });
        Some(keys.collect())
    }
}
