//! Events of the SIP endpoint, as far as they concern the legs of calls.

use std::sync::Arc;

use lockstep_ctx_api::wire::{LogLevel, LogLine};
use lockstep_sip::endpoint::{DialogId, Event, Failure, IncomingId, Reply, RequestId, TerminationCause};
use lockstep_sip::message::{HeaderName, Headers, Method, Request, Response, StatusCode};
use lockstep_sip::offer_answer::{Description, Role};

use super::exchange::{Invite, LegKey};
use super::outgoing;
use super::switch::Switch;
use super::timeline::Direction;
use crate::call::{BranchId, LegEvent, LegId, OfferId, digit_of_info};

impl Switch {
    /// Takes one event of the endpoint.
    pub(super) fn sip_event(&mut self, event: Event) {
        match event {
            Event::Invite { id, dialog, request, source, offer } => {
                self.incoming_invite(id, dialog, &request, source, offer.map(|offer| offer.sdp));
            }
            Event::Cancelled { dialog, request, .. } => {
                let (code, reason) = reason_of(&request.headers).unwrap_or((487, "Request Terminated".to_owned()));
                // A CANCEL's Reason says why the caller gave up; that it did is a 487 all the same.
                let code = if code < 400 { 487 } else { code };
                let leg = self.exchange.borrow().dialogs.get(&dialog).copied();
                self.tell_dialog(dialog, &format!("{}", request.method), LegEvent::Over { code, reason, by_peer: true });
                if let Some(leg) = leg {
                    // The endpoint has answered the INVITE by itself (RFC 3261 9.2).
                    self.exchange.borrow_mut().note(leg, Direction::Out, "487 Request Terminated");
                }
            }
            Event::Acked { dialog, description, .. } => {
                let sdp = description.map(|description| description.sdp);
                self.tell_dialog(dialog, "ACK", LegEvent::Acked { sdp });
            }
            // `Terminated` follows and says so.
            Event::AckTimeout { .. } => {}
            Event::Progress { id, dialog, response, description } => {
                let Some(leg) = self.exchange.borrow().requests.get(&id).copied() else { return };
                self.bind_early_dialog(leg, dialog);
                let code = response.status.code();
                let sdp = dialog.zip(description).map(|(dialog, description)| (BranchId(dialog.0), description.sdp));
                if sdp.is_some() {
                    self.follow(leg, dialog);
                }
                self.tell_leg(leg, &status_line(&response), LegEvent::Progress { code, sdp });
            }
            Event::Answered { id, dialog, response, description } => {
                let Some(leg) = self.exchange.borrow().requests.get(&id).copied() else {
                    return self.end_unwanted(id, dialog, &response);
                };
                self.bind_early_dialog(leg, Some(dialog));
                {
                    let mut exchange = self.exchange.borrow_mut();
                    // Of a carrier; a user's device is reached where it registered from anyway.
                    exchange.route_dialog(dialog, false);
                    if let Some(link) = exchange.links.get_mut(&leg) {
                        link.answered = true;
                    }
                }
                let sdp = description.map(|description| description.sdp);
                self.tell_leg(leg, &status_line(&response), LegEvent::Answered { branch: BranchId(dialog.0), sdp });
            }
            Event::Challenged { id, request, response } => {
                if self.trunks.owns(id) {
                    // The registration takes the refusal and sends a REGISTER of its own with credentials.
                    let mut exchange = self.exchange.borrow_mut();
                    let now = exchange.now.instant;
                    if let Err(error) = exchange.endpoint.abandon(now, id) {
                        tracing::debug!(%error, "a challenged REGISTER was over already");
                    }
                } else if self.messages.owns(id) {
                    self.messages.challenged(&mut self.exchange.borrow_mut(), id, &request, &response);
                } else {
                    outgoing::challenged(&mut self.exchange.borrow_mut(), id, &request, &response);
                }
            }
            Event::Failed { id, failure } => {
                let (code, reason) = failure_of(&failure);
                let line = format!("{code} {reason}");
                let given_up = self.exchange.borrow_mut().given_up.remove(&id);
                if let Some(leg) = given_up {
                    self.exchange.borrow_mut().note(leg, Direction::In, line.as_str());
                }
                let Some(leg) = self.exchange.borrow_mut().requests.remove(&id) else { return };
                outgoing::heed_retry_after(&mut self.exchange.borrow_mut(), leg, &failure);
                let goes_elsewhere = outgoing::goes_elsewhere(&mut self.exchange.borrow_mut(), leg, &failure);
                let by_peer = !matches!(failure, Failure::Transport);
                let event = match goes_elsewhere {
                    true => LegEvent::Elsewhere { code, reason },
                    false => LegEvent::Failed { code, reason, by_peer },
                };
                self.tell_leg(leg, &line, event);
            }
            Event::Request { id, dialog: Some(dialog), request, description, .. } => {
                self.dialog_request(id, dialog, &request, description);
            }
            Event::Request { id, dialog: None, request, source, .. } => self.outside_request(id, &request, source),
            // The offer was withdrawn before we answered it, and we answer at once.
            Event::RequestCancelled { .. } => {}
            Event::GlareOver { dialog } => {
                let leg = self.exchange.borrow().dialogs.get(&dialog).copied();
                if let Some(leg) = leg {
                    self.leg_event(leg, LegEvent::MayOffer);
                }
            }
            Event::Response { id, dialog, outcome, description } => {
                let offer = self.exchange.borrow().offers.get(&id).copied();
                if let Some(leg) = offer {
                    return self.offer_outcome(leg, id, &outcome, description);
                }
                let key = self.exchange.borrow().infos.get(&id).copied();
                if let Some(leg) = key {
                    return self.key_outcome(leg, id, &outcome);
                }
                if let (Some(dialog), Some(description)) = (dialog, description) {
                    return self.refreshed(dialog, description);
                }
                let mut exchange = self.exchange.borrow_mut();
                self.trunks.handle_outcome(&mut exchange, id, &outcome);
                self.probes.handle_outcome(&mut exchange, id, &outcome);
                self.messages.handle_outcome(&mut exchange, id, &outcome);
            }
            Event::Terminated { dialog, cause } => {
                self.terminated(dialog, &cause);
                // A leg has an early dialog for each branch of its INVITE, and forgets only the one it talks in.
                self.exchange.borrow_mut().dialogs.remove(&dialog);
            }
        }
    }

