//! Responses to our first INVITE: proxies may have sent it to several phones, each with a dialog of its own (RFC 3261 13.2.2.4).

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::dialogs::DialogEntry;
use super::key::cseq_number;
use super::outgoing::{Cancel, Kind, Outgoing};
use super::route::Path;
use super::{Body, DialogId, Endpoint, Event, Failure, RequestId, TerminationCause};
use crate::dialog::{Dialog, DialogKey};
use crate::message::{HeaderName, HeaderValue, Headers, Method, Request, Response, StatusCode};
use crate::net::Destination;
use crate::offer_answer::{Description, OfferAnswer};

/// The branches of one INVITE of ours.
#[derive(Debug)]
pub(super) struct Forks {
    contact: HeaderValue,
    symmetric: bool,
    owner: Option<Arc<str>>,
    offer: Option<Body>,
    /// Early dialogs, and after the answer the one that won.
    dialogs: Vec<(String, DialogId)>,
    answered: Option<String>,
    /// Branches whose 2xx came too late, with the ACK to repeat.
    lost: Vec<(String, Bytes, Destination)>,
    /// `Answered` or `Failed` has been told.
    is_over: bool,
}

impl Forks {
    pub(super) fn new(contact: HeaderValue, symmetric: bool, owner: Option<Arc<str>>, offer: Option<Body>) -> Forks {
        Forks { contact, symmetric, owner, offer, dialogs: Vec::new(), answered: None, lost: Vec::new(), is_over: false }
    }

    /// Those of an INVITE that was given up for its silence: nobody is told of them.
    pub(super) fn given_up(&self) -> Forks {
        Forks { is_over: true, ..Forks::new(self.contact.clone(), self.symmetric, self.owner.clone(), None) }
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    fn dialog(&self, tag: &str) -> Option<DialogId> {
        self.dialogs.iter().find(|(t, _)| t == tag).map(|(_, dialog)| *dialog)
    }
}

impl Endpoint {
    pub(super) fn first_invite_response(&mut self, now: Instant, id: RequestId, response: Arc<Response>) {
        let status = response.status;
        if status.is_success() {
            self.first_invite_success(now, id, response);
        } else if status.is_final() {
            let is_cancelled = self.requests.get(&id).is_some_and(|o| o.cancel != Cancel::No);
            let failure = if is_cancelled { Failure::Cancelled } else { Failure::Response(response) };
            self.finish_invite(now, id, failure);
        } else {
            self.send_cancel_if_possible(now, id);
            if status != StatusCode::TRYING {
                self.first_invite_progress(id, response);
            }
        }
    }

    fn first_invite_progress(&mut self, id: RequestId, response: Arc<Response>) {
        let is_cancelled = self.requests.get(&id).is_some_and(|o| o.cancel != Cancel::No);
        if is_cancelled {
            return;
        }
        let tag = to_tag(&response);
        let dialog = if tag.is_empty() {
            None
        } else {
            match self.fork(id, &tag, &response) {
                Some(dialog) => Some(dialog),
                // Past the bound on branches: as if it had never come.
                None => return,
            }
        };
        let description = dialog.and_then(|d| self.fork_description(id, d, &response));
        self.event(Event::Progress { id, dialog, response, description });
    }

    fn first_invite_success(&mut self, now: Instant, id: RequestId, response: Arc<Response>) {
        let tag = to_tag(&response);
        let Some(outgoing) = self.requests.get_mut(&id) else {
            return;
        };
        let is_cancelled = outgoing.cancel != Cancel::No;
        let Kind::FirstInvite(forks) = &mut outgoing.kind else {
            return;
        };
        if forks.answered.as_ref() == Some(&tag) {
            self.acknowledge_again(&response);
            return;
        }
        if let Some((_, ack, destination)) = forks.lost.iter().find(|(t, _, _)| *t == tag) {
            let (ack, destination) = (ack.clone(), *destination);
            self.stats.retransmissions_sent += 1;
            self.transmit(None, destination, ack);
            return;
        }
        if forks.answered.is_some() || is_cancelled {
            self.end_lost_fork(now, id, tag, &response);
            if is_cancelled {
                self.tell_failure(now, id, Failure::Cancelled);
            }
            return;
        }
        let Some(dialog) = self.fork(id, &tag, &response) else {
            self.end_lost_fork(now, id, tag, &response);
            self.tell_failure(now, id, Failure::Unusable);
            return;
        };
        self.answer_fork(now, id, tag, dialog, response);
    }

