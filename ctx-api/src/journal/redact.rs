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

/// Redacts by name: credentials in header fields, environment, arguments, queries and forms, and the user part of URLs.
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
        let nameless = without_user(value);
        without_fields(nameless.as_deref().unwrap_or(value)).or(nameless)
    }
}

/// A URL without its user part, where it has one.
fn without_user(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (_, host) = authority.rsplit_once('@')?;
    let tail = &rest[authority.len()..];
    Some(format!("{scheme}://{REDACTED}@{host}{tail}"))
}

/// A URL or a form (`a=1&b=2`) without the values of fields that are secret by their names, where it has any.
fn without_fields(text: &str) -> Option<String> {
    if !text.contains('=') || text.starts_with(['{', '[']) || text.contains(char::is_whitespace) {
        return None;
    }
    let (before, fields) = text.split_at(text.find('?').map_or(0, |mark| mark + 1));
    let (fields, after) = fields.split_at(fields.find('#').unwrap_or(fields.len()));
    let mut is_hidden = false;
    let shown = |field: &str| match field.split_once('=') {
        Some((name, value)) if !value.is_empty() && names_credential(name) => {
            is_hidden = true;
            format!("{name}={REDACTED}")
        }
        _ => field.to_owned(),
    };
    let fields: Vec<String> = fields.split('&').map(shown).collect();
    is_hidden.then(|| format!("{before}{}{after}", fields.join("&")))
}

/// What a run's environment is known by: its values are secrets in the configuration, so none of them is shown.
const ENVIRONMENT: &str = "env";
/// What the engine itself puts there: which run this is, and nothing secret.
const OWN_VARIABLES: [&str; 7] =
    ["CORRELATION_ID", "SCRIPTFORGE_ID", "SCRIPTFORGE_UUID", "SCRIPTFORGE_NAME", "APP_ID", "EXEC_HOST", "JOB_ID"];

fn names_secret(name: &str) -> bool {
    name == ENVIRONMENT || names_credential(name)
}

fn names_credential(name: &str) -> bool {
    const PARTS: [&str; 8] = ["authorization", "cookie", "password", "passwd", "secret", "token", "api_key", "apikey"];
    let name = name.to_ascii_lowercase().replace('-', "_");
    PARTS.iter().any(|part| name.contains(part))
}

/// Applies `redactor` to every string of `value`, which is known by `name`. The first string of an array names its second element:
/// header fields and arguments (`key, value`) travel so; a `key` or `name` in an object names its `value`. A string that holds JSON
/// is looked into, since scripts' data travels so.
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
            if let [Value::String(field), second, rest @ ..] = items.as_mut_slice() {
                let field = field.clone();
                if !hide(redactor, &field, second) && rest.is_empty() && second.is_string() {
                    redact(redactor, &field, second);
                }
            }
            for item in items {
                redact(redactor, name, item);
            }
        }
        Value::Object(fields) => {
            let called = ["key", "name"].iter().find_map(|by| fields.get(*by)?.as_str()).map(str::to_owned);
            if let (Some(called), Some(item)) = (called, fields.get_mut("value")) {
                hide(redactor, &called, item);
            }
            for (field, item) in fields {
                let is_hidden = name == ENVIRONMENT && SecretNames::hides_variable(field);
                redact(redactor, if is_hidden { name } else { field }, item);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Hides every string in a value that is secret by its name; whether it is.
fn hide(redactor: &dyn Redactor, name: &str, value: &mut Value) -> bool {
    if redactor.redact(name, "").is_none() {
        return false;
    }
    match value {
        Value::String(text) => {
            if let Some(shown) = redactor.redact(name, text) {
                *text = shown;
            }
        }
        Value::Array(items) => {
            for item in items {
                hide(redactor, name, item);
            }
        }
        Value::Object(fields) => {
            for item in fields.values_mut() {
                hide(redactor, name, item);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    true
}
