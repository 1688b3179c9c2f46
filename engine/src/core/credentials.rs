//! Credentials for the gateways that know us by name: they answer the challenges of every request of a call, to its last BYE
//! (RFC 3261, section 22).

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use lockstep_sip::auth::{ClientAuth, Side};
use lockstep_sip::endpoint::RequestId;
use lockstep_sip::message::{Headers, Request, Response};

/// How long they outlive their leg: a BYE is repeated for 64·T1, and may follow an INVITE that was given up 64·T1 before.
const LINGER: Duration = Duration::from_secs(70);
/// Requests of one account whose challenges are told apart: more than are under way at once.
const MOST_REQUESTS: usize = 8;

/// The credentials of all legs that have some.
#[derive(Debug, Default)]
pub(crate) struct Credentials {
    /// By Call-ID, which every request has in common with its INVITE, whether a call or the endpoint has sent it.
    accounts: HashMap<String, Account>,
    /// Those whose legs are gone, and until when they are kept; the earliest first.
    leaving: VecDeque<(Instant, String)>,
}

#[derive(Debug)]
struct Account {
    auth: ClientAuth,
    /// The latest requests that were challenged.
    requests: BTreeSet<RequestId>,
}

impl Account {
    /// Whether this is the first challenge of a request. Ids go up: one below all that are remembered may have been here.
    fn is_first_of(&mut self, id: RequestId) -> bool {
        let is_full = self.requests.len() == MOST_REQUESTS;
        if self.requests.contains(&id) || (is_full && self.requests.first().is_some_and(|first| id < *first)) {
            return false;
        }
        if is_full {
            self.requests.pop_first();
        }
        self.requests.insert(id)
    }
}

impl Credentials {
    /// Takes those for an INVITE.
    pub(super) fn keep(&mut self, call_id: String, auth: ClientAuth) {
        self.accounts.insert(call_id, Account { auth, requests: BTreeSet::new() });
    }

    /// The leg is gone; what has still to be said on its dialog is being said.
    pub(super) fn leave(&mut self, now: Instant, call_id: String) {
        self.leaving.push_back((now + LINGER, call_id));
        while let Some((_, gone)) = self.leaving.pop_front_if(|(until, _)| *until <= now) {
            self.accounts.remove(&gone);
        }
    }

    /// The fields that answer a challenge; `None` when there are no credentials, or the gateway has refused them.
    pub(super) fn answer(&mut self, id: RequestId, request: &Request, response: &Response) -> Option<Headers> {
        let account = self.accounts.get_mut(&*request.headers.call_id()?.text())?;
        // A request that is challenged anew counts on with the latest, so that none goes round for ever.
        if account.is_first_of(id) {
            account.auth.begin_request();
        }
        answer(&mut account.auth, request, response)
    }
}

/// The fields that answer a challenge with `auth`.
pub(super) fn answer(auth: &mut ClientAuth, request: &Request, response: &Response) -> Option<Headers> {
    let side = Side::of_status(response.status.code())?;
    let challenges: Vec<String> =
        response.headers.get_all(side.challenge_header()).map(|value| value.text().into_owned()).collect();
    if let Err(refusal) = auth.challenged(side, challenges.iter().map(String::as_str)) {
        tracing::warn!(%refusal, "a gateway refuses our credentials");
        return None;
    }
    let mut headers = Headers::new();
    for (name, value) in auth.authorize(request.method.as_str(), &request.uri.to_string(), &request.body) {
        headers.push(name, value);
    }
    Some(headers)
}

#[cfg(test)]
mod tests {
    use lockstep_sip::message::{HeaderName, Method, StatusCode, Uri};

    use super::*;

    /// A gateway challenges these requests of a call, in this order; which of them are sent again.
    fn answered(ids: &[u64]) -> Vec<bool> {
        let mut credentials = Credentials::default();
        credentials.keep("call".to_owned(), ClientAuth::new("us", "secret", [1; 32]));
        let mut request = Request::new(Method::Info, Uri::parse("sip:44@gw").unwrap());
        request.headers.push(HeaderName::CallId, "call");
        let mut response = Response::new(StatusCode::PROXY_AUTHENTICATION_REQUIRED);
        response.headers.push("Proxy-Authenticate", "Digest realm=\"gw\", nonce=\"n\", qop=\"auth\"");
        ids.iter().map(|id| credentials.answer(RequestId(*id), &request, &response).is_some()).collect()
    }

    #[test]
    fn requests_under_way_together_are_each_answered_in_whatever_order_they_are_challenged() {
        assert_eq!(answered(&[7, 8, 9]), [true; 3]);
        assert_eq!(answered(&[9, 7, 8]), [true; 3]);
        assert_eq!(answered(&[9, 8, 8]), [true, true, false]);
    }

    #[test]
    fn a_request_that_is_forgotten_does_not_begin_anew() {
        let many: Vec<u64> = (1..=20).chain([1]).collect();
        let mut expected = vec![true; 20];
        expected.push(false);
        assert_eq!(answered(&many), expected);
    }
}
