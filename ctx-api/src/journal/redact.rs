//! Keeps secrets out of what people read.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::Value;

use super::entry::Journal;
use super::json::{Node, Text};
use super::services;

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
    /// Shorter secrets are hidden by their names only: their few letters and digits stand everywhere.
    pub const MIN_BYTES: usize = 6;
    /// What a run's environment is known by: its values are secrets in the configuration.
    pub const ENVIRONMENT: &str = "env";

    /// Whether an environment variable is a secret: all are, but those the engine sets itself, and short ones whose names are no
    /// credential's.
    pub fn hides_variable(name: &str, value: &str) -> bool {
        !OWN_VARIABLES.contains(&name) && (value.len() >= Self::MIN_BYTES || Self::is_credential(name))
    }

    /// Whether an environment variable's name says that it is a credential, if only a short one: `PIN`, `DOOR_CODE`, `accountKey2`.
    pub fn is_credential(name: &str) -> bool {
        const ENDS: [&str; 8] = ["key", "pin", "code", "pw", "pwd", "auth", "login", "salt"];
        let name = name.to_ascii_lowercase();
        let mut words = name.split(|letter: char| !letter.is_ascii_alphabetic());
        names_credential(&name)
            || ["pass", "credential"].iter().any(|part| name.contains(part))
            || words.any(|word| ENDS.iter().any(|end| word.ends_with(end)))
    }
}

impl Redactor for SecretNames {
    fn redact(&self, name: &str, value: &str) -> Option<String> {
        shown(name, value, &mut |_, _| {})
    }
}

/// As [`SecretNames`] shows a text; `tell` is told the names of secrets, with what stands under them.
fn shown(name: &str, value: &str, tell: &mut dyn FnMut(&str, &str)) -> Option<String> {
    if names_secret(name) {
        tell(name, value);
        return Some(REDACTED.to_owned());
    }
    // Of JSON, [`redact_text`] asks for every string.
    if json_of(value).is_some() {
        return None;
    }
    let nameless = without_user(value);
    without_fields(nameless.as_deref().unwrap_or(value), tell).or(nameless)
}

/// Every text that came into a run from outside under a name that is a credential's: with its start, with outcomes, and with what else its
/// entries brought. What the run itself put under such a name is not among them.
pub fn secrets_of(journal: &Journal) -> BTreeSet<String> {
    #[derive(Default)]
    struct Found(RefCell<BTreeSet<String>>);

    impl Redactor for Found {
        fn redact(&self, name: &str, value: &str) -> Option<String> {
            let mut keep = |name: &str, secret: &str| {
                if !ends_as_credential(name) || secret.is_empty() || secret == REDACTED {
                    return;
                }
                // `Authorization: Bearer …`
                let token = secret.split_once(' ').filter(|_| name.to_ascii_lowercase().ends_with("authorization"));
                self.0.borrow_mut().extend(token.map(|(_, token)| token.to_owned()));
                self.0.borrow_mut().insert(secret.to_owned());
            };
            shown(name, value, &mut keep)
        }
    }

    let found = Found::default();
    let is_hidden = |secret: &String| secret.is_empty() || secret == REDACTED;
    let look_into = |text: serde_json::Result<String>| text.ok().and_then(|text| redact_json(&found, "", &text));
    drop(look_into(serde_json::to_string(&journal.start)));
    for entry in &journal.entries {
        if let Some((call, reply)) = services::replied(entry, &journal.turns) {
            found.0.borrow_mut().extend(services::secrets_in(call, &reply.value).into_iter().filter(|secret| !is_hidden(secret)));
        }
        drop(look_into(serde_json::to_string(entry)));
    }
    found.0.into_inner()
}

/// A URL without its user part, where it has one.
fn without_user(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (_, host) = authority.rsplit_once('@')?;
    let tail = &rest[authority.len()..];
    Some(format!("{scheme}://{REDACTED}@{host}{tail}"))
}

/// What stands before a field of a URL or a form.
const MARKS: [char; 3] = ['?', '&', '#'];

