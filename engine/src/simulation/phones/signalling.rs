//! What the endpoints of phones report, and what phones make of it.

use std::sync::Arc;
use std::time::Instant;

use lockstep_sip::endpoint::{Body, DialogId, Event, Failure, IncomingId, Output, Reply, RequestId};
use lockstep_sip::message::{Headers, Method, Request, Response, StatusCode};
use lockstep_sip::offer_answer::{Description, Role};

use super::call::{Call, State};
use super::{PhoneCallId, PhoneId, Phones};
use crate::phone::{Ended, EndedBy, credentials, ended_by, terminated_by};
use crate::simulation::network::Packet;

impl Phones {
    /// Empties the endpoint of a phone.
    pub(super) fn drain_phone(&mut self, now: Instant, id: PhoneId) {
        loop {
            let Some(phone) = self.phones.get_mut(id.0) else { return };
            match phone.endpoint.poll_output() {
                Output::Transmit(transmit) => {
                    let from = transmit.destination.local.unwrap_or(phone.address);
                    let bytes = transmit.bytes.as_ref().into();
                    self.outbox.packets.push_back(Packet { from, to: transmit.destination.remote, bytes });
                }
                Output::Event(event) => self.event(now, id, event),
                Output::Timeout(deadline) => {
                    phone.deadline = deadline;
                    phone.dirty = false;
                    return;
                }
            }
        }
    }

    fn event(&mut self, now: Instant, phone: PhoneId, event: Event) {
        match event {
            Event::Invite { id, dialog, request, offer, .. } => self.invited(now, phone, id, dialog, &request, offer),
            Event::Cancelled { id, .. } => {
                if let Some(call) = self.find(phone, |call| call.came_as(id)) {
                    self.end(now, call, Ended::new(487, "Cancelled", EndedBy::Remote));
                }
            }
            Event::Acked { dialog, id, description, .. } => self.acked(now, phone, dialog, id, description),
            Event::Progress { id, response, description, .. } => {
                let Some(call) = self.find(phone, |call| call.sent_request(id)) else { return };
                let Some(call) = self.calls.get_mut(call.0) else { return };
                // An early description that cannot be used is not the end: the one of the 200 counts.
                let early = description.is_some_and(|description| call.take_answer(now, &description.sdp).is_ok());
                let (code, reason) = (response.status.code(), response.reason.text().into_owned());
                call.see(now, format!("{code} {reason}{}", if early { ", with audio" } else { "" }));
                call.progress.push((code, reason));
            }
            Event::Answered { id, dialog, description, .. } => self.answered(now, phone, id, dialog, description),
            Event::Challenged { id, request, response } => self.challenged(now, phone, id, &request, &response),
            Event::Failed { id, failure } => {
                if let Some(call) = self.find(phone, |call| call.sent_request(id)) {
                    self.end(now, call, ended_by(&failure));
                }
            }
            Event::Request { id, dialog, request, description, .. } => {
                self.requested(now, phone, id, dialog, &request, description);
            }
            Event::Response { id, outcome, description, .. } => self.responded(now, phone, id, outcome, description),
            Event::Terminated { dialog, cause } => {
                if let Some(call) = self.find(phone, |call| call.dialog() == Some(dialog)) {
                    self.end(now, call, terminated_by(&cause));
                }
            }
            // `Terminated` follows the first; the others leave the call as it was.
            Event::AckTimeout { .. } | Event::RequestCancelled { .. } | Event::GlareOver { .. } => {}
        }
    }

    fn find(&self, phone: PhoneId, is_it: impl Fn(&Call) -> bool) -> Option<PhoneCallId> {
        let found = |id: &&PhoneCallId| self.calls.get(id.0).is_some_and(|call| call.phone == phone && is_it(call));
        self.live.iter().find(found).copied()
    }

    /// A request that was answered in the meantime needs no answer of ours.
    fn reply(&mut self, now: Instant, phone: PhoneId, id: IncomingId, reply: Reply) {
        if let Some(phone) = self.phones.get_mut(phone.0) {
            let _ = phone.endpoint.respond(now, id, reply);
        }
    }

    fn bye(&mut self, now: Instant, phone: PhoneId, call: PhoneCallId, dialog: DialogId) {
        let sent = self.phones.get_mut(phone.0).is_some_and(|phone| phone.endpoint.bye(now, dialog, Headers::new()).is_ok());
        // `Terminated` follows and ends the call.
        if !sent {
            self.end(now, call, Ended::new(200, "OK", EndedBy::Local));
        }
    }

    fn invited(
        &mut self,
        now: Instant,
        phone: PhoneId,
        invite: IncomingId,
        dialog: DialogId,
        request: &Arc<Request>,
        offer: Option<Description>,
    ) {
        let user = |address: Option<Result<&lockstep_sip::message::NameAddr, _>>| {
            address.and_then(Result::ok).and_then(|address| address.uri.user().map(|user| user.into_owned())).unwrap_or_default()
        };
        let (from, to) = (user(request.headers.from()), user(request.headers.to()));
        let sip_call_id = request.headers.call_id().map(|value| value.text().into_owned()).unwrap_or_default();
        let headers = request.headers.iter().map(|header| (header.name.to_string(), header.value.text().into_owned())).collect();
        let state = State::Offered { id: invite, dialog, offer: offer.map(|offer| offer.sdp.to_vec()) };
        match self.open_call(now, phone, false, state, from, to, sip_call_id, headers) {
            Ok(id) => {
                if let Some(call) = self.calls.get_mut(id.0) {
                    let from = call.from.clone();
                    call.see(now, format!("rings: a call from {from}"));
                }
                if let Some(phone) = self.phones.get_mut(phone.0) {
                    phone.incoming.push_back(id);
                }
                self.reply(now, phone, invite, Reply::new(StatusCode::RINGING));
            }
            Err(_) => self.reply(now, phone, invite, Reply::new(StatusCode::SERVICE_UNAVAILABLE)),
        }
    }

