//! Credentials for the gateways that know us by name: they answer the challenges of every request of a call, to its last BYE
//! (RFC 3261, section 22).

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use lockstep_sip::auth::{ClientAuth, Side};
use lockstep_sip::endpoint::RequestId;
use lockstep_sip::message::{Headers, Request, Response};

/// How long they outlive their leg: a BYE is repeated for 64·T1, and may follow an INVITE that was given up 64·T1 before.
const LINGER: Duration = Duration::from_secs(70);

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
    /// The latest request that was challenged.
    request: Option<RequestId>,
}

impl Credentials {
    /// Takes those for an INVITE.
    pub(super) fn keep(&mut self, call_id: String, auth: ClientAuth) {
        self.accounts.insert(call_id, Account { auth, request: None });
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
        // Ids go up. An earlier request that is challenged anew counts on with the latest, so that none goes round for ever.
        if account.request.is_none_or(|latest| latest < id) {
            account.request = Some(id);
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
