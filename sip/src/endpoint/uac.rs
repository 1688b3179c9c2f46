//! Requests of ours outside dialogs, and what all requests of ours share: next hops, credentials, CANCEL, outcome.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::client::{Client, ClientId, ClientMachine, Purpose, within_transaction};
use super::fork::Forks;
use super::key::cseq_number;
use super::schedule::Owner;
use super::{Body, CommandError, DialogId, Endpoint, Event, Failure, OutgoingRequest, RequestId, TerminationCause};
use crate::message::{CSeq, HeaderName, HeaderValue, Headers, Method, Request, Response, StatusCode};
use crate::net::{Destination, Protocol};

/// Octets that Via and the like add to a request when its size is weighed against the path's.
const VIA_SIZE: usize = 100;

#[derive(Debug)]
pub(super) enum Kind {
    FirstInvite(Forks),
    InDialog,
    Outside,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cancel {
    No,
    /// As soon as a provisional response comes (RFC 3261 9.1).
    Wanted,
    Sent,
}

#[derive(Debug)]
struct Attempt {
    destination: Destination,
    /// TCP was tried in its place already.
    is_fallback: bool,
}

/// A request of ours, over all its transactions.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// Without Via.
    pub(super) request: Request,
    pub(super) kind: Kind,
    pub(super) dialog: Option<DialogId>,
    attempts: VecDeque<Attempt>,
    last_destination: Option<Destination>,
    pub(super) client: Option<ClientId>,
    pub(super) had_offer: bool,
    pub(super) cancel: Cancel,
    cancel_headers: Headers,
    /// The 401 or 407 that waits for credentials.
    challenge: Option<Arc<Response>>,
}

