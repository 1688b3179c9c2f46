//! From a key to its place in the text, and from a place to its key.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One step of the way to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// `sip.listen[1]`
pub(super) fn render(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => {
                text.push('.');
                text.push_str(key);
            }
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

/// Where the value at `path` stands, or the innermost table or array on the way to it that is there.
pub(super) fn span_of(root: &Spanned<DeTable<'_>>, path: &[Step]) -> Option<Range<usize>> {
    let mut table = Some(root.get_ref());
    let mut array = None;
    let mut span = None;
    for step in path {
        let found = match step {
            Step::Key(key) => {
                table.and_then(|table| table.iter().find(|(name, _)| name.get_ref().as_ref() == key)).map(|(_, value)| value)
            }
            Step::Index(index) => array.and_then(|array: &toml::de::DeArray<'_>| array.get(*index)),
        };
        let Some(found) = found else { break };
        span = Some(found.span());
        (table, array) = match found.get_ref() {
            DeValue::Table(inner) => (Some(inner), None),
            DeValue::Array(inner) => (None, Some(inner)),
            _ => (None, None),
        };
    }
    span
}

/// The key whose name or value encloses `span` most closely.
pub(super) fn path_at(root: &Spanned<DeTable<'_>>, span: &Range<usize>) -> Vec<Step> {
    let mut path = Vec::new();
    descend_table(root.get_ref(), span, &mut path);
    path
}

fn encloses(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

fn descend_table(table: &DeTable<'_>, span: &Range<usize>, path: &mut Vec<Step>) -> bool {
    for (key, value) in table.iter() {
        path.push(Step::Key(key.get_ref().to_string()));
        // A table's own span is its header; its members stand outside of it.
        if descend_value(value.get_ref(), span, path) || encloses(&value.span(), span) || encloses(&key.span(), span) {
            return true;
        }
        path.pop();
    }
    false
}

fn descend_value(value: &DeValue<'_>, span: &Range<usize>, path: &mut Vec<Step>) -> bool {
    match value {
        DeValue::Table(table) => descend_table(table, span, path),
        DeValue::Array(array) => array.iter().enumerate().any(|(index, item)| {
            path.push(Step::Index(index));
            let found = descend_value(item.get_ref(), span, path) || encloses(&item.span(), span);
            if !found {
                path.pop();
            }
            found
        }),
        _ => false,
    }
}

/// Line and column, counted from 1; columns in characters.
pub(super) fn line_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[sip]\nlisten = [\"udp:a\", \"tcp:b\"]\n\n[[user]]\nname = \"1\"\n[[user]]\nname = \"2\"\n";

    fn key(name: &str) -> Step {
        Step::Key(name.to_owned())
    }

    #[test]
    fn a_key_is_found_in_the_text_and_back() {
        let root = DeTable::parse(TEXT).unwrap();
        for path in [vec![key("sip"), key("listen"), Step::Index(1)], vec![key("user"), Step::Index(1), key("name")]] {
            let span = span_of(&root, &path).unwrap();
            assert_eq!(path_at(&root, &span), path);
        }
    }

    #[test]
    fn a_missing_key_is_placed_at_what_encloses_it() {
        let root = DeTable::parse(TEXT).unwrap();
        let span = span_of(&root, &[key("user"), Step::Index(1), key("password")]).unwrap();
        assert_eq!(line_column(TEXT, span.start).0, 6);
    }

    #[test]
    fn columns_count_characters() {
        assert_eq!(line_column("a\nüb", 4), (2, 2));
        assert_eq!(line_column("", 0), (1, 1));
    }
}
