//! Dialogs in their table, with what the user agent keeps beside the RFC's dialog state.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::client::{ClientId, Purpose};
use super::credentials::credentials;
use super::key::{ClientKey, cseq_number};
use super::outgoing::{Cancel, Kind, Outgoing};
use super::route::Path;
use super::schedule::Owner;
use super::session_timer::SessionTimer;
use super::{Body, CommandError, DialogId, Endpoint, Event, Failure, IncomingId, Reply, RequestId, TerminationCause};
use crate::dialog::Dialog;
use crate::message::{HeaderName, HeaderValue, Headers, Method, Request, StatusCode, Uri};
use crate::net::{Destination, FlowId, Protocol, Source};
use crate::offer_answer::OfferAnswer;

/// A 2xx of ours that waits for its ACK (RFC 3261 13.3.1.4).
#[derive(Debug)]
pub(super) struct Unacked {
    pub(super) id: IncomingId,
    pub(super) cseq: u32,
    /// Our offer in it, which the ACK may answer.
    pub(super) offer: Option<Body>,
    pub(super) destination: Destination,
    pub(super) bytes: Bytes,
    /// Doubles up to T2.
    pub(super) interval: Duration,
    pub(super) resend_at: Instant,
    pub(super) give_up_at: Instant,
}

/// The last ACK we sent for a 2xx, to be repeated with it.
#[derive(Debug)]
pub(super) struct SentAck {
    pub(super) cseq: u32,
    pub(super) destination: Destination,
    pub(super) bytes: Bytes,
}

/// A 2xx that carried an offer and waits for the engine's answer.
#[derive(Debug)]
pub(super) struct PendingAck {
    pub(super) cseq: u32,
    pub(super) credentials: Headers,
}

/// How long a BYE that found nobody is kept for a device that registers from elsewhere.
const UNHEARD_TIME: Duration = Duration::from_secs(120);
/// Those kept; past it the first is forgotten.
const MAX_UNHEARD: usize = 256;

/// A BYE that found nobody.
#[derive(Debug)]
pub(super) struct UnheardBye {
    /// Without Via.
    request: Request,
    owner: Arc<str>,
    destination: Destination,
    forget_at: Instant,
}

#[derive(Debug)]
pub(super) struct DialogEntry {
    pub(super) dialog: Dialog,
    pub(super) path: Path,
    /// Our Contact.
    pub(super) contact: Option<HeaderValue>,
    pub(super) offer_answer: OfferAnswer,
    /// The peer's INVITE without our final response.
    pub(super) invite_rx: Option<IncomingId>,
    /// Our INVITE without a final response.
    pub(super) invite_tx: Option<RequestId>,
    /// Requests of ours under way, the first INVITE excepted.
    pub(super) requests: BTreeSet<RequestId>,
    /// Requests of the peer that await an answer.
    pub(super) incoming: BTreeSet<IncomingId>,
    pub(super) unacked: Option<Unacked>,
    pub(super) pending_ack: Option<PendingAck>,
    pub(super) sent_ack: Option<SentAck>,
    /// A BYE that waits for the ACK of our 2xx (RFC 3261 15).
    pub(super) pending_bye: Option<(RequestId, Headers)>,
    pub(super) session_timer: Option<SessionTimer>,
    pub(super) glare_over: Option<Instant>,
    /// The engine had an INVITE or offer to send when something was in its way.
    pub(super) offer_waits: bool,
    /// Whether the peer's Allow names UPDATE.
    pub(super) peer_allows_update: bool,
    /// Our answer, or offer that was answered, of the last exchange, for a refreshing re-INVITE: it repeats what is agreed (RFC 4028 7.4).
    pub(super) local_sdp: Option<Body>,
}

impl DialogEntry {
    pub(super) fn new(dialog: Dialog, path: Path, offer_answer: OfferAnswer) -> DialogEntry {
        DialogEntry {
            dialog,
            path,
            contact: None,
            offer_answer,
            invite_rx: None,
            invite_tx: None,
            requests: BTreeSet::new(),
            incoming: BTreeSet::new(),
            unacked: None,
            pending_ack: None,
            sent_ack: None,
            pending_bye: None,
            session_timer: None,
            glare_over: None,
            offer_waits: false,
            peer_allows_update: false,
            local_sdp: None,
        }
    }

    /// Notes what a message of the peer says about its abilities.
    pub(super) fn note_abilities(&mut self, headers: &Headers) {
        if headers.contains(HeaderName::Allow) {
            self.peer_allows_update = headers.list_contains(HeaderName::Allow, Method::Update.as_str());
        }
    }

