//! Header fields: names and values in the order they stand.

use std::fmt;
use std::ops::Range;

use super::percent;

/// Header fields in their order; names are compared without regard to case, and may stand several times.
///
/// An event has 150 of them: all text lies in one buffer.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    text: String,
    fields: Vec<Field>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Field {
    name: Range<usize>,
    value: Range<usize>,
}

impl Headers {
    /// No fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads `Name: value` lines up to the first empty one; `encoded` values are percent-decoded. Lines without a colon are
    /// left out, as all known clients do. The rest of the text after the empty line is returned too.
    pub fn parse(text: &str, encoded: bool) -> (Self, &str) {
        let mut headers = Self { text: String::with_capacity(text.len()), fields: Vec::new() };
        let mut rest = text;
        while !rest.is_empty() {
            let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
            rest = after;
            let line = line.trim_end_matches('\r');
            if line.is_empty() {
                break;
            }
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim_start_matches(' ');
            headers.push_with(name, |text| if encoded { percent::decode(value, text) } else { text.push_str(value) });
        }
        (headers, rest)
    }

    /// Adds a field at the end.
    pub fn push(&mut self, name: &str, value: &str) {
        self.push_with(name, |text| text.push_str(value));
    }

    fn push_with(&mut self, name: &str, value: impl FnOnce(&mut String)) {
        let start = self.text.len();
        self.text.push_str(name);
        let middle = self.text.len();
        value(&mut self.text);
        self.fields.push(Field { name: start..middle, value: middle..self.text.len() });
    }

    /// The value of the first field of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Names and values in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let part = |range: &Range<usize>| self.text.get(range.clone()).unwrap_or_default();
        self.fields.iter().map(move |field| (part(&field.name), part(&field.value)))
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Headers {
    fn from_iter<T: IntoIterator<Item = (&'a str, &'a str)>>(fields: T) -> Self {
        let mut headers = Self::new();
        for (name, value) in fields {
            headers.push(name, value);
        }
        headers
    }
}
