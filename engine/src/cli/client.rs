//! The HTTP interface of a running engine, as the management commands use it.

use futures_util::StreamExt;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::out;

/// Says whose things a request with the operator's key is about.
const ACCOUNT_HEADER: &str = "x-lockstep-account";

/// Where the engine is, and the key to it.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Target {
    /// The engine's HTTP address.
    #[arg(long, env = "LOCKSTEP_URL", default_value = "http://127.0.0.1:8080", global = true)]
    url: String,
    /// The key to it; not needed on the engine's own machine where it has none configured.
    #[arg(long, env = "LOCKSTEP_KEY", hide_env_values = true, global = true)]
    key: Option<String>,
    /// Whose keys, jobs and variables are meant, where the key is the operator's; else the default account's.
    #[arg(long, value_name = "NAME", global = true)]
    account: Option<String>,
}

/// Whom a command asks, and how it prints the answer.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Ask {
    /// Print JSON.
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) target: Target,
}

impl Ask {
    /// Prints an answer as JSON, or as `print` has it.
    pub(super) fn show(&self, answer: &Value, print: impl FnOnce(&Value)) {
        if self.json { print_json(answer) } else { print(answer) }
    }

    /// Prints events of one type, as JSON or as `line` has them, until the engine ends.
    pub(super) async fn follow(&self, kind: &str, line: impl Fn(&Value) -> String) -> Result<(), String> {
        let print = |event: Value| {
            if event["type"] == kind {
                out::line(if self.json { event.to_string() } else { line(&event) });
            }
            true
        };
        self.target.follow(&format!("?types={kind}"), print).await
    }
}

impl Target {
    #[cfg(test)]
    pub(super) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    fn base(&self) -> &str {
        self.url.trim_end_matches('/')
    }

    /// `GET path`
    pub(super) async fn get(&self, path: &str) -> Result<Value, String> {
        self.send(reqwest::Method::GET, path, None).await
    }

    /// `DELETE path`
    pub(super) async fn delete(&self, path: &str) -> Result<Value, String> {
        self.send(reqwest::Method::DELETE, path, None).await
    }

    /// `POST path` without a body
    pub(super) async fn post(&self, path: &str) -> Result<Value, String> {
        self.send(reqwest::Method::POST, path, None).await
    }

    /// `POST path` with a body of JSON
    pub(super) async fn post_json(&self, path: &str, body: &Value) -> Result<Value, String> {
        self.send(reqwest::Method::POST, path, Some(body)).await
    }

    /// `PUT path`
    pub(super) async fn put(&self, path: &str, body: &Value) -> Result<Value, String> {
        self.send(reqwest::Method::PUT, path, Some(body)).await
    }

