//! TOML values as JSON: variables of the configuration as scripts see them.

use serde_json::{Map, Value};

/// The entries of a table.
pub(crate) fn of_table(table: &toml::Table) -> Map<String, Value> {
    table.iter().map(|(key, value)| (key.clone(), of(value))).collect()
}

fn of(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text.clone()),
        toml::Value::Integer(number) => Value::from(*number),
        toml::Value::Float(number) => Value::from(*number),
        toml::Value::Boolean(truth) => Value::Bool(*truth),
        toml::Value::Datetime(moment) => Value::String(moment.to_string()),
        toml::Value::Array(items) => Value::Array(items.iter().map(of).collect()),
        toml::Value::Table(table) => Value::Object(of_table(table)),
    }
}
