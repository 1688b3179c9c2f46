//! HTTP on behalf of scripts: the `fetch` operation, and audio named by URL.
//!
//! The engine is the only one who talks to the network. A request goes to public addresses, or to those
//! `[security] fetch_allow` opens; each redirect is checked anew; size, time and number of requests are bounded.

mod audio;
mod policy;
mod resolver;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::ext::ReasonPhrase;
use lockstep_ctx_api::op::{FetchArgs, FetchRedirect, Headers};
use lockstep_ctx_api::outcome::FetchResponse;
use lockstep_ctx_api::{ErrorCode, OpError, OpResult, Outcome};
use reqwest::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, ClientBuilder, Method, Response, StatusCode, Url};
use tokio::sync::Semaphore;

pub use policy::EgressPolicy;

use resolver::{CheckedResolver, Forbidden};

/// Octets of a response's body; more is an error. Well below what a frame to a worker holds.
const MAX_BODY: usize = 8 << 20;
/// Redirects followed for one request (the Fetch standard's bound).
const MAX_REDIRECTS: usize = 20;
/// Requests under way at once, over all scripts; further ones wait.
const MAX_CONCURRENT: usize = 512;
/// Those of one account: what its servers do not answer keeps nobody else waiting.
const MAX_OF_ACCOUNT: usize = 256;
/// Prompts on their way, beside all of those: callers wait for them, and none takes long.
const MAX_PROMPTS: usize = 128;
/// How long a request without a time-out of its own may take.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest time-out a script may ask for.
const MAX_TIMEOUT: Duration = Duration::from_secs(600);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A client builder with a TLS provider behind it; [`Client::builder`] alone has none.
pub fn client_builder() -> ClientBuilder {
    // Somebody else in the process may have chosen a provider already; either will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
}

/// Makes HTTP requests within the egress policy. Clones share connections and bounds.
#[derive(Clone, Debug)]
pub struct Fetcher {
    client: Client,
    policy: Arc<EgressPolicy>,
    permits: Arc<Semaphore>,
    /// Of each account.
    shares: Arc<Mutex<BTreeMap<String, Arc<Semaphore>>>>,
    prompt_permits: Arc<Semaphore>,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{url:?} is not a URL: {why}")]
    BadUrl { url: String, why: String },
    #[error("expected http or https, got {0:?}")]
    BadScheme(String),
    #[error("{0}")]
    BadRequest(String),
    #[error("{0}")]
    Forbidden(String),
    #[error("more than {MAX_REDIRECTS} redirects")]
    TooManyRedirects,
    #[error("redirected to {0}, which `redirect: 'error'` forbids")]
    RedirectForbidden(String),
    #[error("a redirect without a usable Location")]
    BadRedirect,
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    #[error("{0}")]
    Network(String),
}

impl Failure {
    fn into_op_error(self) -> OpError {
        let code = match self {
            Self::BadUrl { .. } | Self::BadScheme(_) | Self::BadRequest(_) => ErrorCode::TypeError,
            Self::TimedOut(_) => ErrorCode::TimeoutError,
            Self::TooLarge(_) => ErrorCode::LimitError,
            Self::Forbidden(_) | Self::TooManyRedirects | Self::RedirectForbidden(_) | Self::BadRedirect | Self::Network(_) => {
                ErrorCode::NetworkError
            }
        };
        OpError::new(code, format!("fetch: {self}"))
    }
}

/// A request as it travels from redirect to redirect.
struct Hop {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<Bytes>,
}

