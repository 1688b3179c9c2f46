//! HTTP requests made from templates of the configuration: speech providers, number look-ups, text messages.
//!
//! The address is the operator's choice, so no egress policy applies; what a script says is only ever a value, escaped for the
//! place it goes to.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Response};
use tokio::sync::Semaphore;

use crate::config::Secret;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Requests from one template at once; further ones wait.
const MAX_CONCURRENT: usize = 32;

/// Why a request came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    #[error("it answered with status {0}")]
    Status(u16),
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    #[error("{0}")]
    Failed(String),
}

/// What the configuration says of a request.
#[derive(Clone, Debug)]
pub(crate) struct TemplateSettings<'a> {
    pub url: &'a str,
    pub method: &'a str,
    pub headers: &'a BTreeMap<String, Secret>,
    pub body: Option<&'a str>,
    pub timeout: Duration,
}

/// A value for `{name}`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub name: &'a str,
    pub value: &'a str,
    /// Not escaped where the template is XML: the value is XML itself.
    pub is_xml: bool,
}

impl<'a> Place<'a> {
    /// Plain text.
    pub(crate) fn text(name: &'a str, value: &'a str) -> Self {
        Self { name, value, is_xml: false }
    }
}

/// An answer of 2xx, read whole.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub content_type: Option<String>,
    pub body: Vec<u8>,
}

/// A request whose `{places}` are filled in each time.
#[derive(Debug)]
pub(crate) struct HttpTemplate {
    url: String,
    method: Method,
    headers: Vec<(HeaderName, Secret)>,
    body: Option<String>,
    body_escape: Escape,
    timeout: Duration,
    client: Client,
    permits: Semaphore,
}

impl HttpTemplate {
    /// Takes over what the configuration says.
    ///
    /// # Errors
    /// The settings make no request, or the TLS library cannot be set up.
    pub(crate) fn new(settings: &TemplateSettings<'_>) -> Result<Self, String> {
        let client = crate::fetch::client_builder()
            // A redirect would carry the operator's key to another host.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("Lockstep/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| error.to_string())?;
        let method =
            Method::from_bytes(settings.method.as_bytes()).map_err(|_| format!("method {:?} is none", settings.method))?;
        let mut headers = Vec::new();
        for (name, value) in settings.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name:?} is not the name of a header"))?;
            headers.push((name, value.clone()));
        }
        let content_type = headers.iter().find(|(name, _)| *name == reqwest::header::CONTENT_TYPE);
        Ok(Self {
            url: settings.url.to_owned(),
            method,
            body: settings.body.map(str::to_owned),
            body_escape: Escape::for_content_type(content_type.map_or("", |(_, value)| value.expose())),
            headers,
            timeout: settings.timeout,
            client,
            permits: Semaphore::new(MAX_CONCURRENT),
        })
    }

    /// Makes the request; an answer of at most `max` octets.
    pub(crate) async fn send(&self, places: &[Place<'_>], max: usize) -> Result<Answer, TemplateError> {
        match tokio::time::timeout(self.timeout, self.exchange(places, max)).await {
            Ok(answer) => answer,
            Err(_) => Err(TemplateError::TimedOut(self.timeout)),
        }
    }

    async fn exchange(&self, places: &[Place<'_>], max: usize) -> Result<Answer, TemplateError> {
        // The semaphore is never closed.
        let _permit = self.permits.acquire().await.map_err(|error| TemplateError::Failed(error.to_string()))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            // A line break in a value must not become another header.
            let mut value = HeaderValue::from_str(&fill(value.expose(), places, Escape::None))
                .map_err(|_| TemplateError::Failed(format!("the value of header {name} has characters no header may have")))?;
            value.set_sensitive(true);
            headers.insert(name.clone(), value);
        }
        let url = fill(&self.url, places, Escape::Url);
        let mut request = self.client.request(self.method.clone(), url).headers(headers);
        if let Some(body) = &self.body {
            request = request.body(fill(body, places, self.body_escape));
        }
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        if !status.is_success() {
            return Err(TemplateError::Status(status.as_u16()));
        }
        let content_type = response.headers().get(reqwest::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.map(str::to_owned);
        Ok(Answer { content_type, body: read(response, max).await? })
    }
}

async fn read(mut response: Response, max: usize) -> Result<Vec<u8>, TemplateError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > max {
            return Err(TemplateError::TooLarge(max));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The URL may hold a key; the innermost cause says what happened.
fn failed(error: reqwest::Error) -> TemplateError {
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    TemplateError::Failed(cause.to_string())
}

/// How a value is written where the template has its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    None,
    /// Percent-encoding (RFC 3986); good for URLs and urlencoded bodies.
    Url,
    /// The inside of a JSON string.
    Json,
    /// Text or attribute of XML.
    Xml,
}

impl Escape {
    fn for_content_type(content_type: &str) -> Self {
        let content_type = content_type.to_ascii_lowercase();
        if content_type.contains("json") {
            Self::Json
        } else if content_type.contains("xml") {
            Self::Xml
        } else if content_type.contains("x-www-form-urlencoded") {
            Self::Url
        } else {
            Self::None
        }
    }

    fn push(self, value: &str, out: &mut String) {
        match self {
            Self::None => out.push_str(value),
            Self::Url => {
                for octet in value.bytes() {
                    if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
                        out.push(char::from(octet));
                    } else {
                        out.push_str(&format!("%{octet:02X}"));
                    }
                }
            }
            Self::Json => {
                let quoted = serde_json::Value::from(value).to_string();
                out.push_str(quoted.get(1..quoted.len() - 1).unwrap_or_default());
            }
            Self::Xml => {
                for character in value.chars() {
                    match character {
                        '<' => out.push_str("&lt;"),
                        '>' => out.push_str("&gt;"),
                        '&' => out.push_str("&amp;"),
                        '"' => out.push_str("&quot;"),
                        '\'' => out.push_str("&apos;"),
                        other => out.push(other),
                    }
                }
            }
        }
    }
}

/// Puts the values into a template, in one pass: a value that says `{voice}` is a text.
fn fill(template: &str, places: &[Place<'_>], escape: Escape) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let inside = from.get(1..).unwrap_or_default();
        let place = places.iter().find_map(|place| {
            inside.strip_prefix(place.name).and_then(|after| after.strip_prefix('}')).map(|after| (place, after))
        });
        match place {
            Some((place, after)) => {
                if escape == Escape::Xml && place.is_xml {
                    out.push_str(place.value);
                } else {
                    escape.push(place.value, &mut out);
                }
                rest = after;
            }
            None => {
                out.push('{');
                rest = inside;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped_for_the_place_they_go_to() {
        let text = Place::text("text", "a&b <\"c\"> 100%ä");
        let filled = |escape| fill("[{text}|{other}|{", &[text], escape);
        assert_eq!(filled(Escape::Url), "[a%26b%20%3C%22c%22%3E%20100%25%C3%A4|{other}|{");
        assert_eq!(filled(Escape::Json), "[a&b <\\\"c\\\"> 100%ä|{other}|{");
        assert_eq!(filled(Escape::Xml), "[a&amp;b &lt;&quot;c&quot;&gt; 100%ä|{other}|{");
        let ssml = Place { is_xml: true, ..Place::text("text", "<speak>x</speak>") };
        assert_eq!(fill("{text}", &[ssml], Escape::Xml), "<speak>x</speak>");
    }

    #[test]
    fn a_value_is_never_a_template() {
        let places = [Place::text("a", "{b}"), Place::text("b", "secret")];
        assert_eq!(fill("{a}{{a}}", &places, Escape::None), "{b}{{b}}");
    }
}
