//! Where the promise of an operation goes, and whether anybody there listens to it.

use oxc_ast::AstKind;
use oxc_ast::ast::{AssignmentTarget, CallExpression, Expression, LogicalOperator, UnaryOperator};
use oxc_semantic::{NodeId, Semantic, SymbolId};
use oxc_span::{GetSpan, Span};

use super::constants;

/// Callees that drop what their callback returns.
const DROPPING: &[&str] =
    &["forEach", "on", "once", "off", "addEventListener", "setTimeout", "setInterval", "setImmediate", "queueMicrotask"];

/// Members of a promise whose use means that somebody listens.
const LISTENING: &[&str] = &["then", "catch", "finally"];

/// Nodes and uses of names that one promise is followed through. Past them it is taken for listened to.
const MAX_STEPS: usize = 256;

/// Arguments of a call that are looked at.
const MAX_ARGUMENTS: usize = 8;

/// Why nobody listens to a promise.
#[derive(Debug)]
pub(super) enum Lost {
    /// The expression is a statement of its own, or its value is thrown away.
    Dropped,
    /// The same, of an array that holds it.
    ArrayDropped,
    /// `await` is given an array that holds it.
    ArrayAwaited,
    /// Kept in a variable that is never read.
    Unread(String),
    /// Returned to a caller that ignores it.
    Ignored(String),
    /// Used where a value was meant.
    Misused(String),
    /// The same, in a way that asks nothing but whether there is something.
    Tested(&'static str),
}

/// What becomes of a promise that nobody listens to.
#[derive(Debug)]
pub(super) struct Fate {
    pub(super) lost: Lost,
    /// The callback that awaits the operation, when it is the callback's promise that is lost.
    pub(super) callback: Option<NodeId>,
}

/// Follows the promise that `node` gives; `None` when somebody listens, or may.
pub(super) fn follow(semantic: &Semantic<'_>, node: NodeId) -> Option<Fate> {
    let mut follower = Follower { semantic, steps: MAX_STEPS, is_array: false, is_read: false, callback: None };
    let lost = follower.lost(node)?;
    Some(Fate { lost, callback: follower.callback })
}

struct Follower<'s, 'a> {
    semantic: &'s Semantic<'a>,
    steps: usize,
    /// What is followed is an array of promises.
    is_array: bool,
    /// It was read from a variable.
    is_read: bool,
    callback: Option<NodeId>,
}

impl Follower<'_, '_> {
    fn step(&mut self) -> Option<()> {
        self.steps = self.steps.checked_sub(1)?;
        Some(())
    }

    fn lost(&mut self, node: NodeId) -> Option<Lost> {
        let nodes = self.semantic.nodes();
        let mut child = node;
        loop {
            self.step()?;
            let span = nodes.kind(child).span();
            let parent = nodes.parent_id(child);
            child = match nodes.kind(parent) {
                // Transparent: the value is the parent's.
                AstKind::ParenthesizedExpression(_)
                | AstKind::ChainExpression(_)
                | AstKind::TSAsExpression(_)
                | AstKind::TSNonNullExpression(_)
                | AstKind::TSSatisfiesExpression(_)
                | AstKind::TSTypeAssertion(_) => parent,
                AstKind::ConditionalExpression(conditional) if conditional.test.span() == span => return truthy(),
                AstKind::ConditionalExpression(_) => parent,
                AstKind::LogicalExpression(logical)
                    if logical.left.span() == span && logical.operator == LogicalOperator::And =>
                {
                    return truthy();
                }
                // `ctx.play() || other`, `list?.map(…) ?? []`: the promise, or the array, is what comes of it.
                AstKind::LogicalExpression(_) => parent,
                AstKind::SequenceExpression(sequence) => match sequence.expressions.last() {
                    Some(last) if last.span() == span => parent,
                    _ => return Some(self.dropped()),
                },
                AstKind::ArrayExpression(_) => {
                    self.is_array = true;
                    parent
                }

                AstKind::ExpressionStatement(_) => return Some(self.dropped()),
                AstKind::ForStatement(statement) if statement.test.as_ref().is_some_and(|test| test.span() == span) => {
                    return truthy();
                }
                AstKind::ForStatement(_) => return Some(self.dropped()),
                AstKind::IfStatement(_) | AstKind::WhileStatement(_) | AstKind::DoWhileStatement(_) => return truthy(),
                AstKind::SwitchStatement(_)
                | AstKind::SwitchCase(_)
                | AstKind::BinaryExpression(_)
                | AstKind::TemplateLiteral(_) => return as_result(),
                AstKind::UnaryExpression(unary) => match unary.operator {
                    // `void ctx.play()` says that nobody means to wait.
                    UnaryOperator::Void => return None,
                    UnaryOperator::LogicalNot => return truthy(),
                    _ => return as_result(),
                },
                AstKind::StaticMemberExpression(member) => return self.member(&member.property.name),
                AstKind::ComputedMemberExpression(member) if member.object.span() == span => {
                    return self.member(&member.static_property_name()?);
                }
                AstKind::VariableDeclarator(declarator) => match declarator.id.get_binding_identifier() {
                    Some(name) => return self.variable(name.symbol_id()),
                    None => return self.taken_apart(),
                },
                AstKind::AssignmentExpression(assignment) => {
                    let AssignmentTarget::AssignmentTargetIdentifier(target) = &assignment.left else { return None };
                    if target.span == span {
                        return None;
                    }
                    let lost = self.variable(constants::symbol(self.semantic, target)?)?;
                    if matches!(nodes.parent_kind(parent), AstKind::ExpressionStatement(_)) {
                        return Some(lost);
                    }
                    // `await (x = ctx.play())`: the variable is not all there is.
                    parent
                }

                AstKind::AwaitExpression(_) if self.is_array => return Some(Lost::ArrayAwaited),
                AstKind::AwaitExpression(_) if self.is_read => return None,
                // From here on it is the promise of the function around it.
                AstKind::AwaitExpression(_) => {
                    let function = self.enclosing_function(parent)?;
                    self.callback = Some(function);
                    match self.returned(function)? {
                        Returned::To(call) => call,
                        Returned::Ignored(by) if by == "forEach" => return Some(Lost::Ignored(by)),
                        // Handlers and timers have nobody who could wait.
                        Returned::Ignored(_) => return None,
                    }
                }
                AstKind::ArrowFunctionExpression(arrow) if arrow.body.is_expression() => match self.returned(parent)? {
                    Returned::To(call) => call,
                    Returned::Ignored(by) => return Some(Lost::Ignored(by)),
                },
                AstKind::ReturnStatement(_) => {
                    let function = self.enclosing_function(parent)?;
                    match self.returned(function)? {
                        Returned::To(call) => call,
                        Returned::Ignored(by) => return Some(Lost::Ignored(by)),
                    }
                }
                _ => return None,
            };
        }
    }

