//! Keeps secrets out of what people read.

use serde_json::Value;

/// What stands in a secret's place.
pub const REDACTED: &str = "[redacted]";

/// Decides which strings of a journal are secrets. The journal itself keeps them: replay needs them.
pub trait Redactor {
    /// The text to show instead of `value`, which stands under `name` (an object's key, a header field's or variable's
    /// name; empty when there is none). `None` shows it as it is.
    fn redact(&self, name: &str, value: &str) -> Option<String>;
}

/// Redacts by name: credentials in header fields, environment and arguments, and the user part of URLs.
#[derive(Clone, Copy, Debug, Default)]
pub struct SecretNames;

impl SecretNames {
    /// Whether the value of an environment variable of this name is a secret: all are, but those the engine sets itself.
    pub fn hides_variable(name: &str) -> bool {
        !OWN_VARIABLES.contains(&name)
    }
}

impl Redactor for SecretNames {
    fn redact(&self, name: &str, value: &str) -> Option<String> {
        if names_secret(name) {
            return Some(REDACTED.to_owned());
        }
        let (scheme, rest) = value.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        let (_, host) = authority.rsplit_once('@')?;
        let tail = &rest[authority.len()..];
        Some(format!("{scheme}://{REDACTED}@{host}{tail}"))
    }
}

/// What a run's environment is known by: its values are secrets in the configuration, so none of them is shown.
const ENVIRONMENT: &str = "env";
/// What the engine itself puts there: which run this is, and nothing secret.
const OWN_VARIABLES: [&str; 7] =
    ["CORRELATION_ID", "SCRIPTFORGE_ID", "SCRIPTFORGE_UUID", "SCRIPTFORGE_NAME", "APP_ID", "EXEC_HOST", "JOB_ID"];

fn names_secret(name: &str) -> bool {
    if name == ENVIRONMENT {
        return true;
    }
    const PARTS: [&str; 8] = ["authorization", "cookie", "password", "passwd", "secret", "token", "api_key", "apikey"];
    let name = name.to_ascii_lowercase().replace('-', "_");
    PARTS.iter().any(|part| name.contains(part))
}

/// Applies `redactor` to every string of `value`, which is known by `name`. A two-element array of strings is a named value:
/// header fields travel so. A string that holds JSON is looked into, since scripts' data travels so.
pub fn redact(redactor: &dyn Redactor, name: &str, value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some(shown) = redactor.redact(name, text) {
                *text = shown;
            } else if text.starts_with(['{', '['])
                && let Ok(mut inner) = serde_json::from_str::<Value>(text)
            {
                redact(redactor, name, &mut inner);
                *text = inner.to_string();
            }
        }
        Value::Array(items) => {
            if let [Value::String(field), second @ Value::String(_)] = items.as_mut_slice() {
                let field = field.clone();
                redact(redactor, &field, second);
                return;
            }
            for item in items {
                redact(redactor, name, item);
            }
        }
        Value::Object(fields) => {
            for (field, item) in fields {
                let is_hidden = name == ENVIRONMENT && SecretNames::hides_variable(field);
                redact(redactor, if is_hidden { name } else { field }, item);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
