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
        unquoted(self.text.get(node.start as usize..node.end as usize)?, node.kind != Kind::String { escaped: false })
    }
}

/// A JSON text whose values can be looked at without making anything of them.
#[derive(Debug)]
pub struct Tree<'t> {
    text: &'t str,
    tape: Tape,
}

impl<'t> Tree<'t> {
    /// `None` for a text that is no JSON, or nested more than 128 levels deep.
    pub fn read(text: &'t str) -> Option<Self> {
        Some(Self { text, tape: Tape::read_outer(text, usize::MAX)? })
    }

    /// The whole of it.
    pub fn root(&self) -> Option<Branch<'_>> {
        Some(Branch { text: self.text, tape: &self.tape, index: 0, node: self.tape.node(0)? })
    }
}

/// A value of a [`Tree`].
#[derive(Clone, Copy, Debug)]
pub struct Branch<'t> {
    text: &'t str,
    tape: &'t Tape,
    index: u32,
    node: Node,
}

impl<'t> Branch<'t> {
    /// Its text.
    pub fn json(&self) -> &'t str {
        self.text.get(self.node.start as usize..self.node.end as usize).unwrap_or_default()
    }

    /// What a string says; `None` where it is none, or has half of a character.
    pub fn string(&self) -> Option<Cow<'t, str>> {
        match self.node.kind {
            Kind::String { escaped } => unquoted(self.json(), escaped),
            _ => None,
        }
    }

    /// The elements of an array.
    pub fn elements(self) -> Option<impl Iterator<Item = Self>> {
        (self.node.kind == Kind::Array).then(|| self.children())
    }

    /// The members of an object in their order, of which several may have one name: names, which are strings, and values.
    pub fn members(self) -> Option<impl Iterator<Item = (Self, Self)>> {
        let mut children = self.children();
        (self.node.kind == Kind::Object).then(|| std::iter::from_fn(move || children.next().zip(children.next())))
    }

    fn children(self) -> impl Iterator<Item = Self> {
        self.tape.children(self.index).map(move |(index, node)| Self { index, node, ..self })
    }
}

/// What a string says; `None` where it has half of a character.
fn unquoted(quoted: &str, escaped: bool) -> Option<Cow<'_, str>> {
    Some(match escaped {
        false => Cow::Borrowed(quoted.get(1..quoted.len().checked_sub(1)?)?),
        true => Cow::Owned(serde_json::from_str(quoted).ok()?),
    })
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
    fn values_are_reached_from_the_whole_on() {
        let text = r#" {"a" : ["x", "\u0041", "\ud800", -1 ], "b":{"c":null,"c":true}} "#;
        let tree = Tree::read(text).expect("JSON");
        let root = tree.root().expect("a value");
        assert!(root.elements().is_none() && root.string().is_none());
        let members: Vec<_> = root.members().expect("an object").collect();
        let names: Vec<_> = members.iter().map(|(name, _)| name.string()).collect();
        assert_eq!(names, [Some("a".into()), Some("b".into())]);
        let (list, object) = (members[0].1, members[1].1);
        let elements: Vec<_> = list.elements().expect("an array").map(|element| (element.json(), element.string())).collect();
        let expected = [("\"x\"", Some("x")), (r#""\u0041""#, Some("A")), (r#""\ud800""#, None), ("-1", None)];
        assert_eq!(elements, expected.map(|(json, string)| (json, string.map(Cow::from))));
        assert!(list.members().is_none());
        let inner: Vec<_> = object.members().expect("an object").map(|(name, value)| (name.json(), value.json())).collect();
        assert_eq!(inner, [("\"c\"", "null"), ("\"c\"", "true")]);
        assert!(Tree::read("{").is_none() && Tree::read("").is_none());
    }

    #[test]
    fn other_texts_have_none() {
        for text in ["", "1", "[{}]", "null", r#"{"a":}"#, r#"{"a":1}x"#, r#"{"\ud800":1}"#, &"{\"a\":".repeat(200)] {
            assert_eq!(Parts::read(text).and_then(|parts| parts.members()), None, "{text}");
        }
    }
}