    async fn send(&self, method: reqwest::Method, path: &str, body: Option<&Value>) -> Result<Value, String> {
        if let Some(dots) = dots_in(path) {
            return Err(format!("`{dots}` cannot be named in an address: there it is a step in its path"));
        }
        let client = crate::fetch::client_builder().build().map_err(|error| innermost(&error))?;
        let mut request = client.request(method, format!("{}{path}", self.base()));
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        if let Some(account) = &self.account {
            request = request.header(ACCOUNT_HEADER, account);
        }
        if let Some(body) = body {
            request = request.header(reqwest::header::CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let unreachable = |error: reqwest::Error| format!("no engine answers at {}: {}", self.base(), innermost(&error));
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let text = response.text().await.map_err(unreachable)?;
        let value: Value = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or(Value::String(text)) };
        if status.is_success() {
            return Ok(value);
        }
        Err(self.refusal(&value, status))
    }

    /// What the engine says of a request that it refuses.
    fn refusal(&self, body: &Value, status: reqwest::StatusCode) -> String {
        match body.pointer("/error/message").and_then(Value::as_str) {
            Some(message) => message.to_owned(),
            None => format!("{} answered {status}", self.base()),
        }
    }

    /// Hands every event to `each` until it says stop, the engine ends, or the user interrupts.
    pub(super) async fn follow(&self, query: &str, each: impl FnMut(Value) -> bool) -> Result<(), String> {
        self.events(query).await?.each(each).await
    }

    /// Events from here on.
    pub(super) async fn events(&self, query: &str) -> Result<Events, String> {
        let base = self.base();
        let Some(rest) = base.strip_prefix("http") else { return Err(format!("expected an http address, found {base}")) };
        let mut request = format!("ws{rest}/v1/events{query}").into_client_request().map_err(|error| error.to_string())?;
        if let Some(key) = &self.key {
            let value = format!("Bearer {key}").parse().map_err(|_| "the key cannot be sent in a header".to_owned())?;
            request.headers_mut().insert("authorization", value);
        }
        if let Some(account) = &self.account {
            let value = account.parse().map_err(|_| "the name of the account cannot be sent in a header".to_owned())?;
            request.headers_mut().insert(ACCOUNT_HEADER, value);
        }
        let (socket, _) = tokio_tungstenite::connect_async(request).await.map_err(|error| match error {
            tungstenite::Error::Http(response) => {
                let body: Option<Value> = response.body().as_deref().and_then(|body| serde_json::from_slice(body).ok());
                self.refusal(&body.unwrap_or_default(), response.status())
            }
            error => format!("no engine answers at {base}: {error}"),
        })?;
        Ok(Events { socket, base: base.to_owned() })
    }
}

/// What an engine tells of what happens in it.
pub(super) struct Events {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    base: String,
}

impl Events {
    /// Hands every event to `each` until it says stop, the engine ends, or the user interrupts.
    pub(super) async fn each(mut self, mut each: impl FnMut(Value) -> bool) -> Result<(), String> {
        let base = &self.base;
        while let Some(message) = self.socket.next().await {
            match message {
                Ok(Message::Text(text)) => {
                    let Ok(event) = serde_json::from_str(&text) else { continue };
                    match about_itself(&event, base) {
                        Some(words) => out::error(words),
                        None => {
                            if !each(event) {
                                break;
                            }
                        }
                    }
                }
                Ok(Message::Close(_)) => break,
                Ok(_) => {}
                Err(error) => return Err(format!("the connection to {base} was lost: {error}")),
            }
        }
        Ok(())
    }
}

/// What the socket of the engine at `base` says of itself rather than of calls, in words.
fn about_itself(event: &Value, base: &str) -> Option<String> {
    match event["type"].as_str() {
        Some("hello") => Some(format!("following {base}, Ctrl-C ends it")),
        Some("lagged") => Some(format!("{} events were not read in time and are missing here", event["missed"])),
        _ => None,
    }
}

/// The part of a path that URLs have for a step (WHATWG URL, 3.1), however it is written.
fn dots_in(path: &str) -> Option<&str> {
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    path.split('/').find(|part| matches!(*part, "." | ".."))
}

/// The innermost cause of an error: `Connection refused` rather than three layers of wrapping.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Prints a value, indented for people who asked for JSON.
pub(super) fn print_json(value: &Value) {
    out::line(serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string()));
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[test]
    fn names_that_are_steps_in_a_path_are_found() {
        assert_eq!(dots_in("/v1/kv/.."), Some(".."));
        assert_eq!(dots_in("/v1/queues/./pause?x=1"), Some("."));
        assert_eq!(dots_in("/v1/kv/...?prefix=/../"), None);
    }

    #[tokio::test]
    async fn an_engine_that_refuses_to_be_followed_is_heard() {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let target = Target { url: format!("http://{}", listener.local_addr().unwrap()), key: None, account: None };
        let refuse = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            let body = r#"{"error":{"code":"unauthorized","message":"no key"}}"#;
            let head = format!("HTTP/1.1 401 Unauthorized\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all((head + body).as_bytes()).await.unwrap();
        };
        let (events, ()) = tokio::join!(target.events("?types=log"), refuse);
        assert_eq!(events.map(drop), Err("no key".to_owned()));
    }

    #[test]
    fn what_the_socket_says_of_itself_is_no_event() {
        let said = |event: Value| about_itself(&event, "http://here");
        assert_eq!(said(json!({ "type": "hello", "seq": 7 })).as_deref(), Some("following http://here, Ctrl-C ends it"));
        assert_eq!(
            said(json!({ "type": "lagged", "missed": 3 })).as_deref(),
            Some("3 events were not read in time and are missing here")
        );
        assert_eq!(said(json!({ "type": "log", "entry": {} })), None);
    }
}
