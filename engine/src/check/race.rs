//! Races between operations: `Promise.race` does not stop the loser. It goes on, and the next queued operation waits for it.

use std::collections::{BTreeMap, BTreeSet};

use oxc_ast::AstKind;
use oxc_ast::ast::{Argument, ArrayExpression, ArrayExpressionElement, Expression};
use oxc_semantic::Semantic;
use oxc_span::GetSpan;

use super::calls::{Calls, Kind, OperationCall};
use super::{Remark, constants};

/// Finds queued operations that nothing ends among those that race, in the order of the text.
pub(super) fn find(semantic: &Semantic<'_>, calls: &Calls) -> Vec<Remark> {
    // One array may race several times.
    let mut arrays = BTreeSet::new();
    let mut remarks = BTreeMap::new();
    for node in semantic.nodes().iter() {
        let AstKind::CallExpression(call) = node.kind() else { continue };
        let race = ["race", "any"].into_iter().find(|name| call.callee.is_specific_member_access("Promise", name));
        let Some(race) = race else { continue };
        let Some(array) = call.arguments.first().and_then(|first| array(semantic, first)) else { continue };
        if !arrays.insert(array.span.start) {
            continue;
        }
        for element in &array.elements {
            let Some(contestant) = contestant(semantic, calls, element) else { continue };
            if contestant.kind == Kind::Queued && !contestant.is_ended {
                let span = element.span();
                remarks.insert(span.start, (span, sentence(race, contestant)));
            }
        }
    }
    remarks.into_values().collect()
}

/// The array that races, written there or kept in a variable before.
fn array<'a>(semantic: &Semantic<'a>, argument: &'a Argument<'a>) -> Option<&'a ArrayExpression<'a>> {
    let expression = match argument.as_expression()?.get_inner_expression() {
        Expression::Identifier(identifier) => constants::value(semantic, identifier)?,
        expression => expression,
    };
    match expression {
        Expression::ArrayExpression(array) => Some(array),
        _ => None,
    }
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
    match element.as_expression()?.get_inner_expression() {
        Expression::Identifier(identifier) => operation(calls, constants::value(semantic, identifier)?),
        expression => operation(calls, expression),
    }
}

/// The operation that is called; `ctx.play().then(…)` is still it.
fn operation<'c>(calls: &'c Calls, expression: &Expression<'_>) -> Option<&'c OperationCall> {
    let mut expression = expression;
    while let Expression::CallExpression(call) = expression {
        if let Some(operation) = calls.at(call.span()) {
            return Some(operation);
        }
        let Expression::StaticMemberExpression(member) = call.callee.get_inner_expression() else { return None };
        expression = member.object.get_inner_expression();
    }
    None
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
    #[test]
    fn what_is_kept_in_variables_is_looked_through() {
        for body in [
            "const all = [ctx.play('a'), ctx.waitFor('1')]; await Promise.race(all);",
            "const p = ctx.play('a').catch(() => {}); await Promise.race([p, ctx.waitFor('1')]);",
            "const all = [ctx.play('a')]; await Promise.race(all); await Promise.any(all);",
            "const o = { loop: true }; await Promise.race([ctx.play('a', o), ctx.waitFor('1')]);",
            "const f = data.file; await Promise.race([ctx.play(f), ctx.waitFor('1')]);",
        ] {
            assert_eq!(races(body).len(), 1, "{body}");
        }
        for body in [
            "const o = { signal: data.s }; await Promise.race([ctx.play('a', o), ctx.waitFor('1')]);",
            "const o = { loop: true }; o.signal = data.s; await Promise.race([ctx.play('a', o), ctx.waitFor('1')]);",
            "let p = ctx.play('a'); await p; p = ctx.waitFor('1'); await Promise.race([p, ctx.waitForHangup()]);",
        ] {
            assert_eq!(races(body), [""; 0], "{body}");
        }
    }

    #[test]
    fn options_from_elsewhere_may_have_a_signal() {
        for body in [
            "await Promise.race([ctx.play('a', data.options), ctx.waitFor('1')]);",
            "await Promise.race([ctx.gather(options()), ctx.waitFor('1')]);",
            "const go = (options) => Promise.race([ctx.play('a', options), ctx.waitFor('1')]); await go({});",
        ] {
            assert_eq!(races(body), [""; 0], "{body}");
        }
        assert_eq!(races("await Promise.race([ctx.play('a', undefined), ctx.waitFor('1')]);").len(), 1);
        assert_eq!(races("await Promise.race([ctx.ivr(data.f, data.s, data.n), ctx.waitFor('1')]);").len(), 1);
    }

    #[test]
    fn a_bridge_may_be_ended_by_its_time_and_nothing_else_is() {
        assert_eq!(races("await Promise.race([ctx.bridge('1001', { timeout_ms: 5000 }), ctx.waitFor('1')]);"), [""; 0]);
        assert_eq!(races("await Promise.race([ctx.gather({ timeout_ms: 5000 }), ctx.waitFor('1')]);").len(), 1);
    }
}
