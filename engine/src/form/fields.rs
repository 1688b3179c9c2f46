//! Names and values.

use std::collections::HashMap;

use serde_json::Value;
use serde_json::value::RawValue;

/// Fields of one form.
const MAX_FIELDS: usize = 1_000;

/// The fields of a form in the order in which they came. A name that comes more than once has a list of values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields {
    list: Vec<(String, Value)>,
    /// Where each name stands.
    places: HashMap<String, usize>,
    count: usize,
}

/// What a script gets, in the order in which it came.
#[derive(Clone, Debug)]
pub enum FormData {
    Fields(Fields),
    /// Whatever it is.
    Json(Box<RawValue>),
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
        match self.places.get(&name).and_then(|at| self.list.get_mut(*at)) {
            None => {
                self.places.insert(name.clone(), self.list.len());
                self.list.push((name, value));
            }
            Some((_, Value::Array(values))) => values.push(value),
            Some((_, first)) => *first = Value::Array(vec![first.take(), value]),
        }
        Ok(())
    }

    /// The object a script gets.
    pub fn into_json(self) -> String {
        format!("{{{}}}", self.members())
    }

    fn members(&self) -> String {
        let member = |(name, value): &(String, Value)| format!("{}:{value}", Value::from(name.as_str()));
        self.list.iter().map(member).collect::<Vec<_>>().join(",")
    }
}

impl FormData {
    /// The JSON a script gets.
    pub fn into_json(self) -> String {
        self.after(&Fields::default())
    }

    /// The same with the fields of a query ahead of its own, which count where both have a name. What is no object stays as it is.
    pub fn after(self, query: &Fields) -> String {
        let own = match self {
            Self::Fields(fields) => fields.into_json(),
            Self::Json(json) => json.get().to_owned(),
        };
        let Some(members) = own.strip_prefix('{').filter(|_| !query.list.is_empty()) else { return own };
        let comma = if members.trim_start().starts_with('}') { "" } else { "," };
        // Of members of one name the last counts.
        format!("{{{}{comma}{members}", query.members())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(text: &str) -> Fields {
        let mut fields = Fields::default();
        fields.extend_urlencoded(text.as_bytes()).unwrap();
        fields
    }

    fn parsed(text: &str) -> Value {
        serde_json::from_str(&fields(text).into_json()).unwrap()
    }

    #[test]
    fn everything_stays_in_the_order_in_which_it_came() {
        assert_eq!(fields("z=1&a=2&m=3&a=4").into_json(), r#"{"z":"1","a":["2","4"],"m":"3"}"#);
        let json = |text: &str| FormData::Json(serde_json::from_str(text).unwrap());
        assert_eq!(json(r#"{"z":1.0,"a":{"y":1,"b":2}}"#).into_json(), r#"{"z":1.0,"a":{"y":1,"b":2}}"#);
        assert_eq!(json(r#"{"z":1,"a":2}"#).after(&fields("q=x")), r#"{"q":"x","z":1,"a":2}"#);
        assert_eq!(json("{ }").after(&fields("q=x")), r#"{"q":"x" }"#);
        assert_eq!(json("[1]").after(&fields("q=x")), "[1]");
        assert_eq!(FormData::Fields(fields("b=1")).after(&fields("q=x")), r#"{"q":"x","b":"1"}"#);
        let both: Value = serde_json::from_str(&json(r#"{"a":2}"#).after(&fields("a=1"))).unwrap();
        assert_eq!(both, json!({ "a": 2 }), "the body's counts");
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
