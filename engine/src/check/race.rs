//! Races between operations: `Promise.race` does not stop the loser. It goes on, and the next queued operation waits for it.

use oxc_ast::AstKind;
use oxc_ast::ast::{Argument, ArrayExpressionElement, Expression};
use oxc_semantic::Semantic;
use oxc_span::GetSpan;

use super::Remark;
use super::calls::{Calls, Kind, OperationCall};

/// Finds queued operations without a signal that race, in the order of the text.
pub(super) fn find(semantic: &Semantic<'_>, calls: &Calls) -> Vec<Remark> {
    let mut remarks = Vec::new();
    for node in semantic.nodes().iter() {
        let AstKind::CallExpression(call) = node.kind() else { continue };
        let race = ["race", "any"].into_iter().find(|name| call.callee.is_specific_member_access("Promise", name));
        let (Some(race), Some(Argument::ArrayExpression(array))) = (race, call.arguments.first()) else { continue };
        for element in &array.elements {
            let Some(contestant) = contestant(semantic, calls, element) else { continue };
            if contestant.kind == Kind::Queued && !contestant.has_signal {
                remarks.push((element.span(), sentence(race, contestant)));
            }
        }
    }
    remarks
}

fn sentence(race: &str, contestant: &OperationCall) -> String {
    let instead = match contestant.name {
        "bridge" => "give it timeout_ms or a signal",
        "sleep" => "use setTimeout, or give it a signal",
        _ => "give it a signal",
    };
    format!(
        "{} goes on when it loses Promise.{race}, and the next queued operation waits for it; {instead}",
        contestant.display()
    )
}

/// The operation an element stands for: called in place, or kept in a variable before.
fn contestant<'c>(semantic: &Semantic<'_>, calls: &'c Calls, element: &ArrayExpressionElement<'_>) -> Option<&'c OperationCall> {
    let mut expression = element.as_expression()?.get_inner_expression();
    // `ctx.play().then(…)` is still the operation.
    while let Expression::CallExpression(call) = expression {
        if let Some(operation) = calls.at(call.span()) {
            return Some(operation);
        }
        match call.callee.get_inner_expression() {
            Expression::StaticMemberExpression(member) => expression = member.object.get_inner_expression(),
            _ => return None,
        }
    }
    let Expression::Identifier(identifier) = expression else { return None };
    let symbol = semantic.scoping().get_reference(identifier.reference_id()).symbol_id()?;
    match semantic.symbol_declaration(symbol).kind() {
        AstKind::VariableDeclarator(declarator) => calls.at(declarator.init.as_ref()?.get_inner_expression().span()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::check::{Code, Modules, check};

    fn races(body: &str) -> Vec<String> {
        let source = format!("async function main(data, ctx) {{ {body} }}");
        check("a.js", &source, &Modules::none())
            .into_iter()
            .filter(|finding| finding.code == Code::Race)
            .map(|finding| finding.message)
            .collect()
    }

    #[test]
    fn a_prompt_that_races_goes_on() {
        let found = races("await Promise.race([ctx.play('a'), ctx.waitFor('1')]);");
        assert_eq!(
            found,
            ["ctx.play() goes on when it loses Promise.race, and the next queued operation waits for it; give it a signal"]
        );
    }

    #[test]
    fn a_bridge_is_not_timed_out_by_racing_a_sleep() {
        let found = races("await Promise.race([ctx.bridge('1001'), ctx.sleep(5000)]);");
        assert_eq!(found.len(), 2);
        assert!(found[0].ends_with("give it timeout_ms or a signal"), "{found:?}");
    }

    #[test]
    fn an_operation_kept_in_a_variable_or_chained_is_followed() {
        assert_eq!(races("const p = ctx.play('a'); await Promise.race([p, ctx.waitForHangup()]);").len(), 1);
        assert_eq!(races("await Promise.any([ctx.play('a').then(() => 1), ctx.waitFor('1')]);").len(), 1);
    }

    #[test]
    fn listeners_and_operations_with_a_signal_may_race() {
        for body in [
            "await Promise.race([ctx.waitFor('1'), ctx.waitForHangup()]);",
            "const stop = new AbortController(); await Promise.race([ctx.play('a', { signal: stop.signal }), ctx.waitFor('1')]);",
            "await Promise.all([ctx.play('a'), ctx.waitFor('1')]);",
        ] {
            assert_eq!(races(body), [""; 0], "{body}");
        }
    }
}
