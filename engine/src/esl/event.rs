//! Events: plain, JSON and XML.

use std::fmt::Write as _;

use serde_json::{Map, Value};
use thiserror::Error;

use super::headers::Headers;
use super::percent;

/// Why a body is no event.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EventError {
    #[error("event: {0}")]
    Json(String),
    #[error("event: expected a header Event-Name")]
    NoName,
}

/// An event: headers, of which `Event-Name` is the first, and now and then a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    pub headers: Headers,
    pub body: Option<String>,
}

impl Event {
    /// An event of that name: `CHANNEL_ANSWER`.
    pub fn new(name: &str) -> Self {
        Self { headers: [("Event-Name", name)].into_iter().collect(), body: None }
    }

    /// Adds a header.
    pub fn push(&mut self, name: &str, value: &str) {
        self.headers.push(name, value);
    }

    /// `CHANNEL_ANSWER`, ….
    pub fn name(&self) -> &str {
        self.get("Event-Name").unwrap_or_default()
    }

    /// The value of a header.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// The value of a channel variable: `variable_…`.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|(own, value)| {
            let own = strip_prefix_ignoring_case(own, "variable_")?;
            own.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// Channel variables and their values.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().filter_map(|(name, value)| Some((strip_prefix_ignoring_case(name, "variable_")?, value)))
    }

    /// Reads the body of a `text/event-plain` message, or the answer to `uuid_dump`.
    ///
    /// # Errors
    /// It has no name.
    pub fn from_plain(text: &str) -> Result<Self, EventError> {
        let (headers, rest) = Headers::parse(text, true);
        let length: Option<usize> = headers.get("Content-Length").and_then(|length| length.trim().parse().ok());
        // What is shorter than it says is taken as it is: the frame around it was whole.
        let body = length.map(|length| rest.get(..length).unwrap_or(rest).to_owned());
        Self { headers, body }.named()
    }

    /// Reads the body of a `text/event-json` message.
    ///
    /// # Errors
    /// It is no JSON object, or has no name.
    pub fn from_json(bytes: &[u8]) -> Result<Self, EventError> {
        let fields: Map<String, Value> = serde_json::from_slice(bytes).map_err(|error| EventError::Json(error.to_string()))?;
        let mut event = Self::default();
        for (name, value) in &fields {
            match value {
                Value::String(text) if name == "_body" => event.body = Some(text.clone()),
                Value::String(text) => event.push(name, text),
                Value::Number(_) | Value::Bool(_) => event.push(name, &value.to_string()),
                Value::Array(items) => event.push(name, &array(items)),
                Value::Null | Value::Object(_) => {}
            }
        }
        event.named()
    }

    fn named(self) -> Result<Self, EventError> {
        if self.name().is_empty() { Err(EventError::NoName) } else { Ok(self) }
    }

    /// Without the length of a body: it is counted when it is written.
    fn own_headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("Content-Length"))
    }

    /// As `text/event-plain` carries it.
    pub fn to_plain(&self) -> String {
        let mut text = String::with_capacity(self.headers.len() * 40);
        for (name, value) in self.own_headers() {
            text.extend(name.chars().filter(|c| !c.is_control()));
            text.push_str(": ");
            percent::encode(value, &mut text);
            text.push('\n');
        }
        if let Some(body) = &self.body {
            // Writing to a String cannot fail.
            let _ = write!(text, "Content-Length: {}\n\n{body}", body.len());
        } else {
            text.push('\n');
        }
        text
    }

    /// As `text/event-json` carries it.
    pub fn to_json(&self) -> String {
        let mut text = String::with_capacity(self.headers.len() * 48);
        let length = self.body.as_ref().map(|body| body.len().to_string());
        let body =
            self.body.iter().zip(&length).flat_map(|(body, length)| [("Content-Length", length.as_str()), ("_body", body)]);
        for (at, (name, value)) in self.own_headers().chain(body).enumerate() {
            let (name, value) = (Value::from(name), Value::from(value));
            // Writing to a String cannot fail.
            let _ = write!(text, "{}{name}:{value}", if at == 0 { '{' } else { ',' });
        }
        text.push('}');
        text
    }

    /// As `text/event-xml` carries it: values are percent-encoded within it.
    pub fn to_xml(&self) -> String {
        let mut text = String::from("<event>\n  <headers>\n");
        for (name, value) in self.headers.iter() {
            let name: String =
                name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
            let mut encoded = String::with_capacity(value.len());
            percent::encode(value, &mut encoded);
            // Writing to a String cannot fail.
            let _ = writeln!(text, "    <{name}>{encoded}</{name}>");
        }
        text.push_str("  </headers>\n");
        if let Some(body) = &self.body {
            let escaped = body.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            let _ = writeln!(text, "  <Content-Length>{}</Content-Length>\n  <body>{escaped}</body>", body.len());
        }
        text.push_str("</event>\n");
        text
    }
}

/// A header that stands several times, as JSON has it.
fn array(items: &[Value]) -> String {
    let texts: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
    format!("ARRAY::{}", texts.join("|:"))
}

fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}