    fn dropped(&self) -> Lost {
        if self.is_array { Lost::ArrayDropped } else { Lost::Dropped }
    }

    fn member(&self, name: &str) -> Option<Lost> {
        let is_lost = !self.is_array && !LISTENING.contains(&name);
        is_lost.then(|| Lost::Misused(format!("a promise has no `{name}`; await it first")))
    }

    fn taken_apart(&self) -> Option<Lost> {
        (!self.is_array).then(|| Lost::Misused("a promise is taken apart as if it were its result".to_owned()))
    }

    /// What becomes of what a variable holds: it is lost when every use of the variable loses it.
    fn variable(&mut self, symbol: SymbolId) -> Option<Lost> {
        let semantic = self.semantic;
        let is_array = self.is_array;
        let mut first = None;
        for reference in semantic.symbol_references(symbol) {
            self.step()?;
            if !reference.is_read() {
                continue;
            }
            self.is_array = is_array;
            self.is_read = true;
            let lost = self.lost(reference.node_id())?;
            // `if (!playing) playing = ctx.play()`: what may hold nothing may be asked whether it does.
            if matches!(lost, Lost::Tested(_)) && !constants::is_const(semantic, symbol) {
                return None;
            }
            first.get_or_insert(lost);
        }
        self.is_array = is_array;
        Some(first.unwrap_or_else(|| Lost::Unread(semantic.scoping().symbol_name(symbol).to_owned())))
    }

    fn enclosing_function(&mut self, node: NodeId) -> Option<NodeId> {
        for ancestor in self.semantic.nodes().ancestors(node) {
            self.step()?;
            if matches!(ancestor.kind(), AstKind::Function(_) | AstKind::ArrowFunctionExpression(_)) {
                return Some(ancestor.id());
            }
        }
        None
    }

    /// Where the function at `node` returns to, if it is a callback.
    fn returned(&mut self, node: NodeId) -> Option<Returned> {
        let nodes = self.semantic.nodes();
        let parent = nodes.parent_id(node);
        let AstKind::CallExpression(call) = nodes.kind(parent) else { return None };
        let index = argument(call, nodes.kind(node).span())?;
        let callee = match call.callee.get_inner_expression() {
            Expression::Identifier(name) => name.name.as_str(),
            Expression::StaticMemberExpression(member) => member.property.name.as_str(),
            _ => return None,
        };
        let is_from = call.callee.is_specific_member_access("Array", "from") && index == 1;
        let is_map = matches!(callee, "map" | "flatMap") && call.callee.is_member_expression() && index == 0;
        if is_from || is_map {
            self.is_array = true;
            return Some(Returned::To(parent));
        }
        DROPPING.contains(&callee).then(|| Returned::Ignored(callee.to_owned()))
    }
}

/// What a callback's result becomes.
enum Returned {
    /// An element of the array that this call makes.
    To(NodeId),
    /// Nothing: the callee of this name ignores it.
    Ignored(String),
}

fn argument(call: &CallExpression<'_>, span: Span) -> Option<usize> {
    call.arguments.iter().take(MAX_ARGUMENTS).position(|argument| argument.span() == span)
}

fn truthy() -> Option<Lost> {
    Some(Lost::Tested("a promise is always true"))
}

fn as_result() -> Option<Lost> {
    Some(Lost::Tested("a promise is used as if it were its result"))
}
