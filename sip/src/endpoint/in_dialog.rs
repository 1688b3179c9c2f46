//! Requests inside dialogs, both ways (RFC 3261 12.2, 14, 15; RFC 3311).

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand_chacha::rand_core::Rng;

use super::dialogs::{PendingAck, SentAck};
use super::key::cseq_number;
use super::outgoing::{Kind, Outgoing};
use super::server::{NewServer, ServerKind};
use super::{Body, CommandError, DialogId, DialogRequest, Endpoint, Event, Reply, RequestId, TerminationCause};
use crate::dialog::DialogState;
use crate::message::{HeaderName, Headers, Method, Reason, Request, StatusCode, Via};
use crate::net::{Destination, Source};
use crate::offer_answer::{Description, OfferRefused};

impl Endpoint {
    /// A request of the peer that names a dialog of ours.
    pub(super) fn handle_in_dialog(&mut self, now: Instant, dialog: DialogId, request: Request, via: Via, source: Source) {
        // BYE must get through whatever happens; twice the limit bounds even a peer that floods its own dialog.
        if self.transaction_count() >= self.config.max_transactions.saturating_mul(2) {
            self.stats.overloaded += 1;
            let reply =
                Reply::new(StatusCode::SERVICE_UNAVAILABLE).header(HeaderName::RetryAfter, self.config.retry_after.to_string());
            self.respond_stateless(&request, &source, &reply);
            return;
        }
        let refusal = self.check_request(&request);
        let Some(entry) = self.dialogs.get_mut(&dialog) else {
            return;
        };
        let in_order = entry.dialog.accept_cseq(cseq_number(&request));
        let to_tag = entry.dialog.key().local_tag.clone();
        let is_invite = request.method == Method::Invite;
        let request = Arc::new(request);
        let id = self.start_server(
            now,
            NewServer {
                request: request.clone(),
                merge_key: None,
                via,
                source,
                kind: if is_invite { ServerKind::ReInvite } else { ServerKind::Other },
                dialog: Some(dialog),
                has_offer: false,
                to_tag,
            },
        );
        let refusal = match in_order {
            // RFC 3261 12.2.2 wants 500, and here no Retry-After: the same number will never be in order.
            Err(_) => Some(Reply::new(StatusCode::SERVER_INTERNAL_ERROR).reason("CSeq Out Of Order")),
            Ok(()) => refusal,
        };
        if let Some(reply) = refusal {
            self.stats.refused += 1;
            return self.answer(now, id, reply);
        }
        self.set_peer(dialog, source.reply_path());
        if let Some(entry) = self.dialogs.get_mut(&dialog) {
            entry.note_abilities(&request.headers);
        }
        match request.method {
            Method::Bye => {
                self.answer(now, id, Reply::new(StatusCode::OK));
                self.handle_bye(now, dialog, request);
                return;
            }
            Method::Options => return self.answer(now, id, Reply::new(StatusCode::OK)),
            // It refreshes target and session timer, which the answer does.
            Method::Update if request.body.is_empty() => return self.answer(now, id, Reply::new(StatusCode::OK)),
            _ => {}
        }
        let description = match self.admit_offer(dialog, &request) {
            Ok(description) => description,
            Err(refused) => {
                let reply = self.glare_reply(refused);
                return self.answer(now, id, reply);
            }
        };
        if let Some(entry) = self.dialogs.get_mut(&dialog) {
            entry.incoming.insert(id);
            if let Some(server) = self.servers.get_mut(&id) {
                server.has_offer = description.is_some();
            }
            if is_invite {
                entry.invite_rx = Some(id);
            }
        }
        self.event(Event::Request { id, dialog: Some(dialog), request, source, description });
    }

    fn answer(&mut self, now: Instant, id: super::IncomingId, reply: Reply) {
        // The transaction has just begun, so it can be answered.
        let _ = self.respond(now, id, reply);
    }

