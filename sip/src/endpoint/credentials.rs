//! Challenged requests: the engine computes the credentials, the endpoint sends again (RFC 3261 22).

use std::sync::Arc;
use std::time::Instant;

use super::schedule::Owner;
use super::{CommandError, Endpoint, Event, Failure, RequestId};
use crate::message::{HeaderName, Headers, Request, Response};

impl Endpoint {
    pub(super) fn challenged(&mut self, now: Instant, id: RequestId, response: Arc<Response>) {
        self.drop_forks(now, id);
        let Some(outgoing) = self.requests.get_mut(&id) else {
            return;
        };
        outgoing.challenge = Some(response.clone());
        let request = outgoing
            .client
            .take()
            .and_then(|client| self.clients.get(&client))
            .map_or_else(|| Arc::new(outgoing.request.clone()), |client| client.request.clone());
        self.schedule.set(Owner::Request(id), Some(now + self.config.challenge_wait));
        self.event(Event::Challenged { id, request, response });
    }

    /// Sends a challenged request again with `headers` (Authorization or Proxy-Authorization), a higher CSeq and a new branch.
    ///
    /// # Errors
    /// When the request does not wait for credentials.
    pub fn resend_with(&mut self, now: Instant, id: RequestId, headers: &Headers) -> Result<(), CommandError> {
        let outgoing = self.requests.get_mut(&id).ok_or(CommandError::UnknownRequest)?;
        if outgoing.challenge.take().is_none() {
            return Err(CommandError::WrongState("the request waits for no credentials"));
        }
        self.schedule.set(Owner::Request(id), None);
        for name in [HeaderName::Authorization, HeaderName::ProxyAuthorization] {
            if headers.contains(name.clone()) {
                outgoing.request.headers.remove(name);
            }
        }
        outgoing.request.headers.extend_unreserved(headers);
        self.resend(now, id);
        Ok(())
    }

    /// Gives up a challenged request: its 401 or 407 becomes its outcome.
    ///
    /// # Errors
    /// When the request does not wait for credentials.
    pub fn abandon(&mut self, now: Instant, id: RequestId) -> Result<(), CommandError> {
        let outgoing = self.requests.get_mut(&id).ok_or(CommandError::UnknownRequest)?;
        let response = outgoing.challenge.take().ok_or(CommandError::WrongState("the request waits for no credentials"))?;
        self.fail_request(now, id, Failure::Response(response));
        Ok(())
    }

    pub(super) fn challenge_timeout(&mut self, now: Instant, id: RequestId) {
        // Only a request that waits has a deadline.
        let _ = self.abandon(now, id);
    }
}

/// Credentials that an ACK repeats from its INVITE (RFC 3261 22.1).
pub(super) fn credentials(request: &Request) -> Headers {
    request
        .headers
        .iter()
        .filter(|h| matches!(h.name, HeaderName::Authorization | HeaderName::ProxyAuthorization))
        .cloned()
        .collect()
}
