//! Which expressions of a script call an operation of `ctx`.

use std::collections::{BTreeMap, BTreeSet};

use oxc_ast::AstKind;
use oxc_ast::ast::{BindingPattern, CallExpression, Expression, IdentifierReference, VariableDeclarator};
use oxc_semantic::{NodeId, Semantic, SymbolId};
use oxc_span::{GetSpan, Span};

/// How an operation relates to the call's queue, as far as a reader of the source cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Occupies the queue until it has ended.
    Queued,
    /// Waits for something and occupies nothing.
    Listener,
    /// Starts or ends something.
    Other,
}

/// Operations that return a promise, and how they relate to the queue. Settings such as `set` and `blockDtmf` are not here:
/// nothing is lost when nobody waits for those.
const OPERATIONS: &[(&str, Kind)] = &[
    ("answer", Kind::Other),
    ("bridge", Kind::Queued),
    ("conference", Kind::Queued),
    ("detectMachine", Kind::Queued),
    ("earlyMedia", Kind::Other),
    ("echo", Kind::Queued),
    ("enqueue", Kind::Queued),
    ("gather", Kind::Queued),
    ("hangup", Kind::Other),
    ("hold", Kind::Other),
    ("ivr", Kind::Queued),
    ("park", Kind::Other),
    ("pickup", Kind::Queued),
    ("play", Kind::Queued),
    ("record", Kind::Other),
    ("recordMessage", Kind::Queued),
    ("redirect", Kind::Other),
    ("reject", Kind::Other),
    ("ring", Kind::Other),
    ("say", Kind::Queued),
    ("sendDtmf", Kind::Queued),
    ("sleep", Kind::Queued),
    ("stream", Kind::Other),
    ("transfer", Kind::Other),
    ("tts", Kind::Queued),
    ("unhold", Kind::Other),
    ("voicemail", Kind::Queued),
    ("waitFor", Kind::Listener),
    ("waitForHangup", Kind::Listener),
];

/// The module whose class gives a `ctx` in the modules dialect.
const C5_MODULE: &str = "cxC5Server";

/// A call of an operation.
#[derive(Clone, Debug)]
pub(crate) struct OperationCall {
    pub(crate) name: &'static str,
    pub(super) kind: Kind,
    pub(super) span: Span,
    /// An options object with a `signal` is among its arguments.
    pub(super) has_signal: bool,
}

impl OperationCall {
    /// As messages show it.
    pub(super) fn display(&self) -> String {
        format!("ctx.{}()", self.name)
    }
}

/// Every call of an operation in a script, by its node.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    by_node: BTreeMap<NodeId, OperationCall>,
}

impl Calls {
    /// Finds them: on anything named `ctx`, on what `new cxC5Server()` gave, on another name for either, and on names
    /// destructured from them.
    pub(crate) fn find(semantic: &Semantic<'_>) -> Self {
        let names = Names::find(semantic);
        let mut calls = Self::default();
        for node in semantic.nodes().iter() {
            let AstKind::CallExpression(call) = node.kind() else { continue };
            if let Some((name, kind)) = names.operation(semantic, call) {
                let span = call.span();
                calls.by_node.insert(node.id(), OperationCall { name, kind, span, has_signal: has_signal(call) });
            }
        }
        calls
    }

    /// The calls in the order of the text.
    pub(super) fn iter(&self) -> impl Iterator<Item = (NodeId, &OperationCall)> {
        self.by_node.iter().map(|(id, call)| (*id, call))
    }

    /// The operation that the call at `span` is of.
    pub(crate) fn at(&self, span: Span) -> Option<&OperationCall> {
        self.by_node.values().find(|call| call.span == span)
    }
}

fn lookup(name: &str) -> Option<(&'static str, Kind)> {
    OPERATIONS.iter().find(|(known, _)| *known == name).copied()
}

fn has_signal(call: &CallExpression<'_>) -> bool {
    call.arguments.iter().any(|argument| match argument.as_expression() {
        Some(Expression::ObjectExpression(object)) => object
            .properties
            .iter()
            .any(|property| property.as_property().is_none_or(|property| property.key.is_specific_static_name("signal"))),
        _ => false,
    })
}

