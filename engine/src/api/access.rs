//! Who may use the interface: keys with scopes, or, where none is configured, this machine itself and no web page.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::AppState;
use super::carried;
use super::error::ApiError;
use super::routes::{self, Reach};
use crate::config::{ApiKey, DEFAULT_ACCOUNT, EVERY_ACCOUNT, Scope};
use crate::core::{CallSummary, EngineError, EngineHandle};
use crate::runs::{RunError, RunsHandle};
use crate::script::Program;

/// Names the account that an operator's request is about; absent: the default one.
const ACCOUNT_HEADER: &str = "x-lockstep-account";

/// Who asks, for handlers that take it as an `Extension`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// Whose keys, records and jobs the request is about: the account of the key.
    pub(super) account: String,
    /// Who runs the engine sees what belongs to any account, and what belongs to none.
    pub(super) is_operator: bool,
}

impl Default for Caller {
    fn default() -> Self {
        Self { account: DEFAULT_ACCOUNT.to_owned(), is_operator: true }
    }
}

impl Caller {
    /// Whether what belongs to `account` is there for who asks.
    pub(super) fn sees(&self, account: &str) -> bool {
        self.is_operator || self.account == account
    }

    /// The one account whose things are there for who asks; `None`: everybody's are.
    pub(super) fn only(&self) -> Option<String> {
        (!self.is_operator).then(|| self.account.clone())
    }

    /// A live or past call, if it is there for who asks.
    pub(super) async fn call(&self, engine: &EngineHandle, id: &str) -> Result<CallSummary, ApiError> {
        let call = engine.call(id).await?;
        if self.sees(&call.account) { Ok(call) } else { Err(EngineError::NoSuchCall(id.to_owned()).into()) }
    }

    /// A script by name, file, uuid or number, if it is there for who asks.
    pub(super) fn program(&self, runs: &RunsHandle, id: &str) -> Result<Arc<Program>, ApiError> {
        if runs.is_stopped() {
            return Err(ApiError::from(&RunError::Stopped));
        }
        let found = runs.programs().by_name(id).filter(|program| self.sees(&program.account)).cloned();
        found.ok_or_else(|| ApiError::from(&RunError::NoSuchScript(id.to_owned())))
    }
}

/// What a client may do, for requests that lead to others: commands over a WebSocket.
#[derive(Clone, Debug)]
pub(super) struct Granted(Vec<Scope>);

impl Granted {
    /// Without keys, the machine itself may everything.
    pub(super) fn everything() -> Self {
        Self(vec![Scope::Admin])
    }

    pub(super) fn scopes(scopes: &[Scope]) -> Self {
        Self(scopes.to_vec())
    }

    /// Whether the key opens what needs this scope.
    pub(super) fn check(&self, needed: Scope) -> Result<(), ApiError> {
        if self.0.contains(&needed) || self.0.contains(&Scope::Admin) {
            Ok(())
        } else {
            Err(ApiError::forbidden(format!("the key lacks the scope `{}`", needed.name())))
        }
    }
}

/// Lets a request through, or answers 401 or 403.
pub(super) async fn check(
    State(state): State<AppState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    path: MatchedPath,
    mut request: Request,
    next: Next,
) -> Response {
    let accounts = &state.engine.platform().accounts;
    match verdict((&state.keys, accounts), peer.ip(), request.method(), path.as_str(), request.headers()) {
        Ok((caller, granted)) => {
            request.extensions_mut().insert(caller);
            request.extensions_mut().insert(granted);
            carried::through(&state.changes, path.as_str(), request, next).await
        }
        Err(error) => error.into_response(),
    }
}