impl Fetcher {
    /// A client within `policy`.
    ///
    /// # Errors
    /// When the TLS library cannot be set up.
    pub fn new(policy: EgressPolicy) -> Result<Self, reqwest::Error> {
        let policy = Arc::new(policy);
        let client = client_builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("Lockstep/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(CheckedResolver::new(Arc::clone(&policy)))
            .build()?;
        let permits = |count| Arc::new(Semaphore::new(count));
        Ok(Self {
            client,
            policy,
            permits: permits(MAX_CONCURRENT),
            shares: Arc::default(),
            prompt_permits: permits(MAX_PROMPTS),
        })
    }

    /// Carries out a `fetch` of a script of `account`.
    pub async fn run(&self, account: &str, args: FetchArgs) -> OpResult {
        let limit = args.timeout_ms.map_or(DEFAULT_TIMEOUT, Duration::from_millis).min(MAX_TIMEOUT);
        let result = match tokio::time::timeout(limit, self.exchange(account, args)).await {
            Ok(result) => result,
            Err(_) => Err(Failure::TimedOut(limit)),
        };
        result.map(Outcome::Fetched).map_err(Failure::into_op_error)
    }

    fn share(&self, account: &str) -> Arc<Semaphore> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(shares.entry(account.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(MAX_OF_ACCOUNT))))
    }

    async fn exchange(&self, account: &str, args: FetchArgs) -> Result<FetchResponse, Failure> {
        let share = self.share(account);
        // The semaphores are never closed.
        let _place = share.acquire().await.map_err(|error| Failure::Network(error.to_string()))?;
        let _permit = self.permits.acquire().await.map_err(|error| Failure::Network(error.to_string()))?;
        let url = Url::parse(&args.url).map_err(|why| Failure::BadUrl { url: args.url.clone(), why: why.to_string() })?;
        let method = Method::from_bytes(args.method.as_bytes())
            .map_err(|_| Failure::BadRequest(format!("{:?} is not a method", args.method)))?;
        let mut hop = Hop { method, url, headers: header_map(&args.headers)?, body: args.body.map(Bytes::from) };
        for hops in 0..=MAX_REDIRECTS {
            let response = self.send(&hop).await?;
            if !is_redirect(response.status()) || args.redirect == FetchRedirect::Manual {
                return read(response, hop.url, hops > 0).await;
            }
            let target = redirect_target(&response, &hop.url)?;
            if args.redirect == FetchRedirect::Error {
                return Err(Failure::RedirectForbidden(target.to_string()));
            }
            hop = hop.redirected(response.status(), target);
        }
        Err(Failure::TooManyRedirects)
    }

    async fn send(&self, hop: &Hop) -> Result<Response, Failure> {
        check(&hop.url, &self.policy)?;
        let mut request = self.client.request(hop.method.clone(), hop.url.clone()).headers(hop.headers.clone());
        if let Some(body) = hop.body.as_ref().filter(|body| !body.is_empty()) {
            request = request.body(body.clone());
        } else if matches!(hop.method, Method::POST | Method::PUT | Method::PATCH) {
            // There are servers that take none of these without a length (RFC 9110, 8.6).
            request = request.header(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        request.send().await.map_err(network)
    }
}

impl Hop {
    /// The request a redirect asks for (Fetch standard, HTTP-redirect fetch): 303, and 301 or 302 to a POST, become GET;
    /// credentials do not follow to another origin.
    fn redirected(mut self, status: StatusCode, target: Url) -> Self {
        let becomes_get = match status {
            StatusCode::SEE_OTHER => self.method != Method::GET && self.method != Method::HEAD,
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => self.method == Method::POST,
            _ => false,
        };
        if becomes_get {
            self.method = Method::GET;
            self.body = None;
            for name in ["content-encoding", "content-language", "content-location", "content-type", "content-length"] {
                self.headers.remove(name);
            }
        }
        if target.origin() != self.url.origin() {
            for name in ["authorization", "cookie", "proxy-authorization"] {
                self.headers.remove(name);
            }
        }
        self.url = target;
        self
    }
}

/// A URL whose host is an address never reaches the resolver, so it is checked here.
fn check(url: &Url, policy: &EgressPolicy) -> Result<(), Failure> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Failure::BadScheme(url.scheme().to_owned()));
    }
    let host = url.host_str().unwrap_or_default();
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    match literal {
        Ok(ip) if !policy.allows(ip) => Err(Failure::Forbidden(Forbidden { host: host.to_owned() }.to_string())),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn redirect_target(response: &Response, base: &Url) -> Result<Url, Failure> {
    let location = response.headers().get(reqwest::header::LOCATION).and_then(|value| value.to_str().ok());
    let mut target = location.and_then(|location| base.join(location).ok()).ok_or(Failure::BadRedirect)?;
    if target.fragment().is_none() {
        target.set_fragment(base.fragment());
    }
    Ok(target)
}

fn header_map(headers: &Headers) -> Result<HeaderMap, Failure> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let bad = || Failure::BadRequest(format!("{name:?} is not a header field with a possible value"));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        map.append(name, HeaderValue::from_str(value).map_err(|_| bad())?);
    }
    // The connection is ours: its length, host and framing are what we send, not what a script says.
    for name in ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"] {
        map.remove(name);
    }
    Ok(map)
}

async fn read(response: Response, url: Url, redirected: bool) -> Result<FetchResponse, Failure> {
    let status = response.status();
    let headers = response.headers().iter().map(|(name, value)| (name.as_str().to_owned(), text_of(value.as_bytes()))).collect();
    // The client keeps the phrase of the server where it is another than the registered one.
    let status_text = match response.extensions().get::<ReasonPhrase>() {
        Some(reason) => text_of(reason.as_bytes()),
        None => status.canonical_reason().unwrap_or_default().to_owned(),
    };
    let body = read_body(response, MAX_BODY).await?;
    Ok(FetchResponse { status: status.as_u16(), status_text, url: url.to_string(), redirected, headers, body })
}

/// Octets of a response's head: each is a character (Fetch standard, isomorphic decode).
fn text_of(octets: &[u8]) -> String {
    octets.iter().map(|octet| char::from(*octet)).collect()
}

async fn read_body(mut response: Response, limit: usize) -> Result<Vec<u8>, Failure> {
    if response.content_length().is_some_and(|length| length > limit as u64) {
        return Err(Failure::TooLarge(limit));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(network)? {
        if body.len() + chunk.len() > limit {
            return Err(Failure::TooLarge(limit));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The innermost cause says what happened; the outer ones only where.
fn network(error: reqwest::Error) -> Failure {
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
        if let Some(forbidden) = cause.downcast_ref::<Forbidden>() {
            return Failure::Forbidden(forbidden.to_string());
        }
    }
    if error.is_builder() {
        return Failure::BadRequest(cause.to_string());
    }
    let host = error.url().and_then(Url::host_str).unwrap_or("the host").to_owned();
    Failure::Network(format!("{host}: {cause}"))
}

#[cfg(test)]
mod tests;