/// What the script calls its `ctx`, and its operations.
#[derive(Default)]
struct Names {
    contexts: BTreeSet<SymbolId>,
    classes: BTreeSet<SymbolId>,
    operations: BTreeMap<SymbolId, (&'static str, Kind)>,
}

impl Names {
    fn find(semantic: &Semantic<'_>) -> Self {
        let mut names = Self::default();
        for node in semantic.nodes().iter() {
            match node.kind() {
                AstKind::ImportDeclaration(import) if import.source.value == C5_MODULE => {
                    for specifier in import.specifiers.iter().flatten() {
                        names.classes.insert(specifier.local().symbol_id());
                    }
                }
                // The second parameter of `main` owns the call, whatever it is called.
                AstKind::Function(function) if function.name().is_some_and(|name| name == "main") => {
                    if let Some(parameter) = function.params.items.get(1) {
                        names.bind_pattern(&parameter.pattern);
                    }
                }
                _ => {}
            }
        }
        // Names are given before they are passed on, except by hoisting; a second look catches those.
        for _ in 0..2 {
            for node in semantic.nodes().iter() {
                if let AstKind::VariableDeclarator(declarator) = node.kind() {
                    names.declared(semantic, declarator);
                }
            }
        }
        names
    }

    fn bind_pattern(&mut self, pattern: &BindingPattern<'_>) {
        match pattern {
            BindingPattern::BindingIdentifier(name) => {
                self.contexts.insert(name.symbol_id());
            }
            BindingPattern::ObjectPattern(object) => {
                for property in &object.properties {
                    let operation = property.key.static_name().and_then(|name| lookup(&name));
                    if let (Some(operation), Some(name)) = (operation, property.value.get_binding_identifier()) {
                        self.operations.insert(name.symbol_id(), operation);
                    }
                }
            }
            BindingPattern::AssignmentPattern(with_default) => self.bind_pattern(&with_default.left),
            BindingPattern::ArrayPattern(_) => {}
        }
    }

    fn declared(&mut self, semantic: &Semantic<'_>, declarator: &VariableDeclarator<'_>) {
        let Some(init) = &declarator.init else { return };
        let init = init.get_inner_expression();
        if is_require_of_c5(init) {
            if let Some(name) = declarator.id.get_binding_identifier() {
                self.classes.insert(name.symbol_id());
            }
        } else if self.is_context(semantic, init) {
            self.bind_pattern(&declarator.id);
        }
    }

    fn symbol(semantic: &Semantic<'_>, identifier: &IdentifierReference<'_>) -> Option<SymbolId> {
        semantic.scoping().get_reference(identifier.reference_id()).symbol_id()
    }

    fn is_context(&self, semantic: &Semantic<'_>, expression: &Expression<'_>) -> bool {
        match expression.get_inner_expression() {
            Expression::Identifier(identifier) => {
                identifier.name == "ctx"
                    || Self::symbol(semantic, identifier).is_some_and(|symbol| self.contexts.contains(&symbol))
            }
            // `this.ctx`, `self.ctx`
            Expression::StaticMemberExpression(member) => member.property.name == "ctx",
            Expression::NewExpression(new) => match new.callee.get_inner_expression() {
                Expression::Identifier(class) => {
                    class.name == C5_MODULE || Self::symbol(semantic, class).is_some_and(|symbol| self.classes.contains(&symbol))
                }
                callee => is_require_of_c5(callee),
            },
            _ => false,
        }
    }

    fn operation(&self, semantic: &Semantic<'_>, call: &CallExpression<'_>) -> Option<(&'static str, Kind)> {
        match call.callee.get_inner_expression() {
            Expression::StaticMemberExpression(member) if self.is_context(semantic, &member.object) => {
                lookup(&member.property.name)
            }
            Expression::ComputedMemberExpression(member) if self.is_context(semantic, &member.object) => {
                member.static_property_name().and_then(|name| lookup(&name))
            }
            Expression::Identifier(identifier) => {
                Self::symbol(semantic, identifier).and_then(|symbol| self.operations.get(&symbol).copied())
            }
            _ => None,
        }
    }
}

fn is_require_of_c5(expression: &Expression<'_>) -> bool {
    match expression {
        Expression::CallExpression(call) => call.common_js_require().is_some_and(|name| name.value == C5_MODULE),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use lockstep_ctx_api::catalog::{self, Class};

    use super::*;

    #[test]
    fn the_table_knows_what_the_catalogue_knows() {
        for operation in catalog::OPERATIONS.iter().filter(|operation| matches!(operation.class, Class::Queued | Class::Cutting))
        {
            assert!(lookup(operation.name).is_some(), "ctx.{}() is missing here", operation.name);
        }
        for (name, _) in OPERATIONS {
            assert!(catalog::find(name).is_some(), "ctx.{name}() is not in the catalogue");
        }
    }
}
