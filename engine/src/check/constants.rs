//! What a name stands for when it is given once and nothing else ever after.

use oxc_ast::AstKind;
use oxc_ast::ast::{Expression, IdentifierReference};
use oxc_semantic::{Semantic, SymbolFlags, SymbolId};

/// Uses of one name that are looked at. Past them it is taken for a variable that may hold anything.
pub(super) const MAX_USES: usize = 64;

/// The name that `identifier` refers to; `None` for a global.
pub(super) fn symbol(semantic: &Semantic<'_>, identifier: &IdentifierReference<'_>) -> Option<SymbolId> {
    semantic.scoping().get_reference(identifier.reference_id()).symbol_id()
}

/// The node that declares the name that `identifier` refers to.
pub(super) fn declaration<'a>(semantic: &Semantic<'a>, identifier: &IdentifierReference<'_>) -> Option<AstKind<'a>> {
    Some(semantic.symbol_declaration(symbol(semantic, identifier)?).kind())
}

/// What `identifier` was given where it is declared, if nothing assigns to it.
pub(super) fn value<'a>(semantic: &Semantic<'a>, identifier: &IdentifierReference<'_>) -> Option<&'a Expression<'a>> {
    let symbol = symbol(semantic, identifier)?;
    let AstKind::VariableDeclarator(declarator) = semantic.symbol_declaration(symbol).kind() else { return None };
    declarator.id.get_binding_identifier()?;
    let value = declarator.init.as_ref()?.get_inner_expression();
    (is_const(semantic, symbol) || is_never_assigned(semantic, symbol)).then_some(value)
}

pub(super) fn is_const(semantic: &Semantic<'_>, symbol: SymbolId) -> bool {
    semantic.scoping().symbol_flags(symbol).contains(SymbolFlags::ConstVariable)
}

fn is_never_assigned(semantic: &Semantic<'_>, symbol: SymbolId) -> bool {
    let mut uses = semantic.symbol_references(symbol);
    uses.by_ref().take(MAX_USES).all(|reference| !reference.is_write()) && uses.next().is_none()
}
