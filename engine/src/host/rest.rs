//! The management interface, from a script: `cxRest`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lockstep_ctx_api::host::HostReply;
use lockstep_ctx_api::{ErrorCode, OpError, well_formed};
use reqwest::{Client, Method, Url};
use serde_json::Value;

use super::late::Late;
use super::{Arguments, HostFuture, HostService, RunContext, no_such_function};
use crate::config::{DEFAULT_ACCOUNT, EVERY_ACCOUNT, RestConfig, Secret};

/// Octets of an answer.
const MAX_ANSWER: usize = 8 << 20;
/// Octets of an answer that are read where calls are; more takes longer than others should wait.
const MAX_READ_HERE: usize = 64 << 10;
const TIMEOUT: Duration = Duration::from_secs(30);

/// One interface, and who may be asked as.
pub(super) struct Rest(Arc<Shared>);

struct Shared {
    config: RestConfig,
    late: Late,
    client: Client,
}

/// What a script asked for.
struct Asked {
    label: String,
    /// Whose script asks.
    account: String,
    user: Option<String>,
    method: Method,
    path: String,
    query: Vec<(String, String)>,
    body: Option<String>,
}

impl Rest {
    /// # Errors
    /// When the TLS library cannot be set up.
    pub(super) fn new(config: &RestConfig, late: &Late) -> Result<Self, String> {
        let client = crate::fetch::client_builder()
            // A redirect would carry the token to another host.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(TIMEOUT)
            .user_agent(concat!("Lockstep/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self(Arc::new(Shared { config: config.clone(), late: late.clone(), client })))
    }
}

impl HostService for Rest {
    fn call(&self, context: &RunContext, function: &str, args: Arguments, _body: Option<Bytes>) -> HostFuture {
        if function != "request" {
            return no_such_function(&args);
        }
        let shared = Arc::clone(&self.0);
        let account = context.account.clone();
        Box::pin(async move { shared.exchange(asked(args, account)?).await })
    }
}

fn asked(mut args: Arguments, account: String) -> Result<Asked, OpError> {
    let (user, method, path) = (args.opt_text("user")?, args.text("method")?, args.text("path")?);
    let query = match args.value() {
        Value::Null => Vec::new(),
        Value::Object(pairs) => pairs.into_iter().map(|(key, value)| (key, text_of(value))).collect(),
        _ => return Err(args.error(ErrorCode::TypeError, "`query` must be an object")),
    };
    let body = args.opt_text("body")?.map(well_formed);
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| args.error(ErrorCode::TypeError, "no such method"))?;
    Ok(Asked { label: format!("cxRest.{}", method.as_str().to_ascii_lowercase()), account, user, method, path, query, body })
}

fn text_of(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// The JSON of an answer; anything else is text.
fn answered_with(body: &[u8]) -> Value {
    if body.is_empty() {
        return Value::Null;
    }
    let text = || String::from_utf8_lossy(body).into_owned();
    // What has been stored over HTTP comes back as it was written.
    let read = serde_json::from_slice(body).or_else(|_| serde_json::from_str(&well_formed(text())));
    read.unwrap_or_else(|_| Value::from(text()))
}

impl Shared {
    async fn exchange(&self, asked: Asked) -> Result<HostReply, OpError> {
        let label = &asked.label;
        let fail = |code, why: String| OpError::new(code, format!("{label}: {why}"));
        let token = self.token(&asked).map_err(|why| fail(ErrorCode::NotConfigured, why))?;
        let mut url = self.url(&asked.path).map_err(|(code, why)| fail(code, why))?;
        if !asked.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&asked.query);
        }
        let mut request = self.client.request(asked.method, url);
        if let Some(token) = token {
            request = request.bearer_auth(token.expose());
        }
        if let Some(body) = asked.body {
            request = request.header(reqwest::header::CONTENT_TYPE, "application/json").body(body);
        }
        let mut response = request.send().await.map_err(|error| {
            let code = if error.is_timeout() { ErrorCode::TimeoutError } else { ErrorCode::NetworkError };
            fail(code, error.without_url().to_string())
        })?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) =
            response.chunk().await.map_err(|error| fail(ErrorCode::NetworkError, error.without_url().to_string()))?
        {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(fail(ErrorCode::LimitError, format!("the answer is larger than {MAX_ANSWER} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        let length = body.len();
        if status.is_success() {
            let read = move || HostReply::json(&answered_with(&body));
            if length <= MAX_READ_HERE {
                return Ok(read());
            }
            return tokio::task::spawn_blocking(read).await.map_err(|error| fail(ErrorCode::NetworkError, error.to_string()));
        }
        let value = answered_with(body.get(..MAX_READ_HERE).unwrap_or(&body));
        let said = value.pointer("/error/message").and_then(Value::as_str).unwrap_or(status.canonical_reason().unwrap_or(""));
        let code = if status.as_u16() == 404 { ErrorCode::NotFound } else { ErrorCode::NetworkError };
        Err(fail(code, format!("{} {said}", status.as_u16())))
    }

    /// The token to ask with. Without one our own interface takes us for this machine, which may do everything where there are no keys: that is
    /// for the operator's scripts alone.
    fn token(&self, asked: &Asked) -> Result<Option<&Secret>, String> {
        let Some(name) = &asked.user else {
            let is_operators = asked.account == DEFAULT_ACCOUNT;
            return if is_operators { Ok(None) } else { Err("name a user: cxRest.auth('…')".to_owned()) };
        };
        let user = self.config.users.get(name);
        let user = user.filter(|user| user.account == asked.account || user.account == EVERY_ACCOUNT);
        user.map(|user| Some(&user.token)).ok_or_else(|| {
            let account = &asked.account;
            format!("no user `{name}` of the account {account}: set [rest] users.{name} in lockstep.toml")
        })
    }

    /// `calls`, `/calls` and `/v1/calls` below the base; nothing above it and no other host.
    fn url(&self, path: &str) -> Result<Url, (ErrorCode, String)> {
        let base = match (&self.config.base_url, self.late.get()) {
            (Some(base), _) => base.trim_end_matches('/').to_owned(),
            (None, Some(served)) => format!("http://{}", served.api),
            (None, None) => {
                return Err((ErrorCode::NotConfigured, "no engine runs here: set [rest] base_url in lockstep.toml".to_owned()));
            }
        };
        let path = path.trim_start_matches('/');
        let segments = path.split('/').collect::<Vec<_>>();
        // The parser of URLs drops tabs and line breaks wherever they stand, and a blank at the end.
        let is_wrong = |char: char| matches!(char, '?' | '#' | '\\' | '%') || char.is_control();
        let leads_elsewhere = segments.iter().any(|segment| matches!(*segment, "" | "." | ".."));
        if leads_elsewhere || path.contains(is_wrong) || path.ends_with(' ') {
            let message = format!("`{path}`: expected a path such as `calls` or `users/1001`, and what varies in `query`");
            return Err((ErrorCode::TypeError, message));
        }
        let version = if segments.first() == Some(&"v1") { "" } else { "v1/" };
        let wrong = |error| (ErrorCode::TypeError, format!("`{path}`: {error}"));
        let url = Url::parse(&format!("{base}/{version}")).map_err(|error| wrong(error.to_string()))?;
        let joined = url.join(&format!("./{path}")).map_err(|error| wrong(error.to_string()))?;
        Ok(joined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(path: &str) -> Result<String, String> {
        let config = RestConfig { base_url: Some("http://10.0.0.1:8080/".to_owned()), ..RestConfig::default() };
        let Rest(shared) = Rest::new(&config, &Late::default()).unwrap();
        shared.url(path).map(|url| url.to_string()).map_err(|(_, why)| why)
    }

    #[test]
    fn a_user_is_there_for_the_scripts_of_its_account_and_nobody_only_for_the_operators() {
        let config = "users = { ops = 'k1', north = { token = 'k2', account = 'north' }, all = { token = 'k3', account = '*' } }";
        let Rest(shared) = Rest::new(&toml::from_str(config).unwrap(), &Late::default()).unwrap();
        let token = |account: &str, user: Option<&str>| {
            let asked = Asked {
                label: String::new(),
                account: account.to_owned(),
                user: user.map(str::to_owned),
                method: Method::GET,
                path: "calls".to_owned(),
                query: Vec::new(),
                body: None,
            };
            shared.token(&asked).map(|token| token.map(|token| token.expose().to_owned())).map_err(|_| ())
        };
        let found = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!((token(DEFAULT_ACCOUNT, None), token("north", None)), (Ok(None), Err(())));
        assert_eq!((token(DEFAULT_ACCOUNT, Some("ops")), token("north", Some("ops"))), (found("k1"), Err(())));
        assert_eq!((token("north", Some("north")), token(DEFAULT_ACCOUNT, Some("north"))), (found("k2"), Err(())));
        assert_eq!((token("north", Some("all")), token("south", Some("all"))), (found("k3"), found("k3")));
    }

    #[test]
    fn an_answer_with_half_a_character_is_json_all_the_same() {
        let answer = |body: &str| answered_with(body.as_bytes());
        assert_eq!(answer(r#"{"jobs":[{"data":"\ud83d"},1]}"#), serde_json::json!({ "jobs": [{ "data": "\u{fffd}" }, 1] }));
        assert_eq!((answer(""), answer(r"no \ud83d")), (Value::Null, Value::from(r"no \ud83d")));
    }

    #[test]
    fn what_the_parser_of_urls_drops_hides_no_dots() {
        for path in [".\t./metrics", ".\n./metrics", ".\r./x", "..\t", "v1/.. ", ".. ", "..\u{1f}"] {
            assert!(url(path).is_err(), "{path:?}: {:?}", url(path));
        }
    }

    #[test]
    fn a_path_stays_below_the_interface() {
        for (path, expected) in [
            ("calls", "http://10.0.0.1:8080/v1/calls"),
            ("/v1/users/1001", "http://10.0.0.1:8080/v1/users/1001"),
            ("/kv/a b", "http://10.0.0.1:8080/v1/kv/a%20b"),
            ("kv/http:x", "http://10.0.0.1:8080/v1/kv/http:x"),
            ("http:x", "http://10.0.0.1:8080/v1/http:x"),
        ] {
            assert_eq!(url(path).as_deref(), Ok(expected), "{path}");
        }
        for path in ["", "..", "a/../../b", "//evil.example/x", "http://evil.example/", "a?b=c", "a%2e%2e", "a\\b"] {
            let outcome = url(path);
            assert!(
                outcome.is_err() || outcome.as_deref() == Ok("http://10.0.0.1:8080/v1/evil.example/x"),
                "{path}: {outcome:?}"
            );
        }
    }
}
