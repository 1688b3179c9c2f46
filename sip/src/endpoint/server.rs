//! Server transactions in their table: matching, answering, retransmitting.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::key::{MergeKey, ServerKey};
use super::schedule::Owner;
use super::{DialogId, Endpoint, IncomingId};
use crate::message::{Method, Request, Response, StatusCode, Via};
use crate::net::{Destination, Source};
use crate::transaction::{AckAction, ServerInviteTransaction, ServerNonInviteTransaction, ServerTimeout};

/// A provisional response is repeated this often, so that no proxy on the way gives up (RFC 3261 13.3.1.1).
const PROVISIONAL_REFRESH: Duration = Duration::from_secs(60);

/// An invitation that stays open longer than this, in seconds, stays open until somebody ends it.
const LONGEST_INVITATION: u64 = 86_400;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServerKind {
    /// The INVITE that makes the dialog.
    FirstInvite,
    ReInvite,
    Other,
}

#[derive(Debug)]
enum ServerMachine {
    Invite(ServerInviteTransaction),
    NonInvite(ServerNonInviteTransaction),
}

#[derive(Debug)]
pub(super) struct Server {
    key: ServerKey,
    merge_key: Option<MergeKey>,
    machine: ServerMachine,
    /// Let go with the final response: a busy hour leaves very many transactions that only absorb repetitions.
    pub(super) request: Option<Arc<Request>>,
    pub(super) source: Source,
    pub(super) destination: Destination,
    /// The last response, to be repeated with its request.
    last: Option<Bytes>,
    pub(super) kind: ServerKind,
    pub(super) dialog: Option<DialogId>,
    /// An INVITE or UPDATE whose description was admitted as an offer.
    pub(super) has_offer: bool,
    pub(super) to_tag: String,
    refresh_at: Option<Instant>,
    /// When the invitation lapses without an answer (RFC 3261 13.3.1).
    lapses_at: Option<Instant>,
}

/// A request about to get a transaction.
pub(super) struct NewServer {
    pub(super) request: Arc<Request>,
    /// What copies of it that come by other ways are known by; none within a dialog.
    pub(super) merge_key: Option<MergeKey>,
    /// The topmost Via as received.
    pub(super) via: Via,
    pub(super) source: Source,
    pub(super) kind: ServerKind,
    pub(super) dialog: Option<DialogId>,
    pub(super) has_offer: bool,
    pub(super) to_tag: String,
}

impl Server {
    /// Whether no final response has been sent.
    pub(super) fn is_unanswered(&self) -> bool {
        match &self.machine {
            ServerMachine::Invite(t) => t.is_proceeding(),
            ServerMachine::NonInvite(t) => t.is_unanswered(),
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        let machine = match &self.machine {
            ServerMachine::Invite(t) => t.next_timeout(),
            ServerMachine::NonInvite(t) => t.next_timeout(),
        };
        let lapses_at = self.lapses_at.filter(|_| self.is_unanswered());
        [machine, self.refresh_at, lapses_at].into_iter().flatten().min()
    }
}

impl Endpoint {
    pub(super) fn start_server(&mut self, now: Instant, new: NewServer) -> IncomingId {
        let id = IncomingId(self.new_id());
        let reliable = new.source.protocol.is_reliable();
        let timers = self.config.timers;
        let machine = if new.request.method == Method::Invite {
            ServerMachine::Invite(ServerInviteTransaction::start(now, timers, reliable))
        } else {
            ServerMachine::NonInvite(ServerNonInviteTransaction::start(now, timers, reliable))
        };
        let key = ServerKey::of(&new.request, &new.via, new.request.method.clone());
        self.server_index.insert(key.clone(), id);
        if let Some(merge_key) = &new.merge_key {
            self.merge_index.insert(merge_key.clone(), id);
        }
        let lapses_at = (new.kind == ServerKind::FirstInvite)
            .then(|| new.request.headers.expires())
            .flatten()
            .map(|seconds| now + Duration::from_secs(u64::from(seconds).min(LONGEST_INVITATION)));
        let server = Server {
            key,
            merge_key: new.merge_key,
            machine,
            destination: super::route::response_destination(&new.via, &new.source),
            request: Some(new.request),
            source: new.source,
            last: None,
            kind: new.kind,
            dialog: new.dialog,
            has_offer: new.has_offer,
            to_tag: new.to_tag,
            refresh_at: None,
            lapses_at,
        };
        self.schedule.set(Owner::Server(id), server.next_timeout());
        self.servers.insert(id, Box::new(server));
        id
    }

