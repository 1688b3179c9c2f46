//! The arguments of one call of a service, read in order.

use lockstep_ctx_api::{ErrorCode, OpError, well_formed};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What a module passed, taken one after another; each mistake is named as the script's author knows it.
#[derive(Debug)]
pub struct Arguments {
    label: String,
    values: std::vec::IntoIter<Value>,
}

impl Arguments {
    /// `values` of a call that messages name `label`.
    pub fn new(label: String, values: Vec<Value>) -> Self {
        Self { label, values: values.into_iter() }
    }

    /// The same, where messages name the call otherwise.
    #[must_use]
    pub fn labelled(self, label: String) -> Self {
        Self { label, ..self }
    }

    /// How messages name the call: `kv.get`.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// An error of this call.
    pub fn error(&self, code: ErrorCode, why: impl std::fmt::Display) -> OpError {
        OpError::new(code, format!("{}: {why}", self.label))
    }

    /// The next argument; a missing one is null.
    pub fn value(&mut self) -> Value {
        self.values.next().unwrap_or_default()
    }

    /// A string.
    pub fn text(&mut self, name: &str) -> Result<String, OpError> {
        match self.value() {
            Value::String(text) => Ok(text),
            other => Err(self.wrong(name, "a string", &other)),
        }
    }

    /// A string of JSON, as a module wrote it.
    pub fn json(&mut self, name: &str) -> Result<String, OpError> {
        self.text(name).map(well_formed)
    }

    /// A string, or null.
    pub fn opt_text(&mut self, name: &str) -> Result<Option<String>, OpError> {
        match self.value() {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text)),
            other => Err(self.wrong(name, "a string", &other)),
        }
    }

    /// A number.
    pub fn number(&mut self, name: &str) -> Result<f64, OpError> {
        self.opt_number(name)?.ok_or_else(|| self.wrong(name, "a number", &Value::Null))
    }

    /// A number, or null.
    pub fn opt_number(&mut self, name: &str) -> Result<Option<f64>, OpError> {
        match self.value() {
            Value::Null => Ok(None),
            other => other.as_f64().map(Some).ok_or_else(|| self.wrong(name, "a number", &other)),
        }
    }

    /// Something of a shape; null is its default.
    pub fn shape<T: DeserializeOwned + Default>(&mut self, name: &str) -> Result<T, OpError> {
        match self.value() {
            Value::Null => Ok(T::default()),
            other => {
                serde_json::from_value(other).map_err(|error| self.error(ErrorCode::TypeError, format_args!("`{name}`: {error}")))
            }
        }
    }

    fn wrong(&self, name: &str, expected: &str, got: &Value) -> OpError {
        let got = match got {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        self.error(ErrorCode::TypeError, format_args!("`{name}` must be {expected}, got {got}"))
    }
}
