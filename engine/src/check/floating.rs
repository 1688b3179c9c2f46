//! Operations whose promise nobody listens to: they run all the same, in program order, but nobody learns how they ended, and
//! the script does not wait.

use oxc_ast::AstKind;
use oxc_ast::ast::{AssignmentTarget, Expression, LogicalOperator};
use oxc_semantic::{NodeId, Semantic, SymbolId};
use oxc_span::GetSpan;

use super::Remark;
use super::calls::{Calls, OperationCall};

/// Callees that drop what their callback returns.
const DROPPING: &[&str] =
    &["forEach", "on", "once", "off", "addEventListener", "setTimeout", "setInterval", "setImmediate", "queueMicrotask"];

/// Members of a promise whose use means that somebody listens.
const LISTENING: &[&str] = &["then", "catch", "finally"];

/// Finds them, in the order of the text.
pub(super) fn find(semantic: &Semantic<'_>, calls: &Calls) -> Vec<Remark> {
    calls.iter().filter_map(|(node, call)| Some((call.span, sentence(call, fate(semantic, node)?)))).collect()
}

/// What becomes of a promise that nobody listens to.
enum Lost {
    /// The expression is a statement of its own, or its value is thrown away.
    Dropped,
    /// Kept in a variable that is never read.
    Unread(String),
    /// Returned to a caller that ignores it.
    Ignored(String),
    /// Used where a value was meant.
    Misused(String),
}

fn sentence(call: &OperationCall, lost: Lost) -> String {
    let operation = call.display();
    match lost {
        Lost::Dropped => format!("{operation} is not awaited"),
        Lost::Unread(name) => format!("{operation} is not awaited: `{name}` is never used"),
        Lost::Ignored(by) => format!("{operation} is not awaited: {by} ignores what its callback returns"),
        Lost::Misused(how) => format!("{operation} is not awaited: {how}"),
    }
}

/// Follows the value of `node` to where it goes; `None` when somebody listens, or may.
fn fate(semantic: &Semantic<'_>, node: NodeId) -> Option<Lost> {
    let nodes = semantic.nodes();
    let mut child = node;
    loop {
        let span = nodes.kind(child).span();
        let parent = nodes.parent_id(child);
        match nodes.kind(parent) {
            // Transparent: the value is the parent's.
            AstKind::ParenthesizedExpression(_)
            | AstKind::ChainExpression(_)
            | AstKind::TSAsExpression(_)
            | AstKind::TSNonNullExpression(_)
            | AstKind::TSSatisfiesExpression(_)
            | AstKind::TSTypeAssertion(_) => child = parent,
            AstKind::ConditionalExpression(conditional) if conditional.test.span() == span => return truthy(),
            AstKind::ConditionalExpression(_) => child = parent,
            AstKind::LogicalExpression(logical) if logical.left.span() == span => match logical.operator {
                // `ctx.play() ?? x`: never null.
                LogicalOperator::And | LogicalOperator::Or | LogicalOperator::Coalesce => return truthy(),
            },
            AstKind::LogicalExpression(_) => child = parent,
            AstKind::SequenceExpression(sequence) => match sequence.expressions.last() {
                Some(last) if last.span() == span => child = parent,
                _ => return Some(Lost::Dropped),
            },
            // An array that is itself dropped drops its elements.
            AstKind::ArrayExpression(_) => child = parent,

            AstKind::ExpressionStatement(_) => return Some(Lost::Dropped),
            AstKind::ForStatement(statement) if statement.test.as_ref().is_some_and(|test| test.span() == span) => {
                return truthy();
            }
            AstKind::ForStatement(_) => return Some(Lost::Dropped),
            AstKind::IfStatement(_) | AstKind::WhileStatement(_) | AstKind::DoWhileStatement(_) => return truthy(),
            AstKind::SwitchStatement(_) | AstKind::SwitchCase(_) | AstKind::BinaryExpression(_) | AstKind::TemplateLiteral(_) => {
                return Some(Lost::Misused("a promise is used as if it were its result".to_owned()));
            }
            AstKind::UnaryExpression(unary) => {
                return match unary.operator {
                    // `void ctx.play()` says that nobody means to wait.
                    oxc_ast::ast::UnaryOperator::Void => None,
                    oxc_ast::ast::UnaryOperator::LogicalNot => truthy(),
                    _ => Some(Lost::Misused("a promise is used as if it were its result".to_owned())),
                };
            }
            AstKind::StaticMemberExpression(member) => {
                let name = member.property.name.as_str();
                let listened = LISTENING.contains(&name);
                return (!listened).then(|| Lost::Misused(format!("a promise has no `{name}`; await it first")));
            }
            AstKind::VariableDeclarator(declarator) => {
                if declarator.id.is_destructuring_pattern() {
                    return Some(Lost::Misused("a promise is taken apart as if it were its result".to_owned()));
                }
                return declarator.id.get_binding_identifier().and_then(|name| unread(semantic, name.symbol_id()));
            }
            AstKind::AssignmentExpression(assignment) => {
                let AssignmentTarget::AssignmentTargetIdentifier(target) = &assignment.left else { return None };
                let symbol = semantic.scoping().get_reference(target.reference_id()).symbol_id()?;
                // `x = ctx.play()` may be a value in turn; then its variable is read or not all the same.
                return unread(semantic, symbol);
            }
            AstKind::ArrowFunctionExpression(arrow) if arrow.body.is_expression() => return ignored(semantic, parent),
            AstKind::ReturnStatement(_) => {
                let function = enclosing_function(semantic, parent)?;
                return ignored(semantic, function);
            }
            _ => return None,
        }
    }
}