    /// Sends a response through its transaction; `None` when the transaction has answered already.
    pub(super) fn send_response(&mut self, now: Instant, id: IncomingId, response: &Response) -> Option<(Destination, Bytes)> {
        let server = self.servers.get_mut(&id)?;
        let may_send = match &mut server.machine {
            ServerMachine::Invite(t) => t.respond(now, response.status),
            ServerMachine::NonInvite(t) => t.respond(now, response.status),
        };
        if !may_send {
            return None;
        }
        let bytes = response.to_bytes();
        // A 2xx of an INVITE is repeated by its dialog.
        let is_invite = server.kind != ServerKind::Other;
        server.last = (!is_invite || !response.status.is_success()).then(|| bytes.clone());
        if response.status.is_final() {
            server.request = None;
        }
        // A call that was turned down is not under way: a proxy may try its next target here, with the same Call-ID and CSeq.
        if response.status.is_final()
            && !response.status.is_success()
            && let Some(merge_key) = server.merge_key.take()
        {
            self.merge_index.remove(&merge_key);
        }
        let repeats = is_invite && response.status.is_provisional() && response.status != StatusCode::TRYING;
        server.refresh_at = repeats.then(|| now + PROVISIONAL_REFRESH);
        let destination = server.destination;
        let next = server.next_timeout();
        self.schedule.set(Owner::Server(id), next);
        self.transmit(None, destination, bytes.clone());
        Some((destination, bytes))
    }

    /// The same request again, as its response was lost or is late.
    pub(super) fn handle_retransmission(&mut self, id: IncomingId) {
        self.stats.retransmissions_received += 1;
        let Some(server) = self.servers.get(&id) else {
            return;
        };
        let repeat = match &server.machine {
            ServerMachine::Invite(t) => t.handle_retransmission(),
            ServerMachine::NonInvite(t) => t.handle_retransmission(),
        };
        if repeat && let Some(bytes) = server.last.clone() {
            let destination = server.destination;
            self.stats.retransmissions_sent += 1;
            self.transmit(None, destination, bytes);
        }
    }

    /// Whether the transaction wants the ACK for itself.
    pub(super) fn absorbs_ack(&mut self, now: Instant, id: IncomingId) -> bool {
        let Some(server) = self.servers.get_mut(&id) else {
            return false;
        };
        let action = match &mut server.machine {
            ServerMachine::Invite(t) => t.handle_ack(now),
            ServerMachine::NonInvite(_) => AckAction::Absorb,
        };
        let next = server.next_timeout();
        self.schedule.set(Owner::Server(id), next);
        action == AckAction::Absorb
    }

    pub(super) fn server_timeout(&mut self, now: Instant, id: IncomingId) {
        if self.servers.get(&id).is_some_and(|server| server.is_unanswered() && server.lapses_at.is_some_and(|at| at <= now)) {
            self.invitation_lapsed(now, id);
        }
        while let Some(server) = self.servers.get_mut(&id) {
            let timeout = match &mut server.machine {
                ServerMachine::Invite(t) => t.handle_timeout(now),
                ServerMachine::NonInvite(t) => t.handle_timeout(now),
            };
            let refresh = timeout.is_none() && server.refresh_at.is_some_and(|at| at <= now);
            if refresh {
                server.refresh_at = Some(now + PROVISIONAL_REFRESH);
            }
            let next = server.next_timeout();
            self.schedule.set(Owner::Server(id), next);
            match timeout {
                Some(ServerTimeout::SendTrying) => {
                    if let Some(request) = server.request.clone() {
                        let response = Response::to_request(&request, StatusCode::TRYING, None);
                        self.send_response(now, id, &response);
                    }
                }
                Some(ServerTimeout::Retransmit) => self.repeat_last(id),
                Some(ServerTimeout::NoAck) | Some(ServerTimeout::Terminated) => {
                    self.remove_server(id);
                }
                None if refresh => self.repeat_last(id),
                None => return,
            }
        }
    }

    fn repeat_last(&mut self, id: IncomingId) {
        if let Some(server) = self.servers.get(&id)
            && let Some(bytes) = server.last.clone()
        {
            let destination = server.destination;
            self.stats.retransmissions_sent += 1;
            self.transmit(None, destination, bytes);
        }
    }

    pub(super) fn remove_server(&mut self, id: IncomingId) {
        let Some(server) = self.servers.remove(&id) else {
            return;
        };
        self.server_index.remove(&server.key);
        if let Some(merge_key) = &server.merge_key {
            self.merge_index.remove(merge_key);
        }
        self.schedule.set(Owner::Server(id), None);
        if let Some(entry) = server.dialog.and_then(|d| self.dialogs.get_mut(&d)) {
            entry.incoming.remove(&id);
        }
    }
}