    fn acked(&mut self, now: Instant, phone: PhoneId, dialog: DialogId, invite: IncomingId, description: Option<Description>) {
        let Some(id) = self.find(phone, |call| call.dialog() == Some(dialog)) else { return };
        let Some(call) = self.calls.get_mut(id.0) else { return };
        if let Some(answer) = description.filter(|description| description.role == Role::Answer)
            && call.take_answer(now, &answer.sdp).is_err()
        {
            return self.bye(now, phone, id, dialog);
        }
        if call.came_as(invite) {
            call.state = State::Up { dialog };
            call.answered = Some(now);
            call.see(now, "answered");
        }
    }

    fn answered(&mut self, now: Instant, phone: PhoneId, request: RequestId, dialog: DialogId, description: Option<Description>) {
        let Some(id) = self.find(phone, |call| call.sent_request(request)) else { return };
        let (Some(call), Some(endpoint)) =
            (self.calls.get_mut(id.0), self.phones.get_mut(phone.0).map(|phone| &mut phone.endpoint))
        else {
            return;
        };
        call.state = State::Up { dialog };
        let agreed = match description {
            Some(Description { role: Role::Offer, sdp }) => match call.answer(now, &sdp) {
                Ok(answer) => endpoint.ack(now, dialog, Headers::new(), Some(Body::sdp(answer))).is_ok(),
                Err(_) => false,
            },
            Some(Description { role: Role::Answer | Role::AnswerAgain, sdp }) => call.take_answer(now, &sdp).is_ok(),
            None => call.negotiated().is_some(),
        };
        if agreed {
            call.answered = Some(now);
            call.see(now, "200 answered");
        } else {
            call.see(now, "answered without an audio description that can be used");
            self.bye(now, phone, id, dialog);
        }
    }

    fn challenged(&mut self, now: Instant, phone: PhoneId, id: RequestId, request: &Request, response: &Response) {
        let call = self.find(phone, |call| call.sent_request(id));
        let Some(phone) = self.phones.get_mut(phone.0) else { return };
        if let Some(registration) = phone.registration.as_mut().filter(|registration| registration.sent(id)) {
            registration.handle_response(now, &mut phone.endpoint, response);
            // The registration sends a REGISTER of its own; this one is over.
            let _ = phone.endpoint.abandon(now, id);
            return;
        }
        let call = call.and_then(|call| self.calls.get_mut(call.0));
        let headers = call.and_then(|call| credentials(call.auth.as_mut()?, request, response));
        let resent = headers.is_some_and(|headers| phone.endpoint.resend_with(now, id, &headers).is_ok());
        if !resent {
            // `Failed` follows, with the challenge as the reason.
            let _ = phone.endpoint.abandon(now, id);
        }
    }

    fn requested(
        &mut self,
        now: Instant,
        phone: PhoneId,
        incoming: IncomingId,
        dialog: Option<DialogId>,
        request: &Request,
        description: Option<Description>,
    ) {
        let call = dialog.and_then(|dialog| self.find(phone, |call| call.dialog() == Some(dialog)));
        let call = call.and_then(|id| self.calls.get_mut(id.0));
        let reply = match (&request.method, call) {
            (Method::Invite | Method::Update, Some(call)) => match (description, &request.method) {
                (Some(offer), _) => match call.answer(now, &offer.sdp) {
                    Ok(answer) => Reply::new(StatusCode::OK).body(Body::sdp(answer)),
                    Err(_) => Reply::new(StatusCode::NOT_ACCEPTABLE_HERE),
                },
                (None, Method::Invite) => Reply::new(StatusCode::OK).body(Body::sdp(call.offer())),
                (None, _) => Reply::new(StatusCode::OK),
            },
            (Method::Info, Some(call)) => {
                call.see(now, format!("INFO {}", String::from_utf8_lossy(&request.body).trim().replace("\r\n", ", ")));
                Reply::new(StatusCode::OK)
            }
            (Method::Message, Some(_)) | (Method::Options, _) => Reply::new(StatusCode::OK),
            _ => Reply::new(StatusCode::NOT_IMPLEMENTED),
        };
        self.reply(now, phone, incoming, reply);
    }

    fn responded(
        &mut self,
        now: Instant,
        phone: PhoneId,
        id: RequestId,
        outcome: Result<Arc<Response>, Failure>,
        description: Option<Description>,
    ) {
        let call = self.find(phone, |call| call.sent_request(id));
        let Some(phone) = self.phones.get_mut(phone.0) else { return };
        if let Some(registration) = phone.registration.as_mut().filter(|registration| registration.sent(id)) {
            return match outcome {
                Ok(response) => registration.handle_response(now, &mut phone.endpoint, &response),
                Err(failure) => registration.handle_failure(now, &mut phone.endpoint, &failure),
            };
        }
        let Some(call) = call.and_then(|call| self.calls.get_mut(call.0)) else { return };
        match outcome {
            Ok(response) if !response.status.is_final() => return,
            Ok(response) if response.status.is_success() => {
                if let Some(answer) = description {
                    // What was agreed before goes on where the new description is of no use.
                    let _ = call.take_answer(now, &answer.sdp);
                }
            }
            Ok(_) | Err(_) => call.withdraw_offer(),
        }
        call.reinvite = None;
    }
}