    fn answer_fork(&mut self, now: Instant, id: RequestId, tag: String, dialog: DialogId, response: Arc<Response>) {
        let Some(outgoing) = self.requests.get_mut(&id) else {
            return;
        };
        let Some(invite) = outgoing.client.and_then(|c| self.clients.get(&c)).map(|c| c.request.clone()) else {
            return;
        };
        let Kind::FirstInvite(forks) = &mut outgoing.kind else {
            return;
        };
        forks.answered = Some(tag);
        forks.is_over = true;
        // Kept only for late answers of other branches, which need the request as it was sent.
        outgoing.request.headers = Headers::new();
        let losers: Vec<DialogId> = forks.dialogs.iter().map(|(_, d)| *d).filter(|d| *d != dialog).collect();
        forks.dialogs.retain(|(_, d)| *d == dialog);
        if let Some(entry) = self.dialogs.get_mut(&dialog) {
            entry.dialog.confirm_as_uac(&response);
            entry.note_abilities(&response.headers);
            entry.take_session_timer(now, &response.headers);
            entry.invite_tx = None;
        }
        let description = self.fork_description(id, dialog, &response);
        self.acknowledge(dialog, &invite, description.as_ref());
        self.schedule_dialog(dialog);
        for loser in losers {
            self.terminate_dialog(now, loser, TerminationCause::InviteOver);
        }
        self.event(Event::Answered { id, dialog, response, description });
    }

    fn fork_description(&mut self, id: RequestId, dialog: DialogId, response: &Response) -> Option<Description> {
        let had_offer = self.requests.get(&id)?.had_offer;
        let status = response.status;
        self.dialogs.get_mut(&dialog)?.offer_answer.receive_response(
            response.sdp(),
            status.is_final(),
            status.is_success(),
            had_offer,
        )
    }

    /// The dialog of the branch with that tag, made if new; `None` past the bounds or when the response cannot be read.
    fn fork(&mut self, id: RequestId, tag: &str, response: &Response) -> Option<DialogId> {
        let outgoing = self.requests.get_mut(&id)?;
        let Kind::FirstInvite(forks) = &mut outgoing.kind else {
            return None;
        };
        match forks.dialog(tag) {
            Some(dialog) if self.dialogs.contains_key(&dialog) => return Some(dialog),
            // The peer ended that early dialog by BYE and goes on in a new one all the same.
            Some(_) => forks.dialogs.retain(|(t, _)| t != tag),
            None => {}
        }
        if forks.dialogs.len() >= self.config.max_forks || self.dialogs.len() >= self.config.max_dialogs {
            return None;
        }
        let client = self.clients.get(&outgoing.client?)?;
        let dialog = Dialog::for_uac(&client.request, response).ok()?;
        let mut offer_answer = OfferAnswer::default();
        if outgoing.had_offer {
            offer_answer.send_offer();
        }
        let path = Path::new(client.destination, forks.symmetric, forks.owner.clone());
        let mut entry = DialogEntry::new(dialog, path, offer_answer);
        entry.contact = Some(forks.contact.clone());
        entry.local_sdp.clone_from(&forks.offer);
        entry.invite_tx = Some(id);
        entry.note_abilities(&response.headers);
        self.last_id += 1;
        let dialog = DialogId(self.last_id);
        forks.dialogs.push((tag.to_owned(), dialog));
        self.insert_dialog(dialog, entry);
        Some(dialog)
    }

    /// Of the early dialogs of an INVITE of ours that are left, the one begun last.
    #[must_use]
    pub fn early_dialog(&self, invite: RequestId) -> Option<DialogId> {
        let Kind::FirstInvite(forks) = &self.requests.get(&invite)?.kind else {
            return None;
        };
        forks.dialogs.iter().map(|(_, dialog)| *dialog).rfind(|dialog| self.dialogs.contains_key(dialog))
    }