fn truthy() -> Option<Lost> {
    Some(Lost::Misused("a promise is always true".to_owned()))
}

fn unread(semantic: &Semantic<'_>, symbol: SymbolId) -> Option<Lost> {
    let read = semantic.symbol_references(symbol).any(|reference| reference.is_read());
    (!read).then(|| Lost::Unread(semantic.scoping().symbol_name(symbol).to_owned()))
}

fn enclosing_function(semantic: &Semantic<'_>, node: NodeId) -> Option<NodeId> {
    semantic
        .nodes()
        .ancestors(node)
        .find(|ancestor| matches!(ancestor.kind(), AstKind::Function(_) | AstKind::ArrowFunctionExpression(_)))
        .map(|ancestor| ancestor.id())
}

/// Whether the function at `node` is a callback of something that drops what it returns.
fn ignored(semantic: &Semantic<'_>, node: NodeId) -> Option<Lost> {
    let nodes = semantic.nodes();
    let AstKind::CallExpression(call) = nodes.parent_kind(node) else { return None };
    let span = nodes.kind(node).span();
    if !call.arguments.iter().any(|argument| argument.span() == span) {
        return None;
    }
    let callee = match call.callee.get_inner_expression() {
        Expression::Identifier(name) => name.name.as_str(),
        Expression::StaticMemberExpression(member) => member.property.name.as_str(),
        _ => return None,
    };
    DROPPING.contains(&callee).then(|| Lost::Ignored(callee.to_owned()))
}

#[cfg(test)]
mod tests {
    use crate::check::{Code, Modules, check};