/// A URL or a form (`a=1&b=2`) without the values of fields that are secret by their names, where it has any. They are told.
fn without_fields(text: &str, tell: &mut dyn FnMut(&str, &str)) -> Option<String> {
    if !text.contains('=') || text.contains(char::is_whitespace) && !is_form(text) {
        return None;
    }
    // What is secret may hold a mark itself. A form begins with a field, a URL does not, and a URL's fragment is no part of its query.
    let is_url = !text.split(MARKS).next()?.contains('=');
    let ends: &[char] = if is_url { &['&', '#'] } else { &['&'] };
    let (mut shown, mut rest, mut is_hidden) = (String::with_capacity(text.len()), text, false);
    loop {
        let field = rest.split(MARKS).next()?;
        let secret = field.split_once('=').map(|(name, _)| name).filter(|name| names_credential(name));
        let taken = if secret.is_some() { rest.split(ends).next()? } else { field };
        match secret {
            Some(name) if taken.len() > name.len() + 1 => {
                is_hidden = true;
                tell(name, &taken[name.len() + 1..]);
                shown.push_str(name);
                shown.push('=');
                shown.push_str(REDACTED);
            }
            _ => shown.push_str(taken),
        }
        let mut after = rest[taken.len()..].chars();
        let Some(mark) = after.next() else { break };
        shown.push(mark);
        rest = after.as_str();
    }
    is_hidden.then_some(shown)
}

/// Whether a text with white space is a form all the same: one line with none in its names. Prose and sources are not.
fn is_form(text: &str) -> bool {
    let mut names = text.split('&').filter_map(|field| field.split_once('=')).map(|(name, _)| name.trim_start());
    !text.contains(char::is_control) && names.all(|name| !name.contains(char::is_whitespace))
}

/// The object or array that a text holds.
pub(super) fn json_of(text: &str) -> Option<Value> {
    if !text.trim_start().starts_with(['{', '[']) {
        return None;
    }
    serde_json::from_str(text).ok()
}

/// What the engine itself puts there: which run this is, and nothing secret.
const OWN_VARIABLES: [&str; 7] =
    ["CORRELATION_ID", "SCRIPTFORGE_ID", "SCRIPTFORGE_UUID", "SCRIPTFORGE_NAME", "APP_ID", "EXEC_HOST", "JOB_ID"];

fn names_secret(name: &str) -> bool {
    name == SecretNames::ENVIRONMENT || names_credential(name)
}

const CREDENTIALS: [&str; 8] = ["authorization", "cookie", "password", "passwd", "secret", "token", "api_key", "apikey"];

fn names_credential(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    CREDENTIALS.iter().any(|part| name.contains(part))
}

/// Whether a name is a credential's, and no mere word of one: `max_tokens` and `token_expires_in` count something, `token_url` is an
/// address, and `secretary` a person.
pub(super) fn ends_as_credential(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    CREDENTIALS.iter().any(|part| name.ends_with(part))
}

/// Applies `redactor` to every string of a JSON text, which is known by `name`; `None` when nothing of it changes. The first string of an
/// array names its second element: header fields and arguments (`key, value`) travel so; a `key` or `name` in an object names its `value`.
/// A string that holds JSON is looked into, since scripts' data travels so, and so are the calls of services.
pub fn redact_json(redactor: &dyn Redactor, name: &str, text: &str) -> Option<String> {
    let Some(mut node) = Node::read(text) else { return Some(format!("\"{REDACTED}\"")) };
    redact(redactor, name, &mut node);
    node.write(text)
}

fn redact(redactor: &dyn Redactor, name: &str, node: &mut Node) {
    match node {
        // There is nothing to hide.
        Node::Text(text) if text.as_str().is_empty() => {}
        Node::Text(text) => {
            if let Some(shown) = redact_text(redactor, name, text.as_str()) {
                text.set(shown);
            }
        }
        Node::Array(items) => {
            if let [Node::Text(field), second, rest @ ..] = items.as_mut_slice() {
                let field = field.as_str().to_owned();
                if !hide(redactor, &field, second) && rest.is_empty() && second.as_str().is_some() {
                    redact(redactor, &field, second);
                }
            }
            for item in items {
                redact(redactor, name, item);
            }
        }
        Node::Object(fields) => {
            services::hide_arguments(redactor, fields);
            let called = |by: &str| fields.iter().rev().find(|(field, _)| field == by)?.1.as_str().map(str::to_owned);
            if let Some(called) = called("key").or_else(|| called("name")) {
                for (_, item) in fields.iter_mut().filter(|(field, _)| field == "value") {
                    hide(redactor, &called, item);
                }
            }
            for (field, item) in fields {
                let is_hidden =
                    name == SecretNames::ENVIRONMENT && SecretNames::hides_variable(field, item.as_str().unwrap_or(REDACTED));
                redact(redactor, if is_hidden { name } else { field }, item);
            }
        }
        Node::Plain(plain) => hide_number(redactor, name, plain),
    }
}