    /// An answer of a party who was given up before we learned of it: nobody is there to talk to.
    fn end_unwanted(&mut self, id: RequestId, dialog: DialogId, response: &Response) {
        let mut exchange = self.exchange.borrow_mut();
        let now = exchange.now.instant;
        if let Some(leg) = exchange.given_up.remove(&id) {
            exchange.note(leg, Direction::In, status_line(response));
            exchange.note(leg, Direction::Out, "BYE");
        }
        if let Err(error) = exchange.endpoint.bye(now, dialog, Headers::new()) {
            tracing::debug!(%error, "a dialog that nobody wanted was over already");
        }
    }

    /// A response to a re-INVITE of ours.
    fn offer_outcome(
        &mut self,
        leg: LegKey,
        id: RequestId,
        outcome: &Result<Arc<Response>, Failure>,
        description: Option<Description>,
    ) {
        let refused = |(code, reason): (u16, String)| {
            (format!("{code} {reason}"), LegEvent::OfferRefused { again: code == 491, code, reason })
        };
        let (line, event) = match outcome {
            Ok(response) if response.status.is_provisional() => {
                return self.exchange.borrow_mut().note(leg, Direction::In, status_line(response));
            }
            Ok(response) if response.status.is_success() => {
                let sdp = description.map(|description| description.sdp);
                (status_line(response), LegEvent::OfferAnswered { sdp })
            }
            Ok(response) => refused(response_code(response)),
            Err(failure) => refused(failure_of(failure)),
        };
        self.exchange.borrow_mut().offers.remove(&id);
        self.tell_leg(leg, &line, event);
    }

    /// A response to an INFO of ours. That a key was refused is for whoever writes the script: another method may do.
    fn key_outcome(&mut self, leg: LegKey, id: RequestId, outcome: &Result<Arc<Response>, Failure>) {
        let refusal = match outcome {
            Ok(response) if response.status.is_provisional() => return,
            Ok(response) => (!response.status.is_success()).then(|| response_code(response)),
            Err(Failure::DialogEnded) => None,
            Err(failure) => Some(failure_of(failure)),
        };
        self.exchange.borrow_mut().infos.remove(&id);
        if let Some((code, reason)) = refusal {
            self.exchange.borrow_mut().note(leg, Direction::In, format!("{code} {reason}"));
            let text = format!("sendDtmf: the INFO was refused: {code} {reason}");
            self.log_line(leg.0, &LogLine { level: LogLevel::Warn, text, at: None });
        }
    }

    /// The endpoint has refreshed a session by re-INVITE, and this is the answer.
    fn refreshed(&mut self, dialog: DialogId, description: Description) {
        let leg = self.exchange.borrow().dialogs.get(&dialog).copied();
        if let Some(leg) = leg.filter(|_| description.role == Role::Answer) {
            self.leg_event(leg, LegEvent::Refreshed { sdp: description.sdp });
        }
    }

