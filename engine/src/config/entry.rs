//! One entry of a list, given as JSON and read as the configuration's file is: with the key that is wrong, and what was expected.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use toml::de::DeTable;

use super::locate;

/// Reads an entry of a list.
///
/// # Errors
/// The key within the entry, and what was expected of it.
pub(crate) fn entry<T: DeserializeOwned>(value: &Map<String, Value>) -> Result<T, (String, String)> {
    if let Some(wrong) = value.iter().find_map(|(key, value)| unfit(key.clone(), value)) {
        return Err(wrong);
    }
    let whole = |message: String| (String::new(), message);
    let table = toml::Table::try_from(value).map_err(|error| whole(error.to_string().trim().replace('\n', ", ")))?;
    let text = toml::to_string(&table).map_err(|error| whole(error.to_string()))?;
    toml::from_str(&text).map_err(|error| {
        let (document, _) = DeTable::parse_recoverable(&text);
        let message = error.message().trim().replace('\n', ", ");
        // What is missing stands nowhere.
        let span = error.span().filter(|_| !message.starts_with("missing field"));
        let key = span.map(|span| locate::render(&locate::path_at(&document, &span)));
        (key.unwrap_or_default(), message)
    })
}

/// Where JSON holds what the configuration cannot.
fn unfit(key: String, value: &Value) -> Option<(String, String)> {
    match value {
        Value::Null => Some((key, "expected a value, found null".to_owned())),
        Value::Number(number) if number.as_i64().is_none() && number.is_u64() => {
            Some((key, format!("expected a number up to {}, found {number}", i64::MAX)))
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        Value::Array(items) => items.iter().enumerate().find_map(|(at, item)| unfit(format!("{key}[{at}]"), item)),
        Value::Object(fields) => fields.iter().find_map(|(name, field)| unfit(format!("{key}.{name}"), field)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Did, User};

    fn read<T: DeserializeOwned>(json: &str) -> Result<T, (String, String)> {
        entry(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn what_is_wrong_is_named_by_its_key() {
        let wrong = |json: &str| read::<Did>(json).unwrap_err();
        let (key, message) = wrong(r#"{"number": "44", "destinations": ["class5:1", "nowhere"]}"#);
        assert_eq!(key, "destinations");
        assert!(message.contains("expected `class5:NAME`"), "{message}");
        assert_eq!(wrong(r#"{"number": 44}"#).0, "number");
        assert_eq!(wrong(r#"{"number": "44", "vars": {"a": [1, null]}}"#).0, "vars.a[1]");
        assert_eq!(wrong(r#"{"number": "44", "vars": {"a": 12345678901234567890}}"#).0, "vars.a");
        assert_eq!(wrong(r#"{"number": "44", "colour": "red"}"#).0, "colour");
        let (key, message) = read::<User>(r#"{"name": "1001"}"#).unwrap_err();
        assert_eq!((key.as_str(), message.as_str()), ("", "missing field `password`"));
    }

    #[test]
    fn variables_of_any_depth_are_kept() {
        let did: Did = read(r#"{"number": "44", "vars": {"hours": {"week": "9-21", "offset": -4, "rates": [1, 2.5]}}}"#).unwrap();
        assert_eq!(did.vars["hours"]["rates"][1].as_float(), Some(2.5));
    }
}
