//! Names and values.

use serde_json::{Map, Value};

/// Fields of one form.
const MAX_FIELDS: usize = 1_000;

/// The fields of a form in the order in which they came. A name that comes more than once has a list of values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields {
    map: Map<String, Value>,
    count: usize,
}

/// More fields than a form may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {MAX_FIELDS} fields")]
pub struct TooMany;

impl Fields {
    /// Adds the pairs of a query or of an `application/x-www-form-urlencoded` body.
    ///
    /// # Errors
    /// When there are too many.
    pub fn extend_urlencoded(&mut self, text: &[u8]) -> Result<(), TooMany> {
        for (name, value) in url::form_urlencoded::parse(text) {
            self.add(name.into_owned(), Value::String(value.into_owned()))?;
        }
        Ok(())
    }

    /// Adds a field.
    ///
    /// # Errors
    /// When there are too many.
    pub fn add(&mut self, name: String, value: Value) -> Result<(), TooMany> {
        self.count += 1;
        if self.count > MAX_FIELDS {
            return Err(TooMany);
        }
        match self.map.get_mut(&name) {
            None => {
                self.map.insert(name, value);
            }
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
        Ok(())
    }

    /// Those of `others` take the place of those of the same name.
    pub fn overlay(&mut self, others: Self) {
        self.map.extend(others.map);
    }

    /// The object a script gets.
    pub fn into_value(self) -> Value {
        Value::Object(self.map)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(text: &str) -> Value {
        let mut fields = Fields::default();
        fields.extend_urlencoded(text.as_bytes()).unwrap();
        fields.into_value()
    }

    #[test]
    fn pairs_become_strings_and_repeated_names_lists() {
        assert_eq!(parsed("a=1&b=x+y%21&a=2&a=3&c"), json!({ "a": ["1", "2", "3"], "b": "x y!", "c": "" }));
        assert_eq!(parsed(""), json!({}));
    }

    #[test]
    fn octets_that_are_no_text_are_replaced() {
        assert_eq!(parsed("a=%ff"), json!({ "a": "\u{fffd}" }));
    }

    #[test]
    fn there_is_a_bound() {
        let text = "a=1&".repeat(MAX_FIELDS + 1);
        assert_eq!(Fields::default().extend_urlencoded(text.as_bytes()), Err(TooMany));
    }
}
