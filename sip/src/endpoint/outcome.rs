//! What becomes of a request of ours: responses, time-outs, lost connections.

use std::sync::Arc;
use std::time::Instant;

use super::client::{Client, ClientId, Purpose};
use super::outgoing::{Cancel, Kind, Outgoing};
use super::schedule::Owner;
use super::{Body, DialogId, Endpoint, Event, Failure, RequestId, TerminationCause};
use crate::message::{Method, Request, Response, StatusCode};
use crate::offer_answer::Role;

impl Endpoint {
    /// A client transaction ended without a final response: the next destination, or the end.
    pub(super) fn client_failed(&mut self, now: Instant, client: Client, failure: Failure) {
        if let Purpose::Request(id) = client.purpose {
            self.attempt_failed(now, id, failure);
        }
    }

    /// A next hop has said nothing for as long as it may: the request goes on to the next, or fails.
    ///
    /// An INVITE may have come through all the same. Its transaction lives on until timer B, so that whoever still answers is cancelled
    /// or hung up (RFC 3261 9.1, 13.2.2.4).
    pub(super) fn patience_ended(&mut self, now: Instant, client: ClientId) {
        let Some(Purpose::Request(id)) = self.clients.get(&client).map(|client| client.purpose) else {
            return;
        };
        let Some(outgoing) = self.requests.get(&id) else {
            return;
        };
        if outgoing.cancel != Cancel::No {
            // It waits for a provisional response until timer B anyway; whoever comes back by then must not ring for nobody.
            if let Some(client) = self.clients.get_mut(&client) {
                client.leave_to(Purpose::Request(id));
            }
            return;
        }
        let Kind::FirstInvite(forks) = &outgoing.kind else {
            if let Some(client) = self.remove_client(client) {
                self.client_failed(now, client, Failure::Timeout);
            }
            return;
        };
        let kind = Kind::FirstInvite(Box::new(forks.given_up()));
        let given_up = Outgoing {
            client: Some(client),
            cancel: Cancel::Wanted,
            // What is sent for it is made from the request as it was sent.
            ..Outgoing::new(Request::new(Method::Invite, outgoing.request.uri.clone()), kind, None, Vec::new(), false)
        };
        let given_up_id = RequestId(self.new_id());
        self.requests.insert(given_up_id, given_up);
        if let Some(client) = self.clients.get_mut(&client) {
            client.leave_to(Purpose::Request(given_up_id));
        }
        self.attempt_failed(now, id, Failure::Timeout);
    }

    fn attempt_failed(&mut self, now: Instant, id: RequestId, failure: Failure) {
        let Some(outgoing) = self.requests.get_mut(&id) else {
            return;
        };
        outgoing.client = None;
        if let Some(remote) = outgoing.took_tcp_for_udp() {
            self.note_no_tcp(now, remote);
        }
        let Some(outgoing) = self.requests.get(&id) else {
            return;
        };
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
            self.limit_invite(now, client);
            match self.clients.get(&client).and_then(|client| client.late_ack.clone()) {
                Some((destination, ack)) if response.status.is_success() => self.transmit(None, destination, ack),
                Some(_) | None => self.acknowledge_again(&response),
            }
            return;
        };
        if outgoing.client != Some(client) {
            return;
        }
        let response = Arc::new(response);
        let is_cancelled = outgoing.cancel != Cancel::No;
        // Within a dialog the peer has counted it: the same CSeq again would be refused (RFC 3261 12.2.2).
        let has_more = !outgoing.attempts.is_empty() && outgoing.dialog.is_none();
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

    /// A response to anything but a first INVITE.
    fn later_response(&mut self, now: Instant, id: RequestId, response: Arc<Response>) {
        let status = response.status;
        if status == StatusCode::TRYING {
            self.send_cancel_if_possible(now, id);
            return;
        }
        if !status.is_final() {
            self.send_cancel_if_possible(now, id);
            if let Some(outgoing) = self.requests.get(&id).filter(|o| o.is_told()) {
                let dialog = outgoing.dialog;
                self.event(Event::Response { id, dialog, outcome: Ok(response), description: None });
            }
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
            if description.as_ref().is_some_and(|description| description.role == Role::Answer) {
                entry.local_sdp = Some(Body::sdp(outgoing.request.body.clone()));
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
            if !status.is_success()
                && let Some(entry) = self.dialogs.get_mut(&dialog)
            {
                entry.refresh_failed(now, id, &method, Some(&response));
            }
            self.schedule_dialog(dialog);
        }
        if outgoing.is_told() {
            self.event(Event::Response { id, dialog: outgoing.dialog, outcome: Ok(response), description });
        }
        if let Some(dialog) = outgoing.dialog {
            match status {
                // The peer knows no such dialog, so there is nobody to send a BYE to.
                StatusCode::CALL_DOES_NOT_EXIST => {
                    self.terminate_dialog(now, dialog, TerminationCause::Lost);
                }
                StatusCode::REQUEST_TIMEOUT if changes_session => {
                    self.end_with_bye(now, dialog, TerminationCause::Lost);
                }
                _ => self.tell_way_is_free(dialog),
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
        if outgoing.request.method == Method::Bye && matches!(failure, Failure::Timeout | Failure::Transport) {
            self.keep_bye(now, &outgoing);
        }
        if let Some(entry) = outgoing.dialog.and_then(|d| self.dialogs.get_mut(&d)) {
            entry.requests.remove(&id);
            if outgoing.request.method == Method::Invite {
                entry.invite_tx = None;
            }
            if outgoing.had_offer {
                entry.offer_answer.abandon();
            }
            let response = match &failure {
                Failure::Response(response) => Some(&**response),
                Failure::Timeout | Failure::Transport | Failure::Cancelled | Failure::Unusable | Failure::DialogEnded => None,
            };
            entry.refresh_failed(now, id, &outgoing.request.method, response);
        }
        if let Some(dialog) = outgoing.dialog {
            self.schedule_dialog(dialog);
        }
        if outgoing.is_told() {
            self.event(Event::Response { id, dialog: outgoing.dialog, outcome: Err(failure), description: None });
        }
        // A peer that is silent to INFO may still talk; one silent to a change of the session has gone (RFC 3261 12.2.1.2, RFC 5057).
        if let Some(dialog) = outgoing.dialog {
            if is_silent && changes_session {
                self.end_with_bye(now, dialog, TerminationCause::Lost);
            } else {
                self.tell_way_is_free(dialog);
            }
        }
    }
}