    /// Whether nothing is in the way of an INVITE of ours.
    pub(super) fn may_invite(&self) -> bool {
        let is_busy =
            self.invite_tx.is_some() || self.invite_rx.is_some() || self.unacked.is_some() || self.pending_ack.is_some();
        !is_busy && self.offer_answer.is_stable()
    }

    fn next_timeout(&self) -> Option<Instant> {
        let unacked = self.unacked.as_ref().map(|unacked| unacked.resend_at.min(unacked.give_up_at));
        let session = self.session_timer.as_ref().map(SessionTimer::next);
        [unacked, session, self.glare_over].into_iter().flatten().min()
    }
}

impl Endpoint {
    pub(super) fn insert_dialog(&mut self, id: DialogId, entry: DialogEntry) {
        self.dialog_index.insert(entry.dialog.key().clone(), id);
        if entry.path.symmetric {
            self.by_peer.insert((entry.path.peer.remote, id));
        }
        self.dialogs.insert(id, Box::new(entry));
    }

    pub(super) fn remove_dialog(&mut self, id: DialogId) -> Option<DialogEntry> {
        let mut entry = self.dialogs.remove(&id)?;
        self.dialog_index.remove(entry.dialog.key());
        if entry.path.symmetric {
            self.by_peer.remove(&(entry.path.peer.remote, id));
        }
        self.schedule.set(Owner::Dialog(id), None);
        entry.dialog.terminate();
        Some(*entry)
    }

    pub(super) fn schedule_dialog(&mut self, id: DialogId) {
        let next = self.dialogs.get(&id).and_then(|entry| entry.next_timeout());
        self.schedule.set(Owner::Dialog(id), next);
    }

    /// Ends a dialog and tells the engine why.
    pub(super) fn terminate_dialog(&mut self, now: Instant, id: DialogId, cause: TerminationCause) {
        if self.close_dialog(now, id) {
            self.event(Event::Terminated { dialog: id, cause });
        }
    }

    /// Ends a dialog: answers what the peer still waits for, and tells the engine about requests of ours that lost their dialog.
    pub(super) fn close_dialog(&mut self, now: Instant, id: DialogId) -> bool {
        let Some(entry) = self.remove_dialog(id) else {
            return false;
        };
        for incoming in &entry.incoming {
            // RFC 3261 15.1.2. One answered meanwhile stays answered.
            let _ = self.respond(now, *incoming, Reply::new(StatusCode::REQUEST_TERMINATED));
        }
        let mut orphans = Vec::new();
        for request in entry.requests {
            if let Some(outgoing) = self.requests.remove(&request) {
                self.schedule.set(Owner::Request(request), None);
                self.leave_ack(now, &entry.dialog, &entry.path, &outgoing);
                orphans.push(request);
            }
        }
        orphans.extend(entry.pending_bye.map(|(request, _)| request));
        for request in orphans {
            self.event(Event::Response { id: request, dialog: Some(id), outcome: Err(Failure::DialogEnded), description: None });
        }
        true
    }

    /// A re-INVITE outlives its dialog: a 2xx that still comes is to be acknowledged (RFC 3261 13.2.2.4).
    fn leave_ack(&mut self, now: Instant, dialog: &Dialog, path: &Path, outgoing: &Outgoing) {
        let destination = path.destinations(dialog).into_iter().next();
        let (Method::Invite, Some(client), Some(destination)) = (&outgoing.request.method, outgoing.client, destination) else {
            return;
        };
        let ack = dialog.ack(cseq_number(&outgoing.request));
        let ack = self.finish_ack(ack, &destination, &credentials(&outgoing.request), None);
        if let Some(client) = self.clients.get_mut(&client) {
            client.late_ack = Some((destination, ack));
        }
        self.limit_invite(now, client);
    }

    pub(super) fn dialog_timeout(&mut self, now: Instant, id: DialogId) {
        let t2 = self.config.timers.t2;
        let Some(entry) = self.dialogs.get_mut(&id) else {
            return;
        };
        if entry.unacked.as_ref().is_some_and(|unacked| unacked.give_up_at <= now) {
            self.give_up_on_ack(now, id);
            return;
        }
        let mut again = None;
        if let Some(unacked) = &mut entry.unacked
            && unacked.resend_at <= now
        {
            unacked.interval = (unacked.interval * 2).min(t2);
            unacked.resend_at = now + unacked.interval;
            again = Some((unacked.destination, unacked.bytes.clone()));
        }
        let glare_over = entry.glare_over.take_if(|at| *at <= now).is_some();
        entry.offer_waits &= !glare_over;
        if let Some((destination, bytes)) = again {
            self.stats.retransmissions_sent += 1;
            self.transmit(None, destination, bytes);
        }
        if glare_over {
            self.event(Event::GlareOver { dialog: id });
        }
        self.session_timeout(now, id);
        self.schedule_dialog(id);
    }