/// `accounts` are those of the configuration.
fn verdict(
    (keys, accounts): (&[ApiKey], &[String]),
    peer: IpAddr,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Result<(Caller, Granted), ApiError> {
    if keys.is_empty() {
        from_this_machine(peer, headers)?;
        return Ok((operator(accounts, headers)?, Granted::everything()));
    }
    let nothing = || (Caller::default(), Granted::scopes(&[]));
    // A method that is not served at a path gets its 405 from the router.
    let Some(operation) = routes::operation(method, path) else { return Ok(nothing()) };
    let Some(needed) = operation.scope else { return Ok(nothing()) };
    let offered = bearer(headers).ok_or_else(ApiError::unauthorized)?;
    // Every key is compared, and each in full: the time taken says nothing about them.
    let mut found = None;
    for key in keys {
        if key.key.is(offered) {
            found = Some(key);
        }
    }
    let key = found.ok_or_else(ApiError::unauthorized)?;
    let granted = Granted::scopes(&key.scopes);
    granted.check(needed)?;
    // Where there is one account, whoever has its keys runs the engine.
    if accounts.is_empty() || key.account == EVERY_ACCOUNT {
        return Ok((operator(accounts, headers)?, granted));
    }
    if operation.reach == Reach::Engine {
        return Err(ApiError::forbidden("this concerns every account: it takes a key of the operator (account = \"*\")"));
    }
    Ok((Caller { account: key.account.clone(), is_operator: false }, granted))
}

/// Who runs the engine, and may say which account is meant.
fn operator(accounts: &[String], headers: &HeaderMap) -> Result<Caller, ApiError> {
    let Some(named) = headers.get(ACCOUNT_HEADER) else { return Ok(Caller::default()) };
    let known = |name: &&str| *name == DEFAULT_ACCOUNT || accounts.iter().any(|account| account == name);
    match named.to_str().ok().filter(known) {
        Some(account) => Ok(Caller { account: account.to_owned(), is_operator: true }),
        None => Err(ApiError::bad_request(format!("{ACCOUNT_HEADER}: expected the name of an [[account]]"))),
    }
}

/// Without keys the interface is open to programs on this machine. A browser on it must not be made a way in for web pages:
/// those come with the name of their own site in `Host` (DNS rebinding) or in `Origin`.
fn from_this_machine(peer: IpAddr, headers: &HeaderMap) -> Result<(), ApiError> {
    if !peer.to_canonical().is_loopback() {
        return Err(ApiError::forbidden("without keys in [api], only this machine may use the interface"));
    }
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !is_loopback_authority(host) {
        return Err(ApiError::forbidden(format!("expected a loopback address in Host, found `{host}`; configure keys in [api]")));
    }
    match headers.get(header::ORIGIN).map(|value| value.to_str().unwrap_or_default()) {
        Some(origin) if origin.strip_prefix("http://") != Some(host) => {
            Err(ApiError::forbidden(format!("a page of `{origin}` may not use the interface; configure keys in [api]")))
        }
        _ => Ok(()),
    }
}

fn is_loopback_authority(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn allowed(keys: &[ApiKey], peer: &str, method: &Method, path: &str, pairs: &[(&'static str, &str)]) -> bool {
        verdict((keys, &[]), peer.parse().unwrap(), method, path, &headers(pairs)).is_ok()
    }

    fn key(key: &str, scopes: &[Scope]) -> ApiKey {
        ApiKey { key: Secret::literal(key), scopes: scopes.to_vec(), account: "default".to_owned() }
    }

    #[test]
    fn without_keys_this_machine_may_and_nobody_else() {
        let get = |peer, pairs: &[(&'static str, &str)]| allowed(&[], peer, &Method::GET, "/v1/calls", pairs);
        assert!(get("127.0.0.1", &[("host", "127.0.0.1:8080")]));
        assert!(get("::1", &[("host", "[::1]:8080")]));
        assert!(get("::ffff:127.0.0.1", &[("host", "localhost:8080")]));
        assert!(!get("192.0.2.1", &[("host", "127.0.0.1:8080")]));
    }

    #[test]
    fn web_pages_do_not_get_in_by_name_or_origin() {
        let get = |pairs: &[(&'static str, &str)]| allowed(&[], "127.0.0.1", &Method::POST, "/v1/calls", pairs);
        assert!(!get(&[("host", "evil.example:8080")]));
        assert!(!get(&[("host", "127.0.0.1.evil.example")]));
        assert!(!get(&[("host", "127.0.0.1:8080"), ("origin", "https://evil.example")]));
        assert!(!get(&[("host", "127.0.0.1:8080"), ("origin", "http://127.0.0.1:3000")]));
        assert!(!get(&[("host", "127.0.0.1:8080"), ("origin", "null")]));
        assert!(!get(&[]));
        assert!(get(&[("host", "127.0.0.1:8080"), ("origin", "http://127.0.0.1:8080")]));
    }

    #[test]
    fn a_key_opens_what_its_scopes_name() {
        let keys = [key("reader-key", &[Scope::Read]), key("admin-key", &[Scope::Admin])];
        let with = |method, path, token: &str| allowed(&keys, "192.0.2.1", &method, path, &[("authorization", token)]);
        assert!(with(Method::GET, "/v1/calls", "Bearer reader-key"));
        assert!(with(Method::GET, "/v1/calls", "bearer reader-key"));
        assert!(!with(Method::POST, "/v1/calls", "Bearer reader-key"));
        assert!(!with(Method::GET, "/v1/calls/{id}/journal", "Bearer reader-key"));
        assert!(with(Method::POST, "/v1/calls", "Bearer admin-key"));
        assert!(!with(Method::GET, "/v1/calls", "Bearer reader-ke"));
        assert!(!with(Method::GET, "/v1/calls", "Basic reader-key"));
        assert!(!with(Method::HEAD, "/v1/calls", "Bearer other"));
    }

    #[test]
    fn a_key_is_its_accounts_and_the_operators_are_everybodys() {
        let bound = |name: &str| ApiKey { account: name.to_owned(), ..key(name, &[Scope::Admin]) };
        let keys = [bound("north"), bound("*")];
        let accounts = ["north".to_owned(), "south".to_owned()];
        let who = |token: &str, path: &str, account: Option<&str>| {
            let token = format!("Bearer {token}");
            let pairs = [("authorization", token.as_str()), ("x-lockstep-account", account.unwrap_or_default())];
            let pairs = if account.is_some() { &pairs[..] } else { &pairs[..1] };
            let peer = "192.0.2.1".parse().unwrap();
            verdict((&keys, &accounts), peer, &Method::GET, path, &headers(pairs)).map(|(caller, _)| caller).ok()
        };
        let north = Caller { account: "north".to_owned(), is_operator: false };
        assert_eq!(who("north", "/v1/kv", None), Some(north.clone()));
        assert_eq!(who("north", "/v1/kv", Some("south")), Some(north), "a key of one account names no other");
        assert_eq!(who("north", "/metrics", None), None);
        let south = Caller { account: "south".to_owned(), is_operator: true };
        assert_eq!(who("*", "/v1/kv", Some("south")), Some(south));
        assert_eq!(who("*", "/metrics", None), Some(Caller::default()));
        assert_eq!(who("*", "/v1/kv", Some("east")), None);
    }

    #[test]
    fn health_needs_no_key_and_the_rest_does() {
        let keys = [key("some-key", &[Scope::Read])];
        assert!(allowed(&keys, "192.0.2.1", &Method::GET, "/v1/health", &[]));
        assert!(!allowed(&keys, "192.0.2.1", &Method::GET, "/metrics", &[]));
        assert!(!allowed(&keys, "127.0.0.1", &Method::GET, "/v1/calls", &[("host", "127.0.0.1")]));
    }
}
