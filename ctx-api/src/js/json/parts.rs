//! JSON taken apart without making anything of its values.

use std::borrow::Cow;

use super::tape::{Kind, Tape};

/// Names and texts of an object's members, in their order. `None` for a text that is no JSON object, or nested more than 128 levels
/// deep.
pub fn members(text: &str) -> Option<Vec<(Cow<'_, str>, &str)>> {
    let tape = Tape::read(text, usize::MAX)?;
    if tape.node(0)?.kind != Kind::Object {
        return None;
    }
    let mut children = tape.children(0);
    let mut members = Vec::new();
    while let Some(((_, name), (_, value))) = children.next().zip(children.next()) {
        let quoted = text.get(name.start as usize..name.end as usize)?;
        let name = match name.kind {
            Kind::String { escaped: false } => Cow::Borrowed(quoted.get(1..quoted.len().checked_sub(1)?)?),
            _ => Cow::Owned(serde_json::from_str(quoted).ok()?),
        };
        members.push((name, text.get(value.start as usize..value.end as usize)?));
    }
    Some(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_with_their_texts() {
        let found = members(r#" {"a" : [1, {"b":2}], "c\u0041\n":"x"} "#).expect("an object");
        assert_eq!(found, [("a".into(), r#"[1, {"b":2}]"#), ("cA\n".into(), r#""x""#)]);
        assert_eq!(members("{}"), Some(Vec::new()));
    }

    #[test]
    fn other_texts_have_none() {
        for text in ["", "1", "[{}]", "null", r#"{"a":}"#, r#"{"a":1}x"#, r#"{"\ud800":1}"#, &"{\"a\":".repeat(200)] {
            assert_eq!(members(text), None, "{text}");
        }
    }
}