    fn give_up_on_ack(&mut self, now: Instant, id: DialogId) {
        let Some(entry) = self.dialogs.get_mut(&id) else {
            return;
        };
        let Some(unacked) = entry.unacked.take() else {
            return;
        };
        self.stats.ack_timeouts += 1;
        self.event(Event::AckTimeout { dialog: id, id: unacked.id });
        self.end_with_bye(now, id, TerminationCause::AckTimeout);
    }

    /// Whether requests in the dialog go to where the peer's messages come from instead of its Contact, as a peer behind NAT needs.
    ///
    /// # Errors
    /// When the dialog is unknown.
    pub fn set_symmetric(&mut self, dialog: DialogId, symmetric: bool) -> Result<(), CommandError> {
        let path = &mut self.entry(dialog)?.path;
        path.symmetric = symmetric;
        let place = (path.peer.remote, dialog);
        if symmetric {
            self.by_peer.insert(place)
        } else {
            self.by_peer.remove(&place)
        };
        Ok(())
    }

    /// Whose device the peer is: its dialog follows a device of nobody else.
    ///
    /// # Errors
    /// When the dialog is unknown.
    pub fn set_owner(&mut self, dialog: DialogId, owner: Arc<str>) -> Result<(), CommandError> {
        self.entry(dialog)?.path.owner = Some(owner);
        Ok(())
    }

    /// A device of `owner` with that Contact, whose messages came from `from`, has registered from elsewhere. Its dialogs that reach it
    /// where its messages come from follow it with what is under way in them (RFC 5626 5.3); a BYE without an answer goes there, too,
    /// even one that was given up. Devices of other owners behind one proxy may have the same Contact.
    pub fn peer_moved(&mut self, now: Instant, owner: &str, contact: &Uri, from: &Source, to: &Source) {
        let destination = to.reply_path();
        let range = (from.remote, DialogId(0))..=(from.remote, DialogId(u64::MAX));
        let there: Vec<DialogId> = self.by_peer.range(range).map(|(_, dialog)| *dialog).collect();
        for id in there {
            let is_it = self.dialogs.get(&id).is_some_and(|entry| {
                entry.path.peer.protocol == from.protocol
                    && entry.path.owner.as_deref() == Some(owner)
                    && is_same_user(entry.dialog.remote_target(), contact)
            });
            if is_it {
                self.set_peer(id, destination);
                if from.protocol == to.protocol {
                    self.move_transactions(now, id, from, destination);
                }
            }
        }
        let range = (from.remote, ClientId(0))..=(from.remote, ClientId(u64::MAX));
        let there: Vec<ClientId> = self.byes.range(range).map(|(_, bye)| *bye).collect();
        for client in there {
            if let Some(id) = self.unanswered_bye(client, from.protocol, owner, contact) {
                self.remove_client(client);
                self.send_to(now, id, destination);
            }
        }
        self.unheard_byes.retain(|bye| bye.forget_at > now);
        let is_unheard = |bye: &UnheardBye| {
            (bye.destination.remote, bye.destination.protocol) == (from.remote, from.protocol)
                && &*bye.owner == owner
                && is_same_user(&bye.request.uri, contact)
        };
        while let Some(at) = self.unheard_byes.iter().position(is_unheard) {
            let Some(bye) = self.unheard_byes.remove(at) else { return };
            let id = RequestId(self.new_id());
            let owner = Some(bye.owner);
            let again = Outgoing { owner, ..Outgoing::new(bye.request, Kind::OwnBye, None, vec![destination], false) };
            self.start_outgoing(now, id, again);
        }
    }

    /// The BYE of a transaction to that device, if nothing has come back.
    fn unanswered_bye(&self, client: ClientId, protocol: Protocol, owner: &str, contact: &Uri) -> Option<RequestId> {
        let client = self.clients.get(&client)?;
        let Purpose::Request(id) = client.purpose else { return None };
        let bye = self.requests.get(&id)?;
        let is_there = client.destination.protocol == protocol && client.machine.is_unanswered();
        (is_there && bye.owner.as_deref() == Some(owner) && is_same_user(&bye.request.uri, contact)).then_some(id)
    }

    /// A BYE found nobody: its device may come back from elsewhere.
    pub(super) fn keep_bye(&mut self, now: Instant, bye: &Outgoing) {
        let Some((destination, owner)) = bye.last_destination.zip(bye.owner.clone()) else {
            return;
        };
        if self.unheard_byes.len() >= MAX_UNHEARD {
            self.unheard_byes.pop_front();
        }
        let request = bye.request.clone();
        self.unheard_byes.push_back(UnheardBye { request, owner, destination, forget_at: now + UNHEARD_TIME });
    }

