//! The server side of INVITE: new calls, CANCEL, our responses, ACK (RFC 3261 9.2, 13.3, 14.2).

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::dialogs::{DialogEntry, Unacked};
use super::key::{MergeKey, ServerKey, cseq_number, to_tag};
use super::route::Path;
use super::server::{NewServer, ServerKind};
use super::{Body, CommandError, DialogId, Endpoint, Event, IncomingId, Output, Reply};
use crate::dialog::Dialog;
use crate::message::{HeaderValue, Method, Request, StatusCode, Via};
use crate::net::{Destination, Source};
use crate::offer_answer::OfferAnswer;

/// A request of the peer and the answer the engine gives it.
struct Answered {
    id: IncomingId,
    is_first: bool,
    had_offer: bool,
    /// Our session description in the answer.
    sdp: Option<Body>,
    status: StatusCode,
    request: Arc<Request>,
}

impl Answered {
    fn changes_session(&self) -> bool {
        matches!(self.request.method, Method::Invite | Method::Update)
    }
}

impl Endpoint {
    pub(super) fn handle_first_invite(
        &mut self,
        now: Instant,
        request: Request,
        merge_key: Option<MergeKey>,
        via: Via,
        source: Source,
    ) {
        let local_tag = self.new_token();
        let dialog = match Dialog::for_uas(&request, &local_tag) {
            Ok(dialog) => dialog,
            Err(malformed) => {
                let reply = Reply::new(StatusCode::BAD_REQUEST).reason(&format!("Bad Request - {malformed}"));
                self.refuse(&request, &source, &reply);
                return;
            }
        };
        let mut offer_answer = OfferAnswer::default();
        // A fresh exchange refuses nothing.
        let offer = offer_answer.receive_request(request.sdp(), request.method == Method::Invite).unwrap_or(None);
        let request = Arc::new(request);
        let dialog_id = DialogId(self.new_id());
        let id = self.start_server(
            now,
            NewServer {
                request: request.clone(),
                merge_key,
                via,
                source,
                kind: ServerKind::FirstInvite,
                dialog: Some(dialog_id),
                has_offer: offer.is_some(),
                to_tag: local_tag,
            },
        );
        let mut entry = DialogEntry::new(dialog, Path::new(source.reply_path(), false, None), offer_answer);
        entry.note_abilities(&request.headers);
        entry.invite_rx = Some(id);
        entry.incoming.insert(id);
        self.insert_dialog(dialog_id, entry);
        self.event(Event::Invite { id, dialog: dialog_id, request, source, offer });
    }

    /// Sends a response to a request of the peer.
    ///
    /// For an INVITE: any number of provisional ones, then one final one. A 2xx is repeated until its ACK arrives, which `Acked` or
    /// `AckTimeout` tells; a final one from 300 ends the early dialog.
    ///
    /// # Errors
    /// When the request is unknown or answered, or a provisional response is not possible.
    pub fn respond(&mut self, now: Instant, id: IncomingId, mut reply: Reply) -> Result<(), CommandError> {
        let server = self.servers.get(&id).ok_or(CommandError::UnknownRequest)?;
        let Some(request) = server.request.clone().filter(|_| server.is_unanswered()) else {
            return Err(CommandError::Answered);
        };
        let (status, is_invite) = (reply.status, request.method == Method::Invite);
        if !is_invite && status.code() > 100 && status.is_provisional() {
            return Err(CommandError::WrongState("only INVITE has provisional responses"));
        }
        let (dialog_id, to_tag) = (server.dialog, server.to_tag.clone());
        let default_contact = default_contact(&server.source);
        let answered = Answered {
            id,
            is_first: server.kind == ServerKind::FirstInvite,
            had_offer: server.has_offer,
            sdp: reply.body.clone().filter(Body::is_sdp),
            status,
            request: request.clone(),
        };
        let mut contact = None;
        if let Some(entry) = dialog_id.and_then(|d| self.dialogs.get_mut(&d)) {
            if let Some(given) = &reply.contact {
                entry.contact = Some(HeaderValue::from(given.to_string()));
            }
            contact = Some(entry.contact.get_or_insert(default_contact).clone());
            if answered.had_offer && answered.sdp.is_some() && status.code() < 300 {
                entry.local_sdp.clone_from(&answered.sdp);
            }
            if status.is_success() && answered.changes_session() {
                entry.dialog.refresh_target(&request.headers);
                entry.accept_session_timer(now, &request, &mut reply, &self.config);
            }
        }
        let response = self.build_response(&request, &to_tag, &reply, contact.as_ref());
        let sent = self.send_response(now, id, &response).ok_or(CommandError::Answered)?;
        if let Some(dialog_id) = dialog_id.filter(|_| status.is_final()) {
            self.settle_answer(now, dialog_id, &answered, sent);
        }
        Ok(())
    }