    /// Findings of a body of `async main(data, ctx)`.
    fn floating(body: &str) -> Vec<String> {
        let source = format!("async function main(data, ctx) {{ {body} }}");
        let findings = check("a.js", &source, &Modules::none());
        assert!(findings.iter().all(|finding| finding.code == Code::Floating), "{findings:?}");
        findings.into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn an_operation_on_its_own_floats() {
        assert_eq!(floating("ctx.play('a.wav'); await ctx.hangup();"), ["ctx.play() is not awaited"]);
    }

    #[test]
    fn what_is_awaited_returned_passed_on_or_waived_does_not() {
        for body in [
            "await ctx.play('a')",
            "return ctx.play('a')",
            "void ctx.play('a')",
            "ctx.play('a').then(() => {})",
            "ctx.play('a').catch(console.error)",
            "await Promise.all([ctx.play('a'), ctx.record('x')])",
            "const p = ctx.play('a'); await p",
            "let p; p = ctx.play('a'); await p",
            "const all = [ctx.play('a')]; await Promise.all(all)",
            "data.p = ctx.play('a')",
            "log(ctx.play('a'))",
            "const { status } = await ctx.ivr('a', 5, 1, 1)",
            "await (data.x ? ctx.play('a') : ctx.say('b'))",
            "for (const f of data.files) await ctx.play(f)",
            "await Promise.all(data.files.map((f) => ctx.play(f)))",
            "const hello = () => ctx.play('a'); await hello()",
        ] {
            assert_eq!(floating(body), [""; 0], "{body}");
        }
    }

    #[test]
    fn settings_need_no_await() {
        assert_eq!(
            floating("ctx.set('a', 'b'); ctx.blockDtmf(); ctx.header('X-A', '1'); ctx.log('x'); ctx.on('dtmf', () => {})"),
            [""; 0]
        );
    }

    #[test]
    fn nested_functions_and_branches_are_seen() {
        assert_eq!(floating("const f = async () => { ctx.play('a'); }; await f();").len(), 1);
        assert_eq!(floating("if (data.x) ctx.play('a'); else ctx.play('b');").len(), 2);
        assert_eq!(floating("data.x && ctx.play('a');").len(), 1);
        assert_eq!(floating("data.x ? ctx.play('a') : ctx.play('b');").len(), 2);
        assert_eq!(floating("try { ctx.play('a') } finally { ctx.hangup() }").len(), 2);
        assert_eq!(floating("[ctx.play('a')];").len(), 1);
    }

    #[test]
    fn callbacks_whose_result_is_ignored_float() {
        assert_eq!(
            floating("data.files.forEach((f) => ctx.play(f));"),
            ["ctx.play() is not awaited: forEach ignores what its callback returns"]
        );
        assert_eq!(floating("ctx.on('dtmf', () => { return ctx.hangup(); });").len(), 1);
        assert_eq!(floating("setTimeout(() => ctx.hangup(), 1000);").len(), 1);
    }

    #[test]
    fn a_promise_in_place_of_its_result_floats() {
        assert_eq!(
            floating("const s = ctx.ivr('a', 5, 1, 1).status;"),
            ["ctx.ivr() is not awaited: a promise has no `status`; await it first"]
        );
        assert_eq!(floating("if (ctx.play('a')) {}"), ["ctx.play() is not awaited: a promise is always true"]);
        assert_eq!(floating("const { status } = ctx.ivr('a', 5, 1, 1);").len(), 1);
        assert_eq!(floating("const p = ctx.play('a');"), ["ctx.play() is not awaited: `p` is never used"]);
    }

    #[test]
    fn other_names_for_ctx_are_followed() {
        assert_eq!(floating("const call = ctx; call.play('a');").len(), 1);
        assert_eq!(floating("const { play, say: speak } = ctx; play('a'); speak('b');").len(), 2);
        assert_eq!(floating("ctx?.play('a');").len(), 1);
        assert_eq!(floating("ctx['play']('a');").len(), 1);
        assert_eq!(floating("this.ctx.play('a');").len(), 1);
    }

    #[test]
    fn both_dialects_are_known() {
        let classic = "function main(data, call) { call.play('a'); }";
        let module = "import Server from 'cxC5Server'; const c = new Server(process.env.CORRELATION_ID); export async function main() { c.play('a'); }";
        let required = "const C5 = require('cxC5Server'); const c = new C5(); c.play('a');";
        for source in [classic, module, required] {
            let findings = check("a.js", source, &Modules::none());
            assert_eq!(findings.len(), 1, "{source}: {findings:?}");
        }
    }

    #[test]
    fn what_only_looks_like_an_operation_is_left_alone() {
        assert_eq!(floating("player.play('a'); data.answer(); play('x'); /* ctx.play() */ log('ctx.play()');"), [""; 0]);
    }
}
