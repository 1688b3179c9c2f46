//! Which expressions of a script call an operation of `ctx`.

use std::collections::{BTreeMap, BTreeSet};

use oxc_ast::AstKind;
use oxc_ast::ast::{BindingPattern, CallExpression, Expression, VariableDeclarator};
use oxc_semantic::{NodeId, Semantic, SymbolId};
use oxc_span::{GetSpan, Span};

use super::{constants, entry, options};

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
    /// Its options end it, or may: a `signal`, or the `timeout_ms` of a bridge.
    pub(super) is_ended: bool,
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
    /// By start and end.
    by_span: BTreeMap<(u32, u32), NodeId>,
}

impl Calls {
    /// Finds them: on anything named `ctx`, on what `new cxC5Server()` gave, on another name for either, on what an entry is called with, and on names
    /// destructured from them.
    pub(crate) fn find(semantic: &Semantic<'_>) -> Self {
        let names = Names::find(semantic);
        let mut calls = Self::default();
        for node in semantic.nodes().iter() {
            let AstKind::CallExpression(call) = node.kind() else { continue };
            if let Some((name, kind)) = names.operation(semantic, call) {
                let span = call.span();
                let is_ended = options::end(semantic, name, call);
                calls.by_node.insert(node.id(), OperationCall { name, kind, span, is_ended });
                calls.by_span.insert((span.start, span.end), node.id());
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
        self.by_node.get(self.by_span.get(&(span.start, span.end))?)
    }
}

fn lookup(name: &str) -> Option<(&'static str, Kind)> {
    OPERATIONS.iter().find(|(known, _)| *known == name).copied()
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
        for pattern in entry::contexts(semantic) {
            names.bind_pattern(pattern);
        }
        for node in semantic.nodes().iter() {
            if let AstKind::ImportDeclaration(import) = node.kind()
                && import.source.value == C5_MODULE
            {
                for specifier in import.specifiers.iter().flatten() {
                    names.classes.insert(specifier.local().symbol_id());
                }
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

    fn is_context(&self, semantic: &Semantic<'_>, expression: &Expression<'_>) -> bool {
        match expression.get_inner_expression() {
            Expression::Identifier(identifier) => {
                identifier.name == "ctx"
                    || constants::symbol(semantic, identifier).is_some_and(|symbol| self.contexts.contains(&symbol))
            }
            // `this.ctx`, `self.ctx`
            Expression::StaticMemberExpression(member) => member.property.name == "ctx",
            Expression::NewExpression(new) => match new.callee.get_inner_expression() {
                Expression::Identifier(class) => {
                    class.name == C5_MODULE
                        || constants::symbol(semantic, class).is_some_and(|symbol| self.classes.contains(&symbol))
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
                constants::symbol(semantic, identifier).and_then(|symbol| self.operations.get(&symbol).copied())
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
