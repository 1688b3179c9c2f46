//! What a text names: its identifiers, the keys of its objects, and what it compares something with.

use std::collections::BTreeSet;

use oxc_allocator::Allocator;
use oxc_ast::ast::{
    BinaryExpression, BindingIdentifier, ComputedMemberExpression, Expression, IdentifierName, IdentifierReference, PropertyKey,
    SwitchCase,
};
use oxc_ast_visit::{Visit, walk};
use oxc_parser::Parser;

use super::{nesting, parsing, refusal, source_type};

/// Those of `wanted` that the source of `file` names; none where it does not parse. What only stands in a string is not named.
pub(crate) fn words<'w>(file: &str, source: &str, wanted: &BTreeSet<&'w str>) -> BTreeSet<&'w str> {
    if !wanted.iter().any(|word| source.contains(*word)) || refusal(source).is_some() {
        return BTreeSet::new();
    }
    nesting::on_a_deep_stack(|| {
        let allocator = Allocator::default();
        let parsed = Parser::new(&allocator, source, source_type(file)).with_options(parsing()).parse();
        let mut words = Words { wanted, found: BTreeSet::new() };
        if !parsed.diagnostics.has_errors() {
            words.visit_program(&parsed.program);
        }
        words.found
    })
}

struct Words<'w, 's> {
    wanted: &'s BTreeSet<&'w str>,
    found: BTreeSet<&'w str>,
}

impl Words<'_, '_> {
    fn name(&mut self, name: &str) {
        if let Some(word) = self.wanted.get(name) {
            self.found.insert(*word);
        }
    }

    fn literal(&mut self, expression: &Expression<'_>) {
        if let Expression::StringLiteral(text) = expression {
            self.name(text.value.as_str());
        }
    }
}

impl<'a> Visit<'a> for Words<'_, '_> {
    fn visit_identifier_name(&mut self, identifier: &IdentifierName<'a>) {
        self.name(identifier.name.as_str());
    }

    fn visit_identifier_reference(&mut self, identifier: &IdentifierReference<'a>) {
        self.name(identifier.name.as_str());
    }

    fn visit_binding_identifier(&mut self, identifier: &BindingIdentifier<'a>) {
        self.name(identifier.name.as_str());
    }

    fn visit_property_key(&mut self, key: &PropertyKey<'a>) {
        if let PropertyKey::StringLiteral(text) = key {
            self.name(text.value.as_str());
        }
        walk::walk_property_key(self, key);
    }

    fn visit_computed_member_expression(&mut self, member: &ComputedMemberExpression<'a>) {
        self.literal(&member.expression);
        walk::walk_computed_member_expression(self, member);
    }

    fn visit_binary_expression(&mut self, expression: &BinaryExpression<'a>) {
        if expression.operator.is_equality() {
            self.literal(&expression.left);
            self.literal(&expression.right);
        }
        walk::walk_binary_expression(self, expression);
    }

    fn visit_switch_case(&mut self, case: &SwitchCase<'a>) {
        if let Some(test) = &case.test {
            self.literal(test);
        }
        walk::walk_switch_case(self, case);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keys_and_what_is_compared_are_words_and_texts_are_none() {
        let source = "// commented\nconst fns = { property: 1, 'quoted-key': 2 }; fns.member; fns['computed']; let binding; reference();\n\
                      if (x === 'compared' || 'left' != x) f('argument', `template`, x ?? 'fallback');\n\
                      switch (x) { case 'chosen': return 'returned'; }";
        let named = ["property", "quoted-key", "member", "computed", "binding", "reference", "compared", "left", "chosen"];
        let texts = ["commented", "argument", "template", "fallback", "returned", "quoted", "absent"];
        let wanted = named.into_iter().chain(texts).collect();
        assert_eq!(words("a.js", source, &wanted), named.into_iter().collect());
        assert_eq!(words("a.js", "const property = (", &wanted), BTreeSet::new());
    }
}
