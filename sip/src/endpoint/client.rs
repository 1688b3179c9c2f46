//! Client transactions in their table: sending, retransmitting, matching.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::key::ClientKey;
use super::schedule::Owner;
use super::{Endpoint, RequestId};
use crate::message::{HeaderName, Host, Method, Request, Response, StatusCode, Via};
use crate::net::{Destination, FlowId, Protocol, Transmit, TransmitId};
use crate::transaction::{ClientInviteTransaction, ClientNonInviteTransaction, ClientTimeout, ResponseAction};

/// One client transaction. Also names its transmissions towards the transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ClientId(pub(super) u64);

/// Who waits for the outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Request(RequestId),
    /// CANCEL: the outcome changes nothing.
    Detached,
}

#[derive(Debug)]
pub(super) enum ClientMachine {
    Invite(ClientInviteTransaction),
    NonInvite(ClientNonInviteTransaction),
}

impl ClientMachine {
    fn next_timeout(&self) -> Option<Instant> {
        match self {
            ClientMachine::Invite(t) => t.next_timeout(),
            ClientMachine::NonInvite(t) => t.next_timeout(),
        }
    }

    fn handle_timeout(&mut self, now: Instant) -> Option<ClientTimeout> {
        match self {
            ClientMachine::Invite(t) => t.handle_timeout(now),
            ClientMachine::NonInvite(t) => t.handle_timeout(now),
        }
    }

    fn handle_response(&mut self, now: Instant, status: StatusCode) -> ResponseAction {
        match self {
            ClientMachine::Invite(t) => t.handle_response(now, status),
            ClientMachine::NonInvite(t) => t.handle_response(now, status),
        }
    }

    /// Whether nothing at all has come back.
    pub(super) fn is_unanswered(&self) -> bool {
        match self {
            ClientMachine::Invite(t) => t.is_calling(),
            ClientMachine::NonInvite(t) => t.is_trying(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) key: ClientKey,
    pub(super) machine: ClientMachine,
    /// As sent, Via included.
    pub(super) request: Arc<Request>,
    pub(super) bytes: Bytes,
    pub(super) destination: Destination,
    /// The connection that a response is awaited on.
    flow: Option<FlowId>,
    pub(super) purpose: Purpose,
    /// When the request goes elsewhere, if nothing at all has come back by then.
    patience_ends: Option<Instant>,
    /// The ACK for a non-2xx, to be repeated with its response.
    ack: Option<Bytes>,
    /// The ACK for a 2xx that comes when the dialog is over.
    pub(super) late_ack: Option<(Destination, Bytes)>,
}

impl Client {
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let patience = self.patience_ends.filter(|_| self.machine.is_unanswered());
        [self.machine.next_timeout(), patience].into_iter().flatten().min()
    }

    /// Nothing more is sent, and somebody else waits for what may still come.
    pub(super) fn leave_to(&mut self, purpose: Purpose) {
        self.purpose = purpose;
        self.bytes = Bytes::new();
        if let ClientMachine::Invite(invite) = &mut self.machine {
            invite.fall_silent();
        }
    }
}

impl Endpoint {
    /// Puts Via on `request`, sends it and starts its transaction. `request` has no Via yet.
    pub(super) fn start_client(
        &mut self,
        now: Instant,
        mut request: Request,
        destination: Destination,
        purpose: Purpose,
    ) -> ClientId {
        let branch = self.new_branch();
        let via = self.via(&destination, &branch);
        request.headers.push_front(HeaderName::Via, via.to_string());
        self.start_client_with_via(now, request, branch, destination, purpose)
    }

    pub(super) fn start_client_with_via(
        &mut self,
        now: Instant,
        request: Request,
        branch: String,
        destination: Destination,
        purpose: Purpose,
    ) -> ClientId {
        let id = ClientId(self.new_id());
        let reliable = destination.protocol.is_reliable();
        let timers = self.config.timers;
        let machine = if request.method == Method::Invite {
            ClientMachine::Invite(ClientInviteTransaction::start(now, timers, reliable))
        } else {
            ClientMachine::NonInvite(ClientNonInviteTransaction::start(now, timers, reliable))
        };
        let key = ClientKey { branch, method: request.method.clone() };
        let bytes = request.to_bytes();
        self.schedule.set(Owner::Client(id), machine.next_timeout());
        self.client_index.insert(key.clone(), id);
        let client = Client {
            key,
            machine,
            request: Arc::new(request),
            bytes: bytes.clone(),
            destination,
            flow: None,
            purpose,
            patience_ends: None,
            ack: None,
            late_ack: None,
        };
        self.clients.insert(id, Box::new(client));
        if let Some(flow) = destination.flow {
            self.put_on_flow(id, flow);
        }
        self.transmit(Some(id), destination, bytes);
        id
    }

