//! HTTP of a simulation: answers that a test has laid out, and the requests that came.

use std::time::Duration;

use fancy_regex::Regex;
use lockstep_ctx_api::op::{FetchArgs, FetchRedirect, Headers};
use lockstep_ctx_api::outcome::FetchResponse;
use lockstep_ctx_api::{ErrorCode, OpError, OpResult, Outcome};

/// How long an answer takes that says nothing of it.
pub(crate) const LATENCY: Duration = Duration::from_millis(20);
/// How long a request without a time-out of its own waits for an answer that never comes.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// Which requests an answer is for.
#[derive(Clone, Debug)]
pub(crate) enum UrlMatch {
    /// The whole URL; without a query, whatever the request's query is.
    Text(String),
    Pattern(Regex),
}

impl UrlMatch {
    fn matches(&self, url: &str) -> bool {
        match self {
            Self::Text(text) if text.contains('?') => text == url,
            Self::Text(text) => text == url.split(['?', '#']).next().unwrap_or(url),
            Self::Pattern(pattern) => pattern.is_match(url).unwrap_or(false),
        }
    }
}

/// What a request gets.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Response {
        status: u16,
        headers: Headers,
        body: Vec<u8>,
    },
    /// The connection fails, with this message.
    Failure(String),
    /// Nobody ever answers.
    Nothing,
}

/// An answer, until it is used up.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// In capitals; `None` for any.
    pub method: Option<String>,
    pub url: UrlMatch,
    pub reply: Reply,
    pub delay: Duration,
    /// How often it is given; `None` for always.
    pub times: Option<u32>,
}

/// See the module. The latest fitting answer counts, so that a test may differ from what was laid out for all.
#[derive(Debug, Default)]
pub(crate) struct Http {
    answers: Vec<Answer>,
    requests: Vec<FetchArgs>,
}

impl Http {
    pub(crate) fn lay_out(&mut self, answer: Answer) {
        self.answers.push(answer);
    }

    /// Every request so far.
    pub(crate) fn requests(&self) -> &[FetchArgs] {
        &self.requests
    }

    /// Answers a request, and says after how long.
    pub(crate) fn answer(&mut self, args: FetchArgs) -> (OpResult, Duration) {
        let limit = args.timeout_ms.map_or(DEFAULT_TIMEOUT, Duration::from_millis);
        let (method, url) = (args.method.to_ascii_uppercase(), args.url.clone());
        self.requests.push(args);
        let error = |code, why: String| Err(OpError::new(code, format!("fetch: {why}")));
        let fits = |answer: &&mut Answer| {
            answer.times != Some(0) && answer.method.as_ref().is_none_or(|wanted| *wanted == method) && answer.url.matches(&url)
        };
        let Some(answer) = self.answers.iter_mut().rev().find(fits) else {
            let why = format!("no answer is laid out for {method} {url}: http.on({url:?}).reply(…)");
            return (error(ErrorCode::NetworkError, why), LATENCY);
        };
        if let Some(times) = &mut answer.times {
            *times -= 1;
        }
        let delay = answer.delay;
        let timed_out = (error(ErrorCode::TimeoutError, format!("no answer within {} ms", limit.as_millis())), limit);
        match &answer.reply {
            _ if delay > limit => timed_out,
            Reply::Nothing => timed_out,
            Reply::Failure(why) => (error(ErrorCode::NetworkError, why.clone()), delay),
            Reply::Response { status, headers, body } => {
                let response = FetchResponse {
                    status: *status,
                    status_text: reason(*status).to_owned(),
                    url,
                    redirected: false,
                    headers: headers.clone(),
                    body: body.clone(),
                };
                (Ok(Outcome::Fetched(response)), delay)
            }
        }
    }

    /// Audio by URL: its octets, and an extension that hints at the format.
    pub(super) fn audio(&mut self, url: &str) -> Result<(Vec<u8>, String), OpError> {
        let refused = |why: String| OpError::new(ErrorCode::MediaError, format!("{url}: {why}"));
        let args = get(url);
        let path = url.split(['?', '#']).next().unwrap_or(url);
        let extension = path.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map_or("", |(_, extension)| extension);
        match self.answer(args).0 {
            Ok(Outcome::Fetched(response)) if response.status == 200 => Ok((response.body, extension.to_owned())),
            Ok(Outcome::Fetched(response)) => Err(refused(format!("HTTP status {}", response.status))),
            Ok(_) => Err(refused("no response".to_owned())),
            Err(error) => Err(refused(error.message)),
        }
    }
}

fn get(url: &str) -> FetchArgs {
    FetchArgs {
        method: "GET".to_owned(),
        url: url.to_owned(),
        headers: Headers::new(),
        body: None,
        redirect: FetchRedirect::Follow,
        timeout_ms: None,
    }
}

fn reason(status: u16) -> &'static str {
    axum::http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(url: &str, status: u16, times: Option<u32>) -> Answer {
        let reply = Reply::Response { status, headers: Vec::new(), body: b"x".to_vec() };
        Answer { method: None, url: UrlMatch::Text(url.to_owned()), reply, delay: LATENCY, times }
    }

    fn get(http: &mut Http, url: &str) -> Result<u16, String> {
        match http.answer(super::get(url)).0 {
            Ok(Outcome::Fetched(response)) => Ok(response.status),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.message),
        }
    }

    #[test]
    fn the_latest_answer_counts_until_it_is_used_up() {
        let mut http = Http::default();
        http.lay_out(answer("https://a.example/x", 200, None));
        http.lay_out(answer("https://a.example/x", 503, Some(1)));
        assert_eq!(get(&mut http, "https://a.example/x?q=1"), Ok(503));
        assert_eq!(get(&mut http, "https://a.example/x"), Ok(200));
        assert_eq!(http.requests().len(), 2);
    }

    #[test]
    fn a_request_nobody_answers_says_what_to_lay_out() {
        let mut http = Http::default();
        http.lay_out(answer("https://a.example/x?q=1", 200, None));
        let message = get(&mut http, "https://a.example/x?q=2").unwrap_err();
        assert!(message.contains("GET https://a.example/x?q=2") && message.contains("http.on("), "{message}");
    }
}