    /// What a final response changes in its dialog.
    fn settle_answer(&mut self, now: Instant, dialog_id: DialogId, answered: &Answered, sent: (Destination, Bytes)) {
        let is_success = answered.status.is_success();
        if answered.is_first && !is_success {
            self.close_dialog(now, dialog_id);
            return;
        }
        let timers = self.config.timers;
        let Some(entry) = self.dialogs.get_mut(&dialog_id) else {
            return;
        };
        let is_invite = answered.request.method == Method::Invite;
        entry.incoming.remove(&answered.id);
        if answered.changes_session() {
            entry.offer_answer.send_final(answered.had_offer, is_success, answered.sdp.is_some(), is_invite);
        }
        // One refused because another is pending leaves that one pending.
        entry.invite_rx = entry.invite_rx.filter(|pending| *pending != answered.id);
        if is_invite && is_success {
            let (destination, bytes) = sent;
            entry.dialog.confirm_as_uas();
            entry.unacked = Some(Unacked {
                id: answered.id,
                cseq: cseq_number(&answered.request),
                offer: answered.sdp.clone().filter(|_| !answered.had_offer),
                destination,
                bytes,
                interval: timers.t1,
                resend_at: now + timers.t1,
                give_up_at: now + timers.patience(),
            });
        }
        self.schedule_dialog(dialog_id);
        self.tell_way_is_free(dialog_id);
    }

    pub(super) fn handle_ack(&mut self, now: Instant, request: Request, via: &Via) {
        let key = ServerKey::of(&request, via, Method::Invite);
        if let Some(id) = self.server_index.get(&key).copied()
            && self.absorbs_ack(now, id)
        {
            return;
        }
        let dialog_id = to_tag(&request).and_then(|tag| self.find_dialog(&request, &tag));
        let Some(dialog_id) = dialog_id else {
            self.stats.unmatched += 1;
            return;
        };
        let Some(entry) = self.dialogs.get_mut(&dialog_id) else {
            return;
        };
        let cseq = cseq_number(&request);
        let Some(unacked) = entry.unacked.take_if(|unacked| unacked.cseq == cseq) else {
            // A repeated ACK, as our 2xx crossed the first one.
            self.stats.retransmissions_received += 1;
            return;
        };
        let description = entry.offer_answer.receive_ack(request.sdp());
        if description.is_some() && unacked.offer.is_some() {
            entry.local_sdp.clone_from(&unacked.offer);
        }
        let pending_bye = entry.pending_bye.take();
        self.schedule_dialog(dialog_id);
        self.event(Event::Acked { dialog: dialog_id, id: unacked.id, request: Arc::new(request), description });
        match pending_bye {
            Some((id, headers)) => self.send_bye(now, dialog_id, id, headers),
            None => self.tell_way_is_free(dialog_id),
        }
    }

    /// The INVITE's Expires has run out (RFC 3261 13.3.1).
    pub(super) fn invitation_lapsed(&mut self, now: Instant, id: IncomingId) {
        let Some((dialog, request)) = self.servers.get(&id).and_then(|s| Some((s.dialog?, s.request.clone()?))) else {
            return;
        };
        // Unanswered, so this cannot fail.
        let _ = self.respond(now, id, Reply::new(StatusCode::REQUEST_TERMINATED));
        self.event(Event::Cancelled { id, dialog, request });
    }

    /// CANCEL is answered hop by hop and without state: a repeated one finds the same INVITE and gets the same answer.
    pub(super) fn handle_cancel(&mut self, now: Instant, request: Request, via: &Via, source: Source) {
        let key = ServerKey::of(&request, via, Method::Invite);
        let found = self.server_index.get(&key).and_then(|id| Some((*id, self.servers.get(id)?)));
        let Some((id, server)) = found else {
            self.refuse(&request, &source, &Reply::new(StatusCode::CALL_DOES_NOT_EXIST));
            return;
        };
        // RFC 3261 9.2: the same To tag as in the responses to the INVITE.
        let tag = server.to_tag.clone();
        let (kind, dialog) = (server.kind, server.dialog);
        let is_unanswered = server.is_unanswered();
        let ok = crate::message::Response::to_request(&request, StatusCode::OK, Some(&tag));
        self.send_stateless(ok, &source);
        let Some(dialog) = dialog.filter(|_| is_unanswered) else {
            return;
        };
        // Unanswered, so this cannot fail.
        let _ = self.respond(now, id, Reply::new(StatusCode::REQUEST_TERMINATED));
        let untold = |output: &Output| matches!(output, Output::Event(Event::Request { id: told, .. }) if *told == id);
        match (kind, self.outputs.iter().position(untold)) {
            (ServerKind::FirstInvite, _) => self.event(Event::Cancelled { id, dialog, request: Arc::new(request) }),
            // The engine, which would carry it out, has not heard of it yet.
            (ServerKind::ReInvite | ServerKind::Other, Some(at)) => drop(self.outputs.remove(at)),
            (ServerKind::ReInvite | ServerKind::Other, None) => self.event(Event::RequestCancelled { id, dialog }),
        }
    }
}

/// Where the request came to, as a Contact.
fn default_contact(source: &Source) -> HeaderValue {
    let protocol = source.protocol.as_str().to_ascii_lowercase();
    HeaderValue::from(match source.protocol {
        crate::net::Protocol::Udp => format!("<sip:{}>", source.local),
        _ => format!("<sip:{};transport={protocol}>", source.local),
    })
}