impl Outgoing {
    pub(super) fn new(
        request: Request,
        kind: Kind,
        dialog: Option<DialogId>,
        destinations: Vec<Destination>,
        had_offer: bool,
    ) -> Outgoing {
        Outgoing {
            request,
            kind,
            dialog,
            attempts: destinations.into_iter().map(|destination| Attempt { destination, is_fallback: false }).collect(),
            last_destination: None,
            client: None,
            had_offer,
            cancel: Cancel::No,
            cancel_headers: Headers::new(),
            challenge: None,
        }
    }
}

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
        let forks =
            Forks::new(HeaderValue::from(contact.to_string()), request.symmetric, request.body.clone().filter(Body::is_sdp));
        self.start_outside(now, request, Kind::FirstInvite(forks))
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
        let outgoing = Outgoing::new(request, kind, None, outgoing.destinations, had_offer);
        self.start_outgoing(now, id, outgoing);
        Ok(id)
    }

    /// Adds the fields every request of ours carries, then the given ones.
    pub(super) fn complete_request(
        &self,
        request: &mut Request,
        contact: Option<HeaderValue>,
        headers: &Headers,
        body: Option<Body>,
        max_forwards: u8,
    ) {
        let fields = &mut request.headers;
        fields.push(HeaderName::MaxForwards, max_forwards.to_string());
        if let Some(contact) = contact {
            fields.push(HeaderName::Contact, contact);
        }
        if matches!(request.method, Method::Invite | Method::Update | Method::Options) {
            for (name, value) in
                [(HeaderName::Allow, self.allow_value()), (HeaderName::Supported, self.config.supported.join(", "))]
            {
                if !headers.contains(name.clone()) {
                    fields.push(name, value);
                }
            }
        }
        if !headers.contains(HeaderName::UserAgent) && request.method != Method::Ack {
            fields.push(HeaderName::UserAgent, self.config.user_agent.as_str());
        }
        fields.extend(headers);
        if let Some(body) = body {
            fields.push(HeaderName::ContentType, body.content_type);
            request.body = body.bytes;
        }
    }

    pub(super) fn start_outgoing(&mut self, now: Instant, id: RequestId, outgoing: Outgoing) {
        self.requests.insert(id, outgoing);
        if !self.next_attempt(now, id) {
            self.fail_request(now, id, Failure::Transport);
        }
    }

    /// Sends the request to its next destination; `false` when none is left.
    fn next_attempt(&mut self, now: Instant, id: RequestId) -> bool {
        let has_tcp = self.config.has_tcp;
        let max_datagram = self.config.max_datagram;
        let Some(outgoing) = self.requests.get_mut(&id) else {
            return false;
        };
        let Some(mut attempt) = outgoing.attempts.pop_front() else {
            return false;
        };
        let too_large = attempt.destination.protocol == Protocol::Udp
            && !attempt.is_fallback
            && has_tcp
            && size_of(&outgoing.request) > max_datagram;
        if too_large {
            // RFC 3261 18.1.1: by TCP, and by UDP after all where that finds nobody.
            outgoing.attempts.push_front(Attempt { destination: attempt.destination, is_fallback: true });
            attempt.destination.protocol = Protocol::Tcp;
            attempt.destination.local = None;
            attempt.destination.flow = None;
        }
        outgoing.last_destination = Some(attempt.destination);
        let request = outgoing.request.clone();
        let client = self.start_client(now, request, attempt.destination, Purpose::Request(id));
        if let Some(outgoing) = self.requests.get_mut(&id) {
            outgoing.client = Some(client);
        }
        true
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
        let next = client.machine.next_timeout();
        let mut cancel = within_transaction(&client.request, Method::Cancel);
        cancel.headers.extend(&outgoing.cancel_headers);
        let (destination, branch) = (client.destination, client.key.branch.clone());
        if let Some(client) = outgoing.client {
            self.schedule.set(Owner::Client(client), next);
        }
        self.start_client_with_via(now, cancel, branch, destination, Purpose::Detached);
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
        outgoing.request.headers.extend(headers);
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

    /// The same request again, to where it went last, as a new transaction.
    fn resend(&mut self, now: Instant, id: RequestId) {
        let Some(outgoing) = self.requests.get_mut(&id) else {
            return;
        };
        let number = match outgoing.dialog.and_then(|d| self.dialogs.get_mut(&d)) {
            Some(entry) => entry.dialog.next_cseq(),
            None => cseq_number(&outgoing.request).saturating_add(1),
        };
        let cseq = CSeq { number, method: outgoing.request.method.clone() };
        outgoing.request.headers.set(HeaderName::CSeq, cseq.to_string());
        if let Some(destination) = outgoing.last_destination {
            outgoing.attempts.push_front(Attempt { destination, is_fallback: true });
        }
        if !self.next_attempt(now, id) {
            self.fail_request(now, id, Failure::Transport);
        }
    }

    /// A client transaction ended without a final response: the next destination, or the end.
    pub(super) fn client_failed(&mut self, now: Instant, client: Client, failure: Failure) {
        let Purpose::Request(id) = client.purpose else {
            return;
        };
        let Some(outgoing) = self.requests.get_mut(&id) else {
            return;
        };
        outgoing.client = None;
        if outgoing.cancel != Cancel::No {
            self.fail_request(now, id, Failure::Cancelled);
        } else if self.next_attempt(now, id) {
            self.stats.failovers += 1;
        } else {
            self.fail_request(now, id, failure);
        }
    }

    /// A client transaction ended after its final response was handled.
    pub(super) fn client_terminated(&mut self, client: ClientId, purpose: Purpose) {
        let Purpose::Request(id) = purpose else {
            return;
        };
        // An INVITE that was told to be over was kept for the 2xx of other branches.
        let is_done = self
            .requests
            .get(&id)
            .is_some_and(|o| o.client == Some(client) && matches!(&o.kind, Kind::FirstInvite(forks) if forks.is_over()));
        if is_done {
            self.requests.remove(&id);
        }
    }

    pub(super) fn deliver_response(&mut self, now: Instant, purpose: Purpose, client: ClientId, response: Response) {
        let Purpose::Request(id) = purpose else {
            return;
        };
        let Some(outgoing) = self.requests.get(&id) else {
            self.acknowledge_again(&response);
            return;
        };
        if outgoing.client != Some(client) {
            return;
        }
        let response = Arc::new(response);
        let is_cancelled = outgoing.cancel != Cancel::No;
        let has_more = !outgoing.attempts.is_empty();
        match response.status {
            StatusCode::UNAUTHORIZED | StatusCode::PROXY_AUTHENTICATION_REQUIRED if !is_cancelled => {
                return self.challenged(now, id, response);
            }
            StatusCode::SERVICE_UNAVAILABLE if !is_cancelled && has_more => {
                self.drop_forks(now, id);
                self.stats.failovers += 1;
                self.next_attempt(now, id);
                return;
            }
            StatusCode::SESSION_INTERVAL_TOO_SMALL if !is_cancelled && self.raise_session_interval(now, id, &response) => {
                return;
            }
            _ => {}
        }
        let is_first = self.requests.get(&id).is_some_and(|o| matches!(o.kind, Kind::FirstInvite(_)));
        if is_first {
            self.first_invite_response(now, id, response);
        } else {
            self.later_response(now, id, response);
        }
    }

    fn challenged(&mut self, now: Instant, id: RequestId, response: Arc<Response>) {
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

    /// 422: ask again with the interval it names, once per answer that names a longer one (RFC 4028 7.3).
    fn raise_session_interval(&mut self, now: Instant, id: RequestId, response: &Response) -> bool {
        let Some(outgoing) = self.requests.get_mut(&id) else {
            return false;
        };
        let headers = &mut outgoing.request.headers;
        let (Some(min_se), Some(Ok(mut asked))) = (response.headers.min_se(), headers.session_expires()) else {
            return false;
        };
        if min_se <= asked.interval {
            return false;
        }
        asked.interval = min_se;
        headers.set(HeaderName::SessionExpires, asked.to_string());
        headers.set(HeaderName::MinSe, min_se.to_string());
        self.drop_forks(now, id);
        self.resend(now, id);
        true
    }

    /// A response to anything but a first INVITE.
    fn later_response(&mut self, now: Instant, id: RequestId, response: Arc<Response>) {
        let status = response.status;
        if status == StatusCode::TRYING {
            self.send_cancel_if_possible(now, id);
            return;
        }
        if !status.is_final() {
            self.send_cancel_if_possible(now, id);
            let dialog = self.requests.get(&id).and_then(|o| o.dialog);
            self.event(Event::Response { id, dialog, outcome: Ok(response), description: None });
            return;
        }
        let Some(outgoing) = self.requests.remove(&id) else {
            return;
        };
        let method = outgoing.request.method.clone();
        let changes_session = matches!(method, Method::Invite | Method::Update);
        let mut description = None;
        if let Some(dialog) = outgoing.dialog
            && let Some(entry) = self.dialogs.get_mut(&dialog)
        {
            entry.requests.remove(&id);
            entry.note_abilities(&response.headers);
            if method == Method::Invite {
                entry.invite_tx = None;
            }
            if changes_session {
                description = entry.offer_answer.receive_response(response.sdp(), true, status.is_success(), outgoing.had_offer);
            }
            if changes_session && status.is_success() {
                entry.dialog.refresh_target(&response.headers);
                entry.take_session_timer(now, &response.headers);
            }
            if method == Method::Invite && status.is_success() {
                self.acknowledge(dialog, &outgoing.request, description.as_ref());
            }
            if changes_session && status == StatusCode::REQUEST_PENDING {
                self.wait_out_glare(now, dialog);
            }
            self.schedule_dialog(dialog);
        }
        self.event(Event::Response { id, dialog: outgoing.dialog, outcome: Ok(response), description });
        if let Some(dialog) = outgoing.dialog {
            match status {
                // The peer knows no such dialog, so there is nobody to send a BYE to.
                StatusCode::CALL_DOES_NOT_EXIST => {
                    self.terminate_dialog(now, dialog, TerminationCause::Lost);
                }
                StatusCode::REQUEST_TIMEOUT if changes_session => {
                    self.end_with_bye(now, dialog, TerminationCause::Lost);
                }
                _ => {}
            }
        }
    }

    fn wait_out_glare(&mut self, now: Instant, dialog: DialogId) {
        // The side that was the UAC of the first INVITE made the Call-ID.
        let made_call_id = self.dialogs.get(&dialog).is_some_and(|e| e.dialog.is_uac());
        let wait = self.glare_wait(made_call_id);
        if let Some(entry) = self.dialogs.get_mut(&dialog) {
            entry.glare_over = Some(now + wait);
        }
    }

    /// No useful response from anywhere.
    pub(super) fn fail_request(&mut self, now: Instant, id: RequestId, failure: Failure) {
        self.schedule.set(Owner::Request(id), None);
        let Some(outgoing) = self.requests.get(&id) else {
            return;
        };
        if matches!(outgoing.kind, Kind::FirstInvite(_)) {
            self.finish_invite(now, id, failure);
            return;
        }
        let Some(outgoing) = self.requests.remove(&id) else {
            return;
        };
        let changes_session = matches!(outgoing.request.method, Method::Invite | Method::Update);
        let is_silent = matches!(failure, Failure::Timeout);
        if let Some(entry) = outgoing.dialog.and_then(|d| self.dialogs.get_mut(&d)) {
            entry.requests.remove(&id);
            if outgoing.request.method == Method::Invite {
                entry.invite_tx = None;
            }
            if outgoing.had_offer {
                entry.offer_answer.abandon();
            }
        }
        self.event(Event::Response { id, dialog: outgoing.dialog, outcome: Err(failure), description: None });
        // A peer that is silent to INFO may still talk; one silent to a change of the session has gone (RFC 3261 12.2.1.2, RFC 5057).
        if let Some(dialog) = outgoing.dialog
            && is_silent
            && changes_session
        {
            self.end_with_bye(now, dialog, TerminationCause::Lost);
        }
    }
}

fn size_of(request: &Request) -> usize {
    let headers: usize = request.headers.iter().map(|h| h.name.as_bytes().len() + h.value.as_bytes().len() + 4).sum();
    headers + request.body.len() + VIA_SIZE
}