    /// A branch that answered although another won or we cancelled: ACK, then BYE (RFC 3261 13.2.2.4, 9.1).
    fn end_lost_fork(&mut self, now: Instant, id: RequestId, tag: String, response: &Response) {
        let max_forks = self.config.max_forks;
        let Some(outgoing) = self.requests.get_mut(&id) else {
            return;
        };
        let Some(client) = outgoing.client.and_then(|c| self.clients.get(&c)) else {
            return;
        };
        let Kind::FirstInvite(forks) = &mut outgoing.kind else {
            return;
        };
        if forks.lost.len() >= max_forks {
            return;
        }
        let dialog = Dialog::for_uac(&client.request, response).or_else(|_| {
            // Without a route that can be read, straight to its Contact.
            let mut bare = response.clone();
            bare.headers.remove(HeaderName::RecordRoute);
            Dialog::for_uac(&client.request, &bare)
        });
        let Ok(mut dialog) = dialog else {
            return;
        };
        dialog.confirm_as_uac(response);
        let invite: Arc<Request> = client.request.clone();
        let path = Path::new(client.destination, forks.symmetric, forks.owner.clone());
        let Some(destination) = path.destinations(&dialog).into_iter().next() else {
            return;
        };
        let ack = dialog.ack(cseq_number(&invite));
        let ack = self.finish_ack(ack, &destination, &super::credentials::credentials(&invite), None);
        self.transmit(None, destination, ack.clone());
        let mut bye = dialog.request(Method::Bye);
        self.complete_request(&mut bye, None, &Headers::new(), None, 70);
        let bye_id = RequestId(self.new_id());
        let bye = Outgoing { owner: path.owner, ..Outgoing::new(bye, Kind::OwnBye, None, vec![destination], false) };
        self.start_outgoing(now, bye_id, bye);
        if let Some(Kind::FirstInvite(forks)) = self.requests.get_mut(&id).map(|o| &mut o.kind) {
            forks.lost.push((tag, ack, destination));
        }
    }

    /// The INVITE is over without a call and nothing more can come of it.
    pub(super) fn finish_invite(&mut self, now: Instant, id: RequestId, failure: Failure) {
        self.tell_failure(now, id, failure);
        self.requests.remove(&id);
    }

    /// Tells the engine that the INVITE failed; its transaction may go on to collect late answers.
    fn tell_failure(&mut self, now: Instant, id: RequestId, failure: Failure) {
        self.drop_forks(now, id);
        let Some(Kind::FirstInvite(forks)) = self.requests.get_mut(&id).map(|o| &mut o.kind) else {
            return;
        };
        if !forks.is_over {
            forks.is_over = true;
            self.event(Event::Failed { id, failure });
        }
    }

    /// Ends the early dialogs of an INVITE; an answered one is left alone.
    pub(super) fn drop_forks(&mut self, now: Instant, id: RequestId) {
        let Some(Kind::FirstInvite(forks)) = self.requests.get_mut(&id).map(|o| &mut o.kind) else {
            return;
        };
        if forks.answered.is_some() {
            return;
        }
        for (_, dialog) in std::mem::take(&mut forks.dialogs) {
            self.terminate_dialog(now, dialog, TerminationCause::InviteOver);
        }
    }

    /// A 2xx again: its ACK was lost. The ACK goes out again, if the dialog still lives and has sent one.
    pub(super) fn acknowledge_again(&mut self, response: &Response) {
        let is_invite_success =
            response.status.is_success() && matches!(response.headers.cseq(), Some(Ok(cseq)) if cseq.method == Method::Invite);
        let ack = is_invite_success.then(|| self.sent_ack(response)).flatten();
        match ack {
            Some((destination, bytes)) => {
                self.stats.retransmissions_sent += 1;
                self.transmit(None, destination, bytes);
            }
            None => self.stats.unmatched += 1,
        }
    }

    fn sent_ack(&self, response: &Response) -> Option<(Destination, Bytes)> {
        let from = response.headers.from()?.ok()?;
        let cseq = response.headers.cseq()?.ok()?;
        let key = DialogKey {
            call_id: response.headers.call_id()?.clone(),
            local_tag: from.tag()?.to_owned(),
            remote_tag: to_tag(response),
        };
        let entry = self.dialogs.get(self.dialog_index.get(&key)?)?;
        let ack = entry.sent_ack.as_ref()?;
        (ack.cseq == cseq.number).then(|| (ack.destination, ack.bytes.clone()))
    }
}

/// Empty when there is none.
fn to_tag(response: &Response) -> String {
    match response.headers.to() {
        Some(Ok(to)) => to.tag().unwrap_or_default().to_owned(),
        Some(Err(_)) | None => String::new(),
    }
}