/// Applies `redactor` to a text that is known by `name`: to every string in it where it holds JSON, then to what is left. `None`: nothing
/// of it changes.
pub fn redact_text(redactor: &dyn Redactor, name: &str, text: &str) -> Option<String> {
    let shown = redactor.redact(name, text);
    if shown.as_deref() == Some(REDACTED) {
        return shown;
    }
    if json_of(text).is_none() {
        return if is_json_lines(text) { redact_lines(redactor, name, text) } else { shown };
    }
    // Read as it was: in what is shown, names that tell of secrets may be gone.
    let inner = redact_json(redactor, name, text);
    let written = inner.as_deref().unwrap_or(text);
    // A name or a number may hold a secret that is spelled in another way.
    let plain = json_of(written).map(|value| value.to_string());
    plain.and_then(|plain| redactor.redact(name, &plain)).or_else(|| redactor.redact(name, written)).or(inner)
}

/// Whether a text is one JSON value a line, as `application/x-ndjson` is; the last may be cut off.
fn is_json_lines(text: &str) -> bool {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.next().is_some_and(|first| json_of(first).is_some()) && lines.all(|line| line.trim_start().starts_with(['{', '[']))
}

fn redact_lines(redactor: &dyn Redactor, name: &str, text: &str) -> Option<String> {
    let shown = |line| redact_text(redactor, name, line).map_or(Cow::Borrowed(line), Cow::Owned);
    let lines: Vec<_> = text.split('\n').map(shown).collect();
    lines.iter().any(|line| matches!(line, Cow::Owned(_))).then(|| lines.join("\n"))
}

fn hide_number(redactor: &dyn Redactor, name: &str, plain: &mut Text) {
    let is_number = plain.as_str().starts_with(|sign: char| sign == '-' || sign.is_ascii_digit());
    if is_number
        && ends_as_credential(name)
        && let Some(shown) = redactor.redact(name, plain.as_str())
    {
        plain.set(shown);
    }
}

