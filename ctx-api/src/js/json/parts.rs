//! JSON taken apart without making anything of its values.

use std::borrow::Cow;
use std::ops::Range;

use super::tape::{Kind, Node, Tape};

/// Where the members of a JSON object stand in its text, and those of the objects among their values.
#[derive(Debug)]
pub struct Parts<'t> {
    text: &'t str,
    tape: Tape,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part<'t> {
    pub name: Cow<'t, str>,
    /// Where its value stands in the text, in octets.
    pub value: Range<usize>,
    node: u32,
}

impl<'t> Parts<'t> {
    /// `None` for a text that is no JSON object, or nested more than 128 levels deep.
    pub fn read(text: &'t str) -> Option<Self> {
        let tape = Tape::read_outer(text, 2)?;
        (tape.node(0)?.kind == Kind::Object).then_some(Self { text, tape })
    }

    /// Its members in their order; `None` where a name is no text.
    pub fn members(&self) -> Option<Vec<Part<'t>>> {
        self.members_of(0)
    }

    /// Those of a member's value in their order; `None` where that is no object, or a name is no text.
    pub fn within(&self, part: &Part<'_>) -> Option<Vec<Part<'t>>> {
        self.members_of(part.node)
    }

    fn members_of(&self, node: u32) -> Option<Vec<Part<'t>>> {
        if self.tape.node(node)?.kind != Kind::Object {
            return None;
        }
        let mut children = self.tape.children(node);
        let mut members = Vec::new();
        while let Some(((_, name), (node, value))) = children.next().zip(children.next()) {
            members.push(Part { name: self.name(name)?, value: value.start as usize..value.end as usize, node });
        }
        Some(members)
    }

    fn name(&self, node: Node) -> Option<Cow<'t, str>> {
        let quoted = self.text.get(node.start as usize..node.end as usize)?;
        Some(match node.kind {
            Kind::String { escaped: false } => Cow::Borrowed(quoted.get(1..quoted.len().checked_sub(1)?)?),
            _ => Cow::Owned(serde_json::from_str(quoted).ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown<'t>(text: &'t str, parts: &[Part<'t>]) -> Vec<(String, &'t str)> {
        parts.iter().map(|part| (part.name.to_string(), &text[part.value.clone()])).collect()
    }

    #[test]
    fn members_come_with_their_texts() {
        let text = r#" {"a" : [1, {"b":2}], "c\u0041\n":"x", "d":{"e":{"f":1}, "g":[]}} "#;
        let parts = Parts::read(text).expect("an object");
        let members = parts.members().expect("names");
        let found = [("a", r#"[1, {"b":2}]"#), ("cA\n", r#""x""#), ("d", r#"{"e":{"f":1}, "g":[]}"#)];
        assert_eq!(shown(text, &members), found.map(|(name, value)| (name.to_owned(), value)));
        let within: Vec<_> = members.iter().map(|part| parts.within(part).map(|inner| shown(text, &inner))).collect();
        let inner = [("e", r#"{"f":1}"#), ("g", "[]")].map(|(name, value)| (name.to_owned(), value));
        assert_eq!(within, [None, None, Some(inner.to_vec())]);
        assert_eq!(Parts::read("{}").and_then(|parts| parts.members()), Some(Vec::new()));
    }

    #[test]
    fn other_texts_have_none() {
        for text in ["", "1", "[{}]", "null", r#"{"a":}"#, r#"{"a":1}x"#, r#"{"\ud800":1}"#, &"{\"a\":".repeat(200)] {
            assert_eq!(Parts::read(text).and_then(|parts| parts.members()), None, "{text}");
        }
    }
}