    /// What went to the peer's former place goes on at its new one, in the same transactions: our requests, our responses, and the CANCEL
    /// and ACK of an INVITE.
    fn move_transactions(&mut self, now: Instant, dialog: DialogId, from: &Source, to: Destination) {
        let was_there = |destination: &Destination| (destination.remote, destination.protocol) == (from.remote, from.protocol);
        let Some(entry) = self.dialogs.get_mut(&dialog) else {
            return;
        };
        if let Some(unacked) = entry.unacked.as_mut().filter(|unacked| was_there(&unacked.destination)) {
            unacked.destination = to;
        }
        if let Some(ack) = entry.sent_ack.as_mut().filter(|ack| was_there(&ack.destination)) {
            ack.destination = to;
        }
        for incoming in &entry.incoming {
            if let Some(server) = self.servers.get_mut(incoming).filter(|server| was_there(&server.destination)) {
                server.destination = to;
            }
        }
        let mut requests = entry.requests.clone();
        requests.extend(entry.invite_tx);
        for request in requests {
            let Some(outgoing) = self.requests.get_mut(&request) else { continue };
            let Some(id) = outgoing.client.filter(|id| self.clients.get(id).is_some_and(|client| was_there(&client.destination)))
            else {
                continue;
            };
            outgoing.last_destination = Some(to);
            let is_cancelled = outgoing.cancel == Cancel::Sent;
            self.move_client(id, to);
            if is_cancelled {
                self.move_cancel(now, request, id, to);
            }
        }
    }

    /// The CANCEL of an INVITE follows it, if it has not failed meanwhile: then another one goes out.
    fn move_cancel(&mut self, now: Instant, request: RequestId, invite: ClientId, to: Destination) {
        let branch = self.clients.get(&invite).map(|client| client.key.branch.clone());
        let cancel = branch.and_then(|branch| self.client_index.get(&ClientKey { branch, method: Method::Cancel }).copied());
        match (cancel, self.requests.get_mut(&request)) {
            (Some(cancel), _) => self.move_client(cancel, to),
            (None, Some(outgoing)) => {
                outgoing.cancel = Cancel::Wanted;
                self.send_cancel_if_possible(now, request);
            }
            (None, None) => {}
        }
    }

    /// Where the peer's messages come from now.
    pub(super) fn set_peer(&mut self, id: DialogId, peer: Destination) {
        let Some(path) = self.dialogs.get_mut(&id).map(|entry| &mut entry.path) else {
            return;
        };
        let before = std::mem::replace(&mut path.peer, peer);
        if before.flow != peer.flow {
            self.new_flows.extend(peer.flow);
        }
        if path.symmetric && before.remote != peer.remote {
            self.by_peer.remove(&(before.remote, id));
            self.by_peer.insert((peer.remote, id));
        }
    }

    /// Connections that peers of dialogs have come over since this was asked last: whoever knows a dialog has been let in before.
    pub fn take_new_flows(&mut self) -> Vec<FlowId> {
        std::mem::take(&mut self.new_flows)
    }

    /// The URI whose host the dialog's next request is meant for: first route or remote target.
    #[must_use]
    pub fn next_hop(&self, dialog: DialogId) -> Option<&Uri> {
        self.dialogs.get(&dialog).map(|entry| entry.dialog.next_hop())
    }

    /// Where the peer's last message in the dialog came from, or where our INVITE went.
    #[must_use]
    pub fn peer(&self, dialog: DialogId) -> Option<SocketAddr> {
        self.dialogs.get(&dialog).map(|entry| entry.path.peer.remote)
    }

    /// The dialog's state: tags, Call-ID, remote target.
    #[must_use]
    pub fn dialog(&self, dialog: DialogId) -> Option<&Dialog> {
        self.dialogs.get(&dialog).map(|entry| &entry.dialog)
    }

    pub(super) fn entry(&mut self, dialog: DialogId) -> Result<&mut DialogEntry, CommandError> {
        self.dialogs.get_mut(&dialog).map(Box::as_mut).ok_or(CommandError::UnknownDialog)
    }
}

/// Whether two URIs name one user of one host. Of what else a device says there, what it dials with differs from what it registers.
fn is_same_user(a: &Uri, b: &Uri) -> bool {
    match (a, b) {
        (Uri::Sip(a), Uri::Sip(b)) => a.user == b.user && a.host == b.host,
        _ => false,
    }
}
