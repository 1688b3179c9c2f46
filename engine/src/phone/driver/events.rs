//! What the softphone's endpoint reports, and what becomes of it.

use std::sync::Arc;
use std::time::Instant;

use lockstep_sip::endpoint::{Body, DialogId, Event, Failure, IncomingId, Reply, RequestId};
use lockstep_sip::message::{Headers, Method, Request, Response, StatusCode};
use lockstep_sip::net::Source;
use lockstep_sip::offer_answer::{Description, Role};
use tokio::sync::mpsc;

use super::Driver;
use crate::phone::call::{Call, State};
use crate::phone::event::{Ended, EndedBy, PhoneEvent};
use crate::phone::handle::PhoneCall;
use crate::phone::outcome::{credentials, ended_by, terminated_by};

impl Driver {
    pub(super) fn event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Invite { id, dialog, request, source, offer } => self.invited(now, id, dialog, &request, source, offer),
            Event::Cancelled { id, .. } => {
                if let Some(call) = self.find(|call| call.came_as(id)) {
                    self.end(call, Ended::new(487, "Cancelled", EndedBy::Remote));
                }
            }
            Event::Acked { dialog, id, description, .. } => self.acked(now, dialog, id, description),
            Event::Progress { id, response, description, .. } => self.progress(id, &response, description),
            Event::Answered { id, dialog, description, .. } => self.answered(now, id, dialog, description),
            Event::Challenged { id, request, response } => self.challenged(now, id, &request, &response),
            Event::Failed { id, failure } => {
                if let Some(call) = self.find(|call| call.sent(id)) {
                    self.end(call, ended_by(&failure));
                }
            }
            Event::Request { id, dialog, request, description, .. } => self.requested(now, id, dialog, &request, description),
            Event::Response { id, outcome, description, .. } => self.responded(now, id, outcome, description),
            Event::GlareOver { dialog } => {
                if let Some(id) = self.find(|call| call.glare && call.dialog() == Some(dialog)) {
                    if let Some(call) = self.calls.get_mut(&id) {
                        call.glare = false;
                    }
                    self.reinvite(now, id);
                }
            }
            Event::Terminated { dialog, cause } => {
                if let Some(call) = self.find(|call| call.dialog() == Some(dialog)) {
                    self.end(call, terminated_by(&cause));
                }
            }
            // `Terminated` follows the first; the second leaves the call as it was.
            Event::AckTimeout { .. } | Event::RequestCancelled { .. } => {}
        }
    }

    fn invited(
        &mut self,
        now: Instant,
        invite: IncomingId,
        dialog: DialogId,
        request: &Arc<Request>,
        source: Source,
        offer: Option<Description>,
    ) {
        let id = self.new_id();
        let parties = (request.headers.from(), request.headers.to());
        let ((Some(Ok(from)), Some(Ok(to))), Ok((description, media, heard))) = (parties, self.open_media(id, source.local))
        else {
            self.respond(now, invite, Reply::new(StatusCode::SERVICE_UNAVAILABLE));
            return;
        };
        let (events_sender, events) = mpsc::unbounded_channel();
        let state = State::Offered { id: invite, dialog, offer: offer.map(|offer| offer.sdp.to_vec()) };
        self.calls.insert(id, Call::new(state, description, media, events_sender));
        let call = PhoneCall {
            id,
            commands: self.commands.clone(),
            events,
            heard,
            from: from.clone(),
            to: to.clone(),
            sip_call_id: request.headers.call_id().map(|value| value.text().into_owned()).unwrap_or_default(),
            headers: request.headers.iter().map(|header| (header.name.to_string(), header.value.text().into_owned())).collect(),
        };
        // A phone whose handle is gone hangs up by dropping the call.
        let _ = self.incoming.send(call);
    }

    fn acked(&mut self, now: Instant, dialog: DialogId, invite: IncomingId, description: Option<Description>) {
        let Some(id) = self.find(|call| call.dialog() == Some(dialog)) else { return };
        let Some(call) = self.calls.get_mut(&id) else { return };
        if let Some(answer) = description.filter(|description| description.role == Role::Answer)
            && call.take_answer(&answer.sdp).is_err()
        {
            return self.bye(now, id, dialog);
        }
        if call.came_as(invite) {
            call.state = State::Up { dialog };
            call.tell(PhoneEvent::Answered { codec: call.codec() });
        }
    }

    fn progress(&mut self, id: RequestId, response: &Response, description: Option<Description>) {
        let Some(call) = self.find(|call| call.sent(id)).and_then(|id| self.calls.get_mut(&id)) else { return };
        // An early description that cannot be used is not the end: the one of the 200 counts.
        let early_media = description.is_some_and(|description| call.take_answer(&description.sdp).is_ok());
        let (code, reason) = (response.status.code(), response.reason.text().into_owned());
        call.tell(PhoneEvent::Progress { code, reason, early_media });
    }

    fn answered(&mut self, now: Instant, request: RequestId, dialog: DialogId, description: Option<Description>) {
        let Some(id) = self.find(|call| call.sent(request)) else { return };
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.state = State::Up { dialog };
        let agreed = match description {
            Some(Description { role: Role::Offer, sdp }) => match call.answer(&sdp) {
                Ok(answer) => self.endpoint.ack(now, dialog, Headers::new(), Some(Body::sdp(answer))).is_ok(),
                Err(_) => false,
            },
            Some(Description { role: Role::Answer | Role::AnswerAgain, sdp }) => call.take_answer(&sdp).is_ok(),
            None => call.codec().is_some(),
        };
        if agreed {
            call.tell(PhoneEvent::Answered { codec: call.codec() });
        } else {
            self.bye(now, id, dialog);
        }
    }

    fn challenged(&mut self, now: Instant, id: RequestId, request: &Request, response: &Response) {
        if let Some(registration) = self.registrations.iter_mut().find(|registration| registration.sent(id)) {
            registration.handle_response(now, &mut self.endpoint, response);
            // The registration sends a REGISTER of its own; this one is over.
            let _ = self.endpoint.abandon(now, id);
            return;
        }
        let call = self.find(|call| call.sent(id)).and_then(|id| self.calls.get_mut(&id));
        let headers = call.and_then(|call| credentials(call.auth.as_mut()?, request, response));
        let resent = headers.is_some_and(|headers| self.endpoint.resend_with(now, id, &headers).is_ok());
        if !resent {
            // `Failed` follows, with the challenge as the reason.
            let _ = self.endpoint.abandon(now, id);
        }
    }

    fn requested(
        &mut self,
        now: Instant,
        incoming: IncomingId,
        dialog: Option<DialogId>,
        request: &Request,
        description: Option<Description>,
    ) {
        let call =
            dialog.and_then(|dialog| self.find(|call| call.dialog() == Some(dialog))).and_then(|id| self.calls.get_mut(&id));
        let reply = match (&request.method, call) {
            (Method::Invite | Method::Update, Some(call)) => match (description, &request.method) {
                (Some(offer), _) => match call.answer(&offer.sdp) {
                    Ok(answer) => Reply::new(StatusCode::OK).body(Body::sdp(answer)),
                    Err(_) => Reply::new(StatusCode::NOT_ACCEPTABLE_HERE),
                },
                (None, Method::Invite) => Reply::new(StatusCode::OK).body(Body::sdp(call.offer())),
                (None, _) => Reply::new(StatusCode::OK),
            },
            (Method::Info | Method::Message, Some(_)) | (Method::Options, _) => Reply::new(StatusCode::OK),
            _ => Reply::new(StatusCode::NOT_IMPLEMENTED),
        };
        self.respond(now, incoming, reply);
    }

    fn responded(
        &mut self,
        now: Instant,
        id: RequestId,
        outcome: Result<Arc<Response>, Failure>,
        description: Option<Description>,
    ) {
        self.outstanding.remove(&id);
        if let Some(registration) = self.registrations.iter_mut().find(|registration| registration.sent(id)) {
            return match outcome {
                Ok(response) => registration.handle_response(now, &mut self.endpoint, &response),
                Err(failure) => registration.handle_failure(now, &mut self.endpoint, &failure),
            };
        }
        let Some(call_id) = self.find(|call| call.sent(id)) else { return };
        let Some(call) = self.calls.get_mut(&call_id) else { return };
        match outcome {
            Ok(response) if !response.status.is_final() => return,
            Ok(response) if response.status.is_success() => {
                if let Some(answer) = description {
                    // What was agreed before goes on where the new description is of no use.
                    let _ = call.take_answer(&answer.sdp);
                }
            }
            Ok(response) => {
                call.withdraw_offer();
                call.glare = response.status == StatusCode::REQUEST_PENDING;
            }
            Err(_) => call.withdraw_offer(),
        }
        call.reinvite = None;
        if std::mem::take(&mut call.reinvite_again) {
            self.reinvite(now, call_id);
        }
    }
}
