//! What becomes of calls, in words, and what answers a challenge: the same for every phone.

use lockstep_sip::auth::{ClientAuth, Side};
use lockstep_sip::endpoint::{Failure, TerminationCause};
use lockstep_sip::message::{Headers, Request, Response};

use super::event::{Ended, EndedBy};

/// The headers that answer a challenge; `None`: it cannot be answered, or was answered wrongly before.
pub(crate) fn credentials(auth: &mut ClientAuth, request: &Request, response: &Response) -> Option<Headers> {
    let side = Side::of_status(response.status.code())?;
    let challenges: Vec<String> =
        response.headers.get_all(side.challenge_header()).map(|value| value.text().into_owned()).collect();
    auth.challenged(side, challenges.iter().map(String::as_str)).ok()?;
    let mut headers = Headers::new();
    for (name, value) in auth.authorize(request.method.as_str(), &request.uri.to_string(), &request.body) {
        headers.push(name, value);
    }
    Some(headers)
}

/// How a call ended that did not come about.
pub(crate) fn ended_by(failure: &Failure) -> Ended {
    match failure {
        Failure::Response(response) => Ended::new(response.status.code(), response.reason.text(), EndedBy::Remote),
        Failure::Timeout => Ended::new(408, "no answer in time", EndedBy::Network),
        Failure::Transport => Ended::new(503, "cannot be reached", EndedBy::Network),
        Failure::Unusable => Ended::new(502, "an answer that cannot be used", EndedBy::Network),
        Failure::Cancelled | Failure::DialogEnded => Ended::new(487, "Request Terminated", EndedBy::Local),
    }
}

/// How a call ended that was up.
pub(crate) fn terminated_by(cause: &TerminationCause) -> Ended {
    match cause {
        TerminationCause::Bye(request) => {
            let reason = request.headers.reasons().into_iter().next();
            let code = reason.as_ref().and_then(|reason| reason.cause).unwrap_or(200);
            let text = reason.and_then(|reason| reason.text).unwrap_or_else(|| "OK".to_owned());
            Ended::new(code, text, EndedBy::Remote)
        }
        TerminationCause::LocalBye => Ended::new(200, "OK", EndedBy::Local),
        TerminationCause::AckTimeout => Ended::new(408, "no ACK in time", EndedBy::Network),
        TerminationCause::SessionExpired => Ended::new(408, "the session timer ran out", EndedBy::Network),
        TerminationCause::Lost => Ended::new(481, "the other side knows nothing of the call any more", EndedBy::Network),
        TerminationCause::InviteOver => Ended::new(487, "Request Terminated", EndedBy::Remote),
    }
}