    /// Has a request go elsewhere at `at` when nothing at all has come back by then.
    pub(super) fn give_up_silence(&mut self, id: ClientId, at: Instant) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.patience_ends = Some(at);
        let next = client.next_timeout();
        self.schedule.set(Owner::Client(id), next);
    }

    /// A Via of ours for that destination.
    pub(super) fn via(&self, destination: &Destination, branch: &str) -> Via {
        let address = destination.local.or_else(|| self.sent_by(destination.protocol, destination.remote.is_ipv4()));
        match address {
            Some(address) => Via::new(destination.protocol, Host::from(address.ip()), Some(address.port()), branch),
            // RFC 6761: a name that is nowhere; `rport` brings the response back all the same.
            None => Via::new(destination.protocol, Host::Name("lockstep.invalid".to_owned()), None, branch),
        }
    }

    fn sent_by(&self, protocol: Protocol, ipv4: bool) -> Option<std::net::SocketAddr> {
        let of_protocol = || self.config.sent_by.iter().filter(|(p, _)| *p == protocol);
        of_protocol().find(|(_, address)| address.is_ipv4() == ipv4).or_else(|| of_protocol().next()).map(|(_, address)| *address)
    }

    /// Nobody waits for an INVITE any more, which has no end of its own once a provisional response has come.
    pub(super) fn limit_invite(&mut self, now: Instant, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if let ClientMachine::Invite(invite) = &mut client.machine
            && invite.next_timeout().is_none()
        {
            invite.cancelled(now);
            let next = client.next_timeout();
            self.schedule.set(Owner::Client(id), next);
        }
    }

    pub(super) fn transmit(&mut self, client: Option<ClientId>, destination: Destination, bytes: Bytes) {
        let id = TransmitId(client.map_or(0, |client| client.0));
        self.push_transmit(Transmit { id, destination, bytes });
    }

    pub(super) fn client_timeout(&mut self, now: Instant, id: ClientId) {
        while let Some(client) = self.clients.get_mut(&id) {
            if client.patience_ends.take_if(|at| *at <= now).is_some() && client.machine.is_unanswered() {
                self.patience_ended(now, id);
                continue;
            }
            let timeout = client.machine.handle_timeout(now);
            let next = client.next_timeout();
            self.schedule.set(Owner::Client(id), next);
            match timeout {
                Some(ClientTimeout::Retransmit) => {
                    let (destination, bytes) = (client.destination, client.bytes.clone());
                    self.stats.retransmissions_sent += 1;
                    self.transmit(Some(id), destination, bytes);
                }
                Some(ClientTimeout::TimedOut) => {
                    if let Some(client) = self.remove_client(id) {
                        self.client_failed(now, client, super::Failure::Timeout);
                    }
                }
                Some(ClientTimeout::Terminated) => {
                    if let Some(client) = self.remove_client(id) {
                        self.client_terminated(id, client.purpose);
                    }
                }
                None => return,
            }
        }
    }

    /// The transport could not deliver, or lost the connection the response would come by (RFC 3261 17.1.4).
    pub(super) fn client_transport_error(&mut self, now: Instant, id: ClientId) {
        let is_unanswered = self.clients.get(&id).is_some_and(|client| client.machine.is_unanswered());
        // Once a response has come, the request arrived; what is missing may still come over a new connection.
        if is_unanswered && let Some(client) = self.remove_client(id) {
            self.client_failed(now, client, super::Failure::Transport);
        }
    }