    /// Whether an INVITE or UPDATE may be handled now (RFC 3261 14.2, RFC 3311 5.2).
    fn admit_offer(&mut self, dialog: DialogId, request: &Request) -> Result<Option<Description>, OfferRefused> {
        let Some(entry) = self.dialogs.get_mut(&dialog) else {
            return Ok(None);
        };
        match request.method {
            Method::Invite if entry.invite_tx.is_some() => Err(OfferRefused::LocalPending),
            Method::Invite if entry.invite_rx.is_some() => Err(OfferRefused::RemotePending),
            Method::Invite | Method::Update => {
                entry.offer_answer.receive_request(request.sdp(), request.method == Method::Invite)
            }
            _ => Ok(None),
        }
    }

    fn glare_reply(&mut self, refused: OfferRefused) -> Reply {
        match refused {
            OfferRefused::LocalPending => Reply::new(StatusCode::REQUEST_PENDING),
            OfferRefused::RemotePending => {
                let seconds = self.rng.next_u32() % 11;
                Reply::new(StatusCode::SERVER_INTERNAL_ERROR).header(HeaderName::RetryAfter, seconds.to_string())
            }
        }
    }

    fn handle_bye(&mut self, now: Instant, dialog: DialogId, request: Arc<Request>) {
        let Some(entry) = self.dialogs.get(&dialog) else {
            return;
        };
        let first_invite = entry.invite_rx.filter(|_| entry.dialog.state() == DialogState::Early);
        if let Some(id) = first_invite {
            // A caller may give up an early dialog with BYE in place of CANCEL (RFC 3261 15).
            self.answer(now, id, Reply::new(StatusCode::REQUEST_TERMINATED));
            self.event(Event::Cancelled { id, dialog, request });
            return;
        }
        self.terminate_dialog(now, dialog, TerminationCause::Bye(request));
    }

    /// Sends a request in a dialog: re-INVITE, UPDATE, INFO, MESSAGE, REFER, NOTIFY, OPTIONS …; for BYE use [`bye`](Endpoint::bye).
    ///
    /// Its responses come as `Response`. A re-INVITE's 2xx is acknowledged at once, unless it carries an offer that `ack` must answer.
    ///
    /// # Errors
    /// When the dialog is unknown or not confirmed (INVITE), or an INVITE or offer is under way (`Pending`): `GlareOver` follows that.
    pub fn request(&mut self, now: Instant, dialog: DialogId, request: DialogRequest) -> Result<RequestId, CommandError> {
        let sent = self.send_in_dialog(now, dialog, request);
        if sent == Err(CommandError::Pending) {
            self.entry(dialog)?.offer_waits = true;
        }
        sent
    }

    /// Tells the engine that what was in the way of its offer is over, where that is so.
    pub(super) fn tell_way_is_free(&mut self, dialog: DialogId) {
        if let Some(entry) = self.dialogs.get_mut(&dialog)
            && entry.glare_over.is_none()
            && entry.may_invite()
            && std::mem::take(&mut entry.offer_waits)
        {
            self.event(Event::GlareOver { dialog });
        }
    }

    pub(super) fn send_in_dialog(
        &mut self,
        now: Instant,
        dialog: DialogId,
        mut request: DialogRequest,
    ) -> Result<RequestId, CommandError> {
        if self.transaction_count() >= self.config.max_transactions.saturating_mul(2) {
            return Err(CommandError::Overloaded);
        }
        let entry = self.entry(dialog)?;
        let is_invite = request.method == Method::Invite;
        let makes_offer =
            request.body.as_ref().is_some_and(Body::is_sdp) && matches!(request.method, Method::Invite | Method::Update);
        match request.method {
            Method::Ack | Method::Bye | Method::Cancel => {
                return Err(CommandError::WrongState("ACK, BYE and CANCEL have commands of their own"));
            }
            Method::Invite => {
                if entry.dialog.state() != DialogState::Confirmed {
                    return Err(CommandError::WrongState("a re-INVITE needs a confirmed dialog"));
                }
                if !entry.may_invite() {
                    return Err(CommandError::Pending);
                }
            }
            _ if makes_offer && !entry.offer_answer.is_stable() => {
                return Err(CommandError::Pending);
            }
            _ => {}
        }
        if entry.pending_bye.is_some() {
            return Err(CommandError::WrongState("a BYE is pending"));
        }
        if matches!(request.method, Method::Invite | Method::Update)
            && let Some(timer) = &entry.session_timer
            && !request.headers.contains(HeaderName::SessionExpires)
        {
            // Left out, the timer would end with this request (RFC 4028 7.4).
            request.headers.push(HeaderName::SessionExpires, timer.ask().to_string());
        }
        let mut message = entry.dialog.request(request.method.clone());
        let attempts = entry.path.destinations(&entry.dialog);
        let may_use_tcp = entry.path.target(&entry.dialog).is_some();
        let contact = entry.contact.clone().filter(|_| has_contact(&request.method));
        if makes_offer {
            entry.offer_answer.send_offer();
        }
        let id = RequestId(self.new_id());
        self.complete_request(&mut message, contact, &request.headers, request.body, 70);
        let entry = self.entry(dialog)?;
        entry.requests.insert(id);
        if is_invite {
            entry.invite_tx = Some(id);
        }
        let outgoing = Outgoing { may_use_tcp, ..Outgoing::new(message, Kind::InDialog, Some(dialog), attempts, makes_offer) };
        self.start_outgoing(now, id, outgoing);
        Ok(id)
    }

