//! Options that end an operation.

use oxc_ast::AstKind;
use oxc_ast::ast::{CallExpression, Expression, IdentifierReference, ObjectExpression};
use oxc_semantic::Semantic;

use super::constants::{self, MAX_USES};

/// Properties of an object, and arguments of a call, that are looked at.
const MAX_LOOKED_AT: usize = 64;

/// Whether the options of a call of `operation` end it, as far as the text shows: what comes from elsewhere may.
pub(super) fn end(semantic: &Semantic<'_>, operation: &str, call: &CallExpression<'_>) -> bool {
    let keys: &[&str] = if operation == "bridge" { &["signal", "timeout_ms"] } else { &["signal"] };
    call.arguments.iter().take(MAX_LOOKED_AT).enumerate().any(|(index, argument)| match argument.as_expression() {
        Some(expression) => shown(semantic, keys, expression).unwrap_or(index == position(operation)),
        // `ctx.play(...all)`
        None => true,
    })
}

/// The argument that options are, as the calling form with most arguments has it.
fn position(operation: &str) -> usize {
    match operation {
        "detectMachine" | "gather" => 0,
        "ivr" => 5,
        _ => 1,
    }
}

/// Whether one of `keys` is in `expression`; `None`: the text does not show.
fn shown(semantic: &Semantic<'_>, keys: &[&str], expression: &Expression<'_>) -> Option<bool> {
    match expression.get_inner_expression() {
        Expression::Identifier(name) if name.name == "undefined" => Some(false),
        Expression::Identifier(name) => match constants::value(semantic, name)? {
            Expression::ObjectExpression(object) => Some(has(object, keys) || is_given(semantic, name, keys)),
            value => written(keys, value),
        },
        expression => written(keys, expression),
    }
}

fn written(keys: &[&str], expression: &Expression<'_>) -> Option<bool> {
    match expression {
        Expression::ObjectExpression(object) => Some(has(object, keys)),
        Expression::ArrayExpression(_) | Expression::TemplateLiteral(_) | Expression::BinaryExpression(_) => Some(false),
        expression => expression.is_literal().then_some(false),
    }
}

fn has(object: &ObjectExpression<'_>, keys: &[&str]) -> bool {
    object.properties.iter().take(MAX_LOOKED_AT).any(|property| match property.as_property() {
        Some(property) => keys.iter().any(|key| property.key.is_specific_static_name(key)),
        // `{ ...others }`
        None => true,
    })
}

/// Whether one of `keys` of the object that `name` stands for is named: `options.signal = …`
fn is_given(semantic: &Semantic<'_>, name: &IdentifierReference<'_>, keys: &[&str]) -> bool {
    let uses = constants::symbol(semantic, name).into_iter().flat_map(|symbol| semantic.symbol_references(symbol));
    uses.take(MAX_USES).any(|reference| match semantic.nodes().parent_kind(reference.node_id()) {
        AstKind::StaticMemberExpression(member) => keys.contains(&member.property.name.as_str()),
        _ => false,
    })
}