    fn dialog_request(&mut self, id: IncomingId, dialog: DialogId, request: &Request, description: Option<Description>) {
        let Some(leg) = self.exchange.borrow().dialogs.get(&dialog).copied() else {
            return self.answer_at_once(id, Reply::new(StatusCode::CALL_DOES_NOT_EXIST));
        };
        self.exchange.borrow_mut().note(leg, Direction::In, request.method.as_str());
        match request.method {
            Method::Invite | Method::Update => {
                let offer = description.filter(|description| description.role == Role::Offer).map(|offer| offer.sdp);
                if request.method == Method::Update && offer.is_none() {
                    // A session refresh without an offer changes nothing (RFC 4028 7.4).
                    return self.answer_at_once(id, Reply::new(StatusCode::OK));
                }
                self.follow(leg, Some(dialog));
                self.leg_event(leg, LegEvent::Offer { offer: OfferId(id.0), branch: BranchId(dialog.0), sdp: offer });
            }
            Method::Info => {
                let content_type =
                    request.headers.get(HeaderName::ContentType).map(|value| value.text().into_owned()).unwrap_or_default();
                match digit_of_info(&content_type, &request.body) {
                    Some((digit, duration_ms)) => {
                        self.answer_at_once(id, Reply::new(StatusCode::OK));
                        self.leg_event(leg, LegEvent::Digit { digit, duration_ms });
                    }
                    None if request.headers.get("Info-Package").is_some() => {
                        let reply = Reply::new(StatusCode::BAD_INFO_PACKAGE).header("Recv-Info", "");
                        self.answer_at_once(id, reply);
                    }
                    // An INFO without a body asks whether we are there (RFC 2976 2.2).
                    None if request.body.is_empty() => self.answer_at_once(id, Reply::new(StatusCode::OK)),
                    None => {
                        let reply = Reply::new(StatusCode::UNSUPPORTED_MEDIA_TYPE)
                            .header(HeaderName::Accept, "application/dtmf-relay, application/dtmf");
                        self.answer_at_once(id, reply);
                    }
                }
            }
            _ => self.answer_at_once(id, Reply::new(StatusCode::NOT_IMPLEMENTED)),
        }
    }

    pub(super) fn answer_at_once(&mut self, id: IncomingId, reply: Reply) {
        let mut exchange = self.exchange.borrow_mut();
        let now = exchange.now.instant;
        if let Err(error) = exchange.endpoint.respond(now, id, reply) {
            tracing::debug!(%error, "a request was over before it was answered");
        }
    }

    /// Refuses a request of whoever has not been let in.
    pub(super) fn refuse_without_state(&mut self, id: IncomingId, reply: &Reply) {
        let mut exchange = self.exchange.borrow_mut();
        let now = exchange.now.instant;
        if let Err(error) = exchange.endpoint.refuse_without_state(now, id, reply) {
            tracing::debug!(%error, "a request was over before it was refused");
        }
    }

    fn terminated(&mut self, dialog: DialogId, cause: &TerminationCause) {
        let (line, code, reason, by_peer) = match cause {
            TerminationCause::Bye(request) => {
                let (code, reason) = reason_of(&request.headers).unwrap_or((200, "Normal Clearing".to_owned()));
                let branch = self.branch_of(dialog);
                if let Some((leg, invite)) = branch {
                    return self.branch_over(leg, dialog, invite, code, reason);
                }
                ("BYE", code, reason, true)
            }
            TerminationCause::AckTimeout => ("no ACK", 408, "No ACK".to_owned(), false),
            TerminationCause::SessionExpired => ("session expired", 408, "Session Expired".to_owned(), false),
            TerminationCause::Lost => ("dialog lost", 481, "Call Does Not Exist".to_owned(), false),
            // We ended it ourselves, or the INVITE's own outcome says it.
            TerminationCause::LocalBye | TerminationCause::InviteOver => return,
        };
        self.tell_dialog(dialog, line, LegEvent::Over { code, reason, by_peer });
    }

    /// The leg and the INVITE that an early dialog is a branch of.
    fn branch_of(&self, dialog: DialogId) -> Option<(LegKey, RequestId)> {
        let exchange = self.exchange.borrow();
        let leg = *exchange.dialogs.get(&dialog)?;
        let link = exchange.links.get(&leg).filter(|link| !link.answered)?;
        match link.invite {
            Some(Invite::Outgoing { id }) => Some((leg, id)),
            Some(Invite::Incoming { .. }) | None => None,
        }
    }