    /// Ends a confirmed dialog. `Terminated` follows; the outcome of the BYE itself comes as `Response`.
    ///
    /// When a 2xx of ours still waits for its ACK, the BYE waits for it too (RFC 3261 15). A late offer that was not answered is
    /// acknowledged without one first.
    ///
    /// # Errors
    /// When the dialog is unknown, or early: reject or cancel its INVITE then.
    pub fn bye(&mut self, now: Instant, dialog: DialogId, headers: Headers) -> Result<RequestId, CommandError> {
        let entry = self.entry(dialog)?;
        if entry.dialog.state() != DialogState::Confirmed {
            return Err(CommandError::WrongState("an early dialog is not ended by BYE"));
        }
        if entry.pending_bye.is_some() {
            return Err(CommandError::WrongState("a BYE is pending"));
        }
        let must_ack = entry.pending_ack.is_some();
        let must_wait = entry.unacked.is_some();
        let id = RequestId(self.new_id());
        if must_ack {
            self.ack(now, dialog, Headers::new(), None)?;
        }
        if must_wait {
            self.entry(dialog)?.pending_bye = Some((id, headers));
        } else {
            self.send_bye(now, dialog, id, headers);
        }
        Ok(id)
    }

    pub(super) fn send_bye(&mut self, now: Instant, dialog: DialogId, id: RequestId, headers: Headers) {
        self.start_bye(now, dialog, id, Kind::InDialog, &headers);
        self.terminate_dialog(now, dialog, TerminationCause::LocalBye);
    }

    /// A BYE of the endpoint's own accord. One the engine asked for earlier takes its place.
    pub(super) fn end_with_bye(&mut self, now: Instant, dialog: DialogId, cause: TerminationCause) {
        let Some(entry) = self.dialogs.get_mut(&dialog) else {
            return;
        };
        match entry.pending_bye.take() {
            Some((id, headers)) => self.start_bye(now, dialog, id, Kind::InDialog, &headers),
            None => {
                let id = RequestId(self.new_id());
                let mut headers = Headers::new();
                if let Some(reason) = reason_of(&cause) {
                    headers.push(HeaderName::Reason, reason.to_string());
                }
                self.start_bye(now, dialog, id, Kind::OwnBye, &headers);
            }
        }
        self.terminate_dialog(now, dialog, cause);
    }

    fn start_bye(&mut self, now: Instant, dialog: DialogId, id: RequestId, kind: Kind, headers: &Headers) {
        let Some(entry) = self.dialogs.get_mut(&dialog) else {
            return;
        };
        let mut bye = entry.dialog.request(Method::Bye);
        let attempts = entry.path.destinations(&entry.dialog);
        let may_use_tcp = entry.path.target(&entry.dialog).is_some();
        let owner = entry.path.owner.clone();
        self.complete_request(&mut bye, None, headers, None, 70);
        let outgoing = Outgoing { may_use_tcp, owner, ..Outgoing::new(bye, kind, Some(dialog), attempts, false) };
        self.start_outgoing(now, id, outgoing);
    }