/// Hides every string in a value that is secret by its name, and the number that it is; whether it is secret.
pub(super) fn hide(redactor: &dyn Redactor, name: &str, node: &mut Node) -> bool {
    if redactor.redact(name, "").is_none() {
        return false;
    }
    match node {
        Node::Text(text) => {
            if let Some(shown) = redactor.redact(name, text.as_str()).filter(|_| !text.as_str().is_empty()) {
                text.set(shown);
            }
        }
        Node::Array(items) => {
            for item in items {
                hide(redactor, name, item);
            }
        }
        Node::Object(fields) => {
            for (field, item) in fields {
                match item {
                    Node::Plain(plain) => hide_number(redactor, field, plain),
                    Node::Text(_) | Node::Array(_) | Node::Object(_) => {
                        hide(redactor, name, item);
                    }
                }
            }
        }
        Node::Plain(plain) => hide_number(redactor, name, plain),
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        redact_text(&SecretNames, "body", text).unwrap_or_else(|| text.to_owned())
    }

    #[test]
    fn fields_are_hidden_wherever_they_begin_and_to_their_ends() {
        for (text, expected) in [
            ("password=hush&redirect=https://h/?y=1", "password=[redacted]&redirect=https://h/?y=1"),
            ("user=a&password=wh?hush", "user=a&password=[redacted]"),
            ("user=a&password=?hush#hush&b=1", "user=a&password=[redacted]&b=1"),
            ("redirect=https://h/?token=hush", "redirect=https://h/?token=[redacted]"),
            ("https://h/cb#access_token=hush&state=1", "https://h/cb#access_token=[redacted]&state=1"),
            ("https://h/x?token=hu?sh=1#end", "https://h/x?token=[redacted]#end"),
            ("password=my hush & co&x=1", "password=[redacted]& co&x=1"),
            ("[::1]:80/?token=hush", "[::1]:80/?token=[redacted]"),
        ] {
            assert_eq!(shown(text), expected);
            assert_eq!(shown(expected), expected, "what is hidden stays as it is");
        }
    }

    #[test]
    fn prose_sources_and_empty_fields_stay() {
        for text in
            ["is that a token? x = 5 & y", "const token = a ? b : c;", "a=1\ntoken=2", "token=&a=1", "https://h/a?b#c", "a b", ""]
        {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn json_stays_octet_by_octet_but_for_what_is_hidden() {
        for text in [
            r#"{"sales":200,"billing":100}"#,
            r#" { "b" : 12345678901234567890123, "a": [1.10, 1e3], "b": "\u0041\/" } "#,
            r#"{"token":"","password":null}"#,
        ] {
            assert_eq!(redact_text(&SecretNames, "body", text), None, "{text}");
            assert_eq!(redact_json(&SecretNames, "", &serde_json::json!({ "body": text }).to_string()), None, "{text}");
        }
        for (text, expected) in [
            (r#"{ "z": 1.10, "token" : "hush", "a": 2 }"#, r#"{ "z": 1.10, "token" : "[redacted]", "a": 2 }"#),
            (r#"{"a":{"token":"hush"},"a":1}"#, r#"{"a":{"token":"[redacted]"},"a":1}"#),
            (r#"{"token":"hush-1","token":"hush-2"}"#, r#"{"token":"[redacted]","token":"[redacted]"}"#),
            (r#"{"to\u006ben":"hush"}"#, r#"{"to\u006ben":"[redacted]"}"#),
            (
                r#"{"name":"password","value":"hush","value":["hush"]}"#,
                r#"{"name":"password","value":"[redacted]","value":["[redacted]"]}"#,
            ),
            (
                r#"{"password":1234,"access-token": -5.0,"max_tokens":100,"tokenExpiresIn":60,"isSecret":true}"#,
                r#"{"password":"[redacted]","access-token": "[redacted]","max_tokens":100,"tokenExpiresIn":60,"isSecret":true}"#,
            ),
            (r#"["user:password",1234]"#, r#"["user:password","[redacted]"]"#),
        ] {
            assert_eq!(shown(text), expected);
        }
    }

    #[test]
    fn short_variables_are_hidden_where_their_names_say_so() {
        let env = |text: &str| redact_json(&SecretNames, "env", text).unwrap_or_else(|| text.to_owned());
        for stays in [r#"{"LANG2":"en","DEBUG":"","TIMEOUT":"30","APP_ID":"0123456789"}"#, r#"{"SHIPPING":"no","API_TOKEN":""}"#]
        {
            assert_eq!(env(stays), stays);
        }
        for name in ["PIN", "PIN2", "DOOR_CODE", "accountKey", "DB_PASS", "X-Auth", "SIP_SECRET", "Passphrase"] {
            assert_eq!(env(&format!("{{\"{name}\":\"1234\"}}")), format!("{{\"{name}\":\"[redacted]\"}}"));
        }
        assert_eq!(env(r#"{"PLACE":"postgres"}"#), r#"{"PLACE":"[redacted]"}"#);
    }

    #[test]
    fn json_is_looked_into_line_by_line() {
        let text = "{\"a\":1}\r\n\n{\"token\":\"hush\"}\n{\"u\":\"https://ann:hush@h/\"}\n";
        let expected = "{\"a\":1}\r\n\n{\"token\":\"[redacted]\"}\n{\"u\":\"https://[redacted]@h/\"}\n";
        assert_eq!((shown(text).as_str(), shown(expected).as_str()), (expected, expected));
        let cut = "{\"token\":\"hush\"}\n{\"a\":\"b";
        assert_eq!(shown(cut), "{\"token\":\"[redacted]\"}\n{\"a\":\"b");
    }

    #[test]
    fn json_is_looked_into_and_stays_json() {
        let text = r#"{"email":"a@b.c","token":"hush","url":"https://h"}"#;
        assert_eq!(shown(text), r#"{"email":"a@b.c","token":"[redacted]","url":"https://h"}"#);
        let nested = serde_json::json!({ "a": { "data": text, "url": "https://ann:hush@h/" } }).to_string();
        assert!(!shown(&nested).contains("hush"), "{}", shown(&nested));
        assert!(shown(&nested).contains("https://[redacted]@h/"), "{}", shown(&nested));
        assert_eq!(shown("{https://ann:hush@h"), "{https://[redacted]@h", "no JSON");
    }
}
