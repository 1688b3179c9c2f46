//! The functions that a call may be handed to: `main`, under whatever name and in whatever way a script offers it.

use oxc_ast::AstKind;
use oxc_ast::ast::{
    AssignmentTarget, BindingPattern, ExportDefaultDeclarationKind, Expression, FormalParameters, IdentifierReference,
    ModuleExportName, StaticMemberExpression,
};
use oxc_semantic::Semantic;

use super::constants;

/// Their second parameters: these own the call.
pub(super) fn contexts<'a>(semantic: &Semantic<'a>) -> Vec<&'a BindingPattern<'a>> {
    let entries = semantic.nodes().iter().filter_map(|node| entry(semantic, node.kind()));
    entries.filter_map(|parameters| Some(&parameters.items.get(1)?.pattern)).collect()
}

/// The parameters of the entry that `node` offers.
fn entry<'a>(semantic: &Semantic<'a>, node: AstKind<'a>) -> Option<&'a FormalParameters<'a>> {
    match node {
        AstKind::Function(function) if function.name().is_some_and(|name| name == "main") => Some(&function.params),
        AstKind::VariableDeclarator(declarator) if declarator.id.get_binding_identifier()?.name == "main" => {
            written(declarator.init.as_ref()?)
        }
        AstKind::AssignmentExpression(assignment) if offers(&assignment.left) => offered(semantic, &assignment.right),
        AstKind::ExportDefaultDeclaration(export) => match &export.declaration {
            ExportDefaultDeclarationKind::FunctionDeclaration(function) => Some(&function.params),
            declaration => offered(semantic, declaration.as_expression()?),
        },
        AstKind::ExportSpecifier(specifier) if is_entry(&specifier.exported.name()) => match &specifier.local {
            ModuleExportName::IdentifierReference(name) => named(semantic, name),
            _ => None,
        },
        _ => None,
    }
}

fn is_entry(name: &str) -> bool {
    matches!(name, "main" | "default")
}

/// Whether what is assigned to `target` is an entry, or holds one: `main`, `module.exports`, `module.exports.main`, `exports.main`.
fn offers(target: &AssignmentTarget<'_>) -> bool {
    match target {
        AssignmentTarget::AssignmentTargetIdentifier(name) => name.name == "main",
        AssignmentTarget::StaticMemberExpression(member) => {
            is_module_exports(member)
                || is_entry(&member.property.name)
                    && match member.object.get_inner_expression() {
                        Expression::Identifier(object) => object.name == "exports",
                        Expression::StaticMemberExpression(object) => is_module_exports(object),
                        _ => false,
                    }
        }
        _ => false,
    }
}

/// `module.export` is a typo that the runtime takes for what was meant.
fn is_module_exports(member: &StaticMemberExpression<'_>) -> bool {
    member.object.is_specific_id("module") && matches!(member.property.name.as_str(), "exports" | "export")
}

/// The parameters of a function that is offered as it is, by its name, or in an object.
fn offered<'a>(semantic: &Semantic<'a>, expression: &'a Expression<'a>) -> Option<&'a FormalParameters<'a>> {
    let Expression::ObjectExpression(object) = expression.get_inner_expression() else {
        return written_or_named(semantic, expression);
    };
    let mut properties = object.properties.iter().filter_map(|property| property.as_property());
    let entry = properties.find(|property| property.key.static_name().is_some_and(|name| is_entry(&name)))?;
    written_or_named(semantic, &entry.value)
}

fn written_or_named<'a>(semantic: &Semantic<'a>, expression: &'a Expression<'a>) -> Option<&'a FormalParameters<'a>> {
    match expression.get_inner_expression() {
        Expression::Identifier(name) => named(semantic, name),
        _ => written(expression),
    }
}

fn named<'a>(semantic: &Semantic<'a>, name: &IdentifierReference<'_>) -> Option<&'a FormalParameters<'a>> {
    match constants::declaration(semantic, name)? {
        AstKind::Function(function) => Some(&function.params),
        _ => written(constants::value(semantic, name)?),
    }
}

fn written<'a>(expression: &'a Expression<'a>) -> Option<&'a FormalParameters<'a>> {
    match expression.get_inner_expression() {
        Expression::FunctionExpression(function) => Some(&function.params),
        Expression::ArrowFunctionExpression(arrow) => Some(&arrow.params),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::check::{Code, Modules, check};

    fn codes(file: &str, source: &str) -> Vec<Code> {
        check(file, source, &Modules::none()).into_iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn the_call_is_known_by_the_second_parameter_however_main_is_offered() {
        for source in [
            "function main(data, call) { call.answer(); }",
            "const main = async (data, call) => { call.answer(); };",
            "let main; main = async (data, call) => { call.answer(); };",
            "module.exports = async (data, call) => { call.answer(); };",
            "module.exports = async function (data, call) { call.answer(); };",
            "module.export = async (data, call) => { call.answer(); };",
            "module.exports.main = async (data, call) => { call.answer(); };",
            "exports.main = async (data, call) => { call.answer(); };",
            "exports.default = async (data, call) => { call.answer(); };",
            "exports = module.exports = { main: async (data, call) => { call.answer(); } };",
            "module.exports = { async main(data, call) { call.answer(); } };",
            "module.exports = { main: run }; async function run(data, call) { call.answer(); }",
            "const run = async (data, call) => { call.answer(); }; module.exports = run;",
            "export default async function (data, call) { call.answer(); }",
            "export default async (data, call) => { call.answer(); };",
            "export default { main: async (data, { answer }) => { answer(); } };",
            "async function run(data, call) { call.answer(); } export default run;",
            "const run = async (data, call) => { call.answer(); }; export { run as main };",
            "async function run(data, call) { call.answer(); } export { run as default };",
        ] {
            assert_eq!(codes("a.js", source), [Code::Floating], "{source}");
        }
        assert_eq!(codes("a.ts", "export default async (data: object, call: any) => { call.answer(); };"), [Code::Floating]);
    }

    #[test]
    fn other_functions_have_second_parameters_of_their_own() {
        for source in [
            "exports.notify = (text, player) => { player.play(text); };",
            "function notify(text, player) { player.play(text); } module.exports = { notify };",
            "module.exports = make((text, player) => { player.play(text); });",
            "export const notify = (text, player) => { player.play(text); };",
            "const api = {}; api.main = (text, player) => { player.play(text); };",
            "const a = b, b = a; module.exports = a; module.exports.main = c; export { a as main };",
        ] {
            assert_eq!(codes("a.js", source), [], "{source}");
        }
    }
}