    /// Acknowledges a 2xx that carried an offer, with the answer in `body`. Takes the time like every command, though no timer starts.
    ///
    /// # Errors
    /// When the dialog is unknown, or no 2xx waits for this.
    pub fn ack(&mut self, _now: Instant, dialog: DialogId, headers: Headers, body: Option<Body>) -> Result<(), CommandError> {
        let entry = self.entry(dialog)?;
        let pending = entry.pending_ack.take().ok_or(CommandError::WrongState("no 2xx waits for an ACK"))?;
        let mut extra = pending.credentials;
        extra.extend(&headers);
        self.send_ack(dialog, pending.cseq, &extra, body);
        self.tell_way_is_free(dialog);
        Ok(())
    }

    /// The ACK of a 2xx: a request without a transaction, repeated with its 2xx (RFC 3261 13.2.2.4).
    pub(super) fn send_ack(&mut self, dialog: DialogId, cseq: u32, headers: &Headers, body: Option<Body>) {
        let Some(entry) = self.dialogs.get_mut(&dialog) else {
            return;
        };
        entry.offer_answer.send_ack();
        if body.as_ref().is_some_and(Body::is_sdp) {
            entry.local_sdp.clone_from(&body);
        }
        let ack = entry.dialog.ack(cseq);
        let Some(destination) = entry.path.destinations(&entry.dialog).into_iter().next() else {
            return;
        };
        let bytes = self.finish_ack(ack, &destination, headers, body);
        if let Some(entry) = self.dialogs.get_mut(&dialog) {
            entry.sent_ack = Some(SentAck { cseq, destination, bytes: bytes.clone() });
        }
        self.transmit(None, destination, bytes);
    }

    /// The ACK of a 2xx as it is sent.
    pub(super) fn finish_ack(
        &mut self,
        mut ack: Request,
        destination: &Destination,
        headers: &Headers,
        body: Option<Body>,
    ) -> Bytes {
        self.complete_request(&mut ack, None, headers, body, 70);
        let branch = self.new_branch();
        let via = self.via(destination, &branch);
        ack.headers.push_front(HeaderName::Via, via.to_string());
        ack.to_bytes()
    }

    /// A 2xx for an INVITE of ours: acknowledge now, or let the engine answer the offer in it.
    pub(super) fn acknowledge(&mut self, dialog: DialogId, invite: &Request, description: Option<&Description>) {
        let cseq = cseq_number(invite);
        let credentials = super::credentials::credentials(invite);
        let has_offer = description.is_some_and(|d| d.role == crate::offer_answer::Role::Offer);
        if has_offer {
            if let Some(entry) = self.dialogs.get_mut(&dialog) {
                entry.pending_ack = Some(PendingAck { cseq, credentials });
            }
        } else {
            self.send_ack(dialog, cseq, &credentials, None);
        }
    }

    /// How long to wait after a 491 (RFC 3261 14.1): 2.1–4 s for the side that made the Call-ID, 0–2 s for the other, in steps of 10 ms.
    pub(super) fn glare_wait(&mut self, made_call_id: bool) -> Duration {
        let (first, steps) = if made_call_id { (2100, 191) } else { (0, 201) };
        Duration::from_millis(first + 10 * u64::from(self.rng.next_u32() % steps))
    }
}

/// Why the endpoint ends a dialog by itself, for the peer (RFC 3326).
fn reason_of(cause: &TerminationCause) -> Option<Reason> {
    let text = match cause {
        TerminationCause::SessionExpired => "Session Expired",
        TerminationCause::AckTimeout => "No ACK",
        TerminationCause::Bye(_) | TerminationCause::LocalBye | TerminationCause::Lost | TerminationCause::InviteOver => {
            return None;
        }
    };
    let cause = Some(StatusCode::REQUEST_TIMEOUT.code());
    Some(Reason { protocol: "SIP".to_owned(), cause, text: Some(text.to_owned()) })
}

/// Methods that refresh the target, and those whose peer will send requests back (RFC 3261 table 3, RFC 3311, RFC 3515).
fn has_contact(method: &Method) -> bool {
    matches!(method, Method::Invite | Method::Update | Method::Refer | Method::Notify | Method::Subscribe)
}