    /// What a request is sent to has gone elsewhere; one without any response so far is sent there at once.
    pub(super) fn move_client(&mut self, id: ClientId, to: Destination) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.destination = to;
        let is_unanswered = client.machine.is_unanswered();
        let again = Some(client.bytes.clone()).filter(|bytes| is_unanswered && !bytes.is_empty());
        if let Some(flow) = to.flow {
            self.put_on_flow(id, flow);
        }
        if let Some(bytes) = again {
            self.stats.retransmissions_sent += 1;
            self.transmit(Some(id), to, bytes);
        }
    }

    pub(super) fn remove_client(&mut self, id: ClientId) -> Option<Client> {
        let client = self.clients.remove(&id)?;
        self.client_index.remove(&client.key);
        if client.key.method == Method::Bye {
            self.byes.remove(&(client.destination.remote, id));
        }
        self.schedule.set(Owner::Client(id), None);
        if let Some(flow) = client.flow {
            self.take_off_flow(id, flow);
        }
        Some(*client)
    }

    pub(super) fn put_on_flow(&mut self, id: ClientId, flow: FlowId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let before = client.flow.replace(flow);
        if before == Some(flow) {
            return;
        }
        self.flows.entry(flow).or_default().insert(id);
        if let Some(before) = before {
            self.take_off_flow(id, before);
        }
    }

    fn take_off_flow(&mut self, id: ClientId, flow: FlowId) {
        if let Some(on_flow) = self.flows.get_mut(&flow) {
            on_flow.remove(&id);
            if on_flow.is_empty() {
                self.flows.remove(&flow);
            }
        }
    }

    pub(super) fn handle_response(&mut self, now: Instant, response: Response) {
        let key = match (response.headers.top_via(), response.headers.cseq()) {
            // More than one Via means that it was meant for someone before us (RFC 3261 8.1.3.3).
            (Some(Ok(via)), Some(Ok(cseq))) if response.headers.via_count() == 1 => {
                via.branch().map(|branch| ClientKey { branch: branch.to_owned(), method: cseq.method })
            }
            _ => None,
        };
        let Some(id) = key.and_then(|key| self.client_index.get(&key).copied()) else {
            self.acknowledge_again(&response);
            return;
        };
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let action = client.machine.handle_response(now, response.status);
        if response.status.is_final() {
            // Nothing is sent again, but the transaction stays for a while.
            client.bytes = Bytes::new();
        }
        let next = client.next_timeout();
        self.schedule.set(Owner::Client(id), next);
        match action {
            ResponseAction::Deliver => {
                let purpose = client.purpose;
                self.deliver_response(now, purpose, id, response);
            }
            ResponseAction::DeliverAndAck => {
                let ack = ack_for_failure(&client.request, &response).to_bytes();
                client.ack = Some(ack.clone());
                let (destination, purpose) = (client.destination, client.purpose);
                self.transmit(None, destination, ack);
                self.deliver_response(now, purpose, id, response);
            }
            ResponseAction::AckAgain => {
                if let Some(ack) = client.ack.clone() {
                    let destination = client.destination;
                    self.stats.retransmissions_sent += 1;
                    self.transmit(None, destination, ack);
                }
            }
            ResponseAction::Ignore => {}
        }
    }
}

/// The ACK of a non-2xx belongs to the INVITE's transaction: same branch, same Route (RFC 3261 17.1.1.3).
fn ack_for_failure(invite: &Request, response: &Response) -> Request {
    let mut ack = within_transaction(invite, Method::Ack);
    if let Some(to) = response.headers.get(HeaderName::To) {
        ack.headers.set(HeaderName::To, to.clone());
    }
    ack
}

/// An ACK or CANCEL that shares Via, Request-URI and CSeq number with its INVITE (RFC 3261 9.1, 17.1.1.3).
pub(super) fn within_transaction(invite: &Request, method: Method) -> Request {
    let mut request = Request::new(method.clone(), invite.uri.clone());
    for header in invite.headers.iter() {
        match header.name {
            HeaderName::Via
            | HeaderName::Route
            | HeaderName::From
            | HeaderName::To
            | HeaderName::CallId
            | HeaderName::MaxForwards => {
                request.headers.push(header.name.clone(), header.value.clone());
            }
            HeaderName::CSeq => {
                let number = super::key::cseq_number(invite);
                request.headers.push(HeaderName::CSeq, format!("{number} {method}"));
            }
            _ => {}
        }
    }
    request
}
