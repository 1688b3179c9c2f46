//! Requests of ours outside dialogs, and CANCEL.

use std::time::Instant;

use super::client::{ClientMachine, Purpose, within_transaction};
use super::fork::Forks;
use super::outgoing::{Cancel, Kind, Outgoing};
use super::schedule::Owner;
use super::{Body, CommandError, Endpoint, Failure, OutgoingRequest, RequestId};
use crate::message::{CSeq, HeaderName, HeaderValue, Headers, Method, Request};

impl Endpoint {
    /// Starts a call. `Progress`, then `Answered` or `Failed` follow.
    ///
    /// # Errors
    /// When a table is full, no destination or no Contact is given, or the method is not INVITE.
    pub fn invite(&mut self, now: Instant, request: OutgoingRequest) -> Result<RequestId, CommandError> {
        if request.method != Method::Invite {
            return Err(CommandError::WrongState("expected an INVITE"));
        }
        let Some(contact) = &request.contact else {
            return Err(CommandError::WrongState("an INVITE needs a Contact"));
        };
        if self.dialogs.len() >= self.config.max_dialogs {
            return Err(CommandError::Overloaded);
        }
        let (contact, offer) = (HeaderValue::from(contact.to_string()), request.body.clone().filter(Body::is_sdp));
        let forks = Forks::new(contact, request.symmetric, request.owner.clone(), offer);
        self.start_outside(now, request, Kind::FirstInvite(Box::new(forks)))
    }

    /// Sends a request outside any dialog: REGISTER, OPTIONS, MESSAGE … Its responses come as `Response`.
    ///
    /// # Errors
    /// When a table is full, no destination is given, or the method only makes sense elsewhere.
    pub fn request_out_of_dialog(&mut self, now: Instant, request: OutgoingRequest) -> Result<RequestId, CommandError> {
        if matches!(request.method, Method::Invite | Method::Ack | Method::Cancel | Method::Bye) {
            return Err(CommandError::WrongState("expected a method that needs no dialog"));
        }
        self.start_outside(now, request, Kind::Outside)
    }

    fn start_outside(&mut self, now: Instant, outgoing: OutgoingRequest, kind: Kind) -> Result<RequestId, CommandError> {
        if self.transaction_count() >= self.config.max_transactions {
            return Err(CommandError::Overloaded);
        }
        if outgoing.destinations.is_empty() {
            return Err(CommandError::NoDestination);
        }
        let mut request = Request::new(outgoing.method.clone(), outgoing.uri);
        for route in &outgoing.route {
            request.headers.push(HeaderName::Route, route.to_string());
        }
        let tag = self.new_token();
        let from = outgoing.from.with_tag(&tag);
        let (call_id, number) = match outgoing.series {
            Some(series) => series,
            None => {
                let token = self.new_token();
                (HeaderValue::from(token + &self.new_token()), 1)
            }
        };
        let mut to = outgoing.to;
        to.params.remove("tag");
        request.headers.push(HeaderName::From, from.to_string());
        request.headers.push(HeaderName::To, to.to_string());
        request.headers.push(HeaderName::CallId, call_id);
        let cseq = CSeq { number, method: outgoing.method };
        request.headers.push(HeaderName::CSeq, cseq.to_string());
        let had_offer = outgoing.body.as_ref().is_some_and(Body::is_sdp);
        let mut headers = outgoing.headers;
        if matches!(kind, Kind::FirstInvite(_))
            && let Some(interval) = self.config.session_timer.request
            && !headers.contains(HeaderName::SessionExpires)
        {
            headers.push(HeaderName::SessionExpires, interval.to_string());
        }
        let contact = outgoing.contact.map(|c| HeaderValue::from(c.to_string()));
        self.complete_request(&mut request, contact, &headers, outgoing.body, outgoing.max_forwards);
        let id = RequestId(self.new_id());
        let (patience, may_use_tcp) = (outgoing.patience, !outgoing.symmetric);
        let outgoing = Outgoing { patience, may_use_tcp, ..Outgoing::new(request, kind, None, outgoing.destinations, had_offer) };
        self.start_outgoing(now, id, outgoing);
        Ok(id)
    }

    /// A request of ours under way as it was built, without Via: its Call-ID, From tag and CSeq.
    #[must_use]
    pub fn sent_request(&self, id: RequestId) -> Option<&Request> {
        self.requests.get(&id).map(|outgoing| &outgoing.request)
    }

    /// Gives up a call that has not been answered. `Failed` follows, also when a 2xx crosses: that call is ended.
    ///
    /// `headers` (a Reason, say) go into the CANCEL.
    ///
    /// # Errors
    /// When the request is unknown, no INVITE, or answered.
    pub fn cancel(&mut self, now: Instant, id: RequestId, headers: Headers) -> Result<(), CommandError> {
        let outgoing = self.requests.get_mut(&id).ok_or(CommandError::UnknownRequest)?;
        if outgoing.request.method != Method::Invite {
            return Err(CommandError::WrongState("only an INVITE can be cancelled"));
        }
        if let Kind::FirstInvite(forks) = &outgoing.kind
            && forks.is_over()
        {
            return Err(CommandError::Answered);
        }
        if outgoing.cancel != Cancel::No {
            return Ok(());
        }
        outgoing.cancel = Cancel::Wanted;
        outgoing.cancel_headers = headers;
        outgoing.attempts.clear();
        if outgoing.challenge.is_some() {
            self.fail_request(now, id, Failure::Cancelled);
            return Ok(());
        }
        self.send_cancel_if_possible(now, id);
        Ok(())
    }

    /// Sends a wanted CANCEL once a provisional response allows it.
    pub(super) fn send_cancel_if_possible(&mut self, now: Instant, id: RequestId) {
        let Some(outgoing) = self.requests.get_mut(&id) else {
            return;
        };
        let Some(client) = outgoing.client.and_then(|c| self.clients.get_mut(&c)) else {
            return;
        };
        let ClientMachine::Invite(machine) = &mut client.machine else {
            return;
        };
        if outgoing.cancel != Cancel::Wanted || !machine.is_proceeding() {
            return;
        }
        outgoing.cancel = Cancel::Sent;
        machine.cancelled(now);
        let next = client.next_timeout();
        let mut cancel = within_transaction(&client.request, Method::Cancel);
        cancel.headers.extend_unreserved(&outgoing.cancel_headers);
        let (destination, branch) = (client.destination, client.key.branch.clone());
        if let Some(client) = outgoing.client {
            self.schedule.set(Owner::Client(client), next);
        }
        self.start_client_with_via(now, cancel, branch, destination, Purpose::Detached);
    }
}