    /// A callee's BYE before its answer, though RFC 3261 15 keeps it from that: with the last branch the INVITE is given up.
    fn branch_over(&mut self, leg: LegKey, dialog: DialogId, invite: RequestId, code: u16, reason: String) {
        {
            let mut exchange = self.exchange.borrow_mut();
            exchange.note(leg, Direction::In, "BYE");
            let other = exchange.endpoint.early_dialog(invite);
            let followed = exchange.links.get_mut(&leg).and_then(|link| {
                link.dialog = other;
                link.described_by.take_if(|described_by| *described_by == dialog)
            });
            if other.is_some() {
                drop(exchange);
                if followed.is_some() {
                    self.leg_event(leg, LegEvent::BranchOver);
                }
                return;
            }
            if let Err(error) = exchange.cancel(leg, invite, Headers::new()) {
                tracing::debug!(%error, "an INVITE was over before it was given up");
            }
        }
        // The INVITE has failed, whatever a BYE without a cause would say of a call that was up.
        let (code, reason) = if code < 300 { (480, "Temporarily Unavailable".to_owned()) } else { (code, reason) };
        self.tell(leg, LegEvent::Failed { code, reason, by_peer: true });
    }

    fn tell_dialog(&mut self, dialog: DialogId, line: &str, event: LegEvent) {
        let leg = self.exchange.borrow().dialogs.get(&dialog).copied();
        if let Some(leg) = leg {
            self.tell_leg(leg, line, event);
        }
    }

    fn tell_leg(&mut self, leg: LegKey, line: &str, event: LegEvent) {
        self.exchange.borrow_mut().note(leg, Direction::In, line);
        self.tell(leg, event);
    }

    fn tell(&mut self, leg: LegKey, event: LegEvent) {
        let is_over = matches!(event, LegEvent::Over { .. } | LegEvent::Failed { .. });
        self.leg_event(leg, event);
        // A call that dials again and again must not keep what every attempt has left behind.
        if is_over && leg.1 != LegId::A {
            self.exchange.borrow_mut().forget_leg(leg);
        }
    }

    /// The media of a leg follow what is said in this dialog.
    fn follow(&mut self, leg: LegKey, dialog: Option<DialogId>) {
        if let Some(link) = self.exchange.borrow_mut().links.get_mut(&leg) {
            link.described_by = dialog;
        }
    }

    /// Forking gives one dialog per branch; requests of ours go to the latest until one answers.
    fn bind_early_dialog(&mut self, leg: LegKey, dialog: Option<DialogId>) {
        let Some(dialog) = dialog else { return };
        let mut exchange = self.exchange.borrow_mut();
        let Some(link) = exchange.links.get_mut(&leg) else { return };
        link.dialog = Some(dialog);
        exchange.dialogs.insert(dialog, leg);
    }
}

/// The SIP cause of a Reason header; a Q.850 cause stands for the status RFC 3398 maps it to.
fn reason_of(headers: &Headers) -> Option<(u16, String)> {
    let reasons = headers.reasons();
    let of = |protocol: &str| reasons.iter().find(|reason| reason.protocol.eq_ignore_ascii_case(protocol));
    if let Some(reason) = of("SIP") {
        let code = reason.cause.filter(|code| (100..700).contains(code)).unwrap_or(200);
        return Some((code, reason.text.clone().unwrap_or_default()));
    }
    let reason = of("Q.850")?;
    let code = match reason.cause? {
        1..=3 => 404,
        17 => 486,
        18 => 408,
        19 | 20 | 31 => 480,
        21 => 403,
        22 => 410,
        27 => 502,
        28 => 484,
        34 | 38 | 41 | 42 | 47 => 503,
        _ => 200,
    };
    Some((code, reason.text.clone().unwrap_or_else(|| "Normal Clearing".to_owned())))
}

fn status_line(response: &Response) -> String {
    format!("{} {}", response.status.code(), response.reason.text())
}

pub(super) fn failure_of(failure: &Failure) -> (u16, String) {
    match failure {
        Failure::Response(response) => response_code(response),
        Failure::Timeout => (408, "Request Timeout".to_owned()),
        Failure::Transport => (503, "Service Unavailable".to_owned()),
        Failure::Cancelled => (487, "Request Terminated".to_owned()),
        Failure::Unusable => (502, "Bad Gateway".to_owned()),
        Failure::DialogEnded => (481, "Call Does Not Exist".to_owned()),
    }
}

fn response_code(response: &Arc<Response>) -> (u16, String) {
    let phrase = response.reason.text();
    let phrase = if phrase.is_empty() { response.status.default_reason().into() } else { phrase };
    (response.status.code(), phrase.into_owned())
}
