//! Requests of ours over all their transactions: common fields, next hops, the choice of transport.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::client::{ClientId, Purpose};
use super::fork::Forks;
use super::key::cseq_number;
use super::{Body, DialogId, Endpoint, Failure, RequestId};
use crate::message::{CSeq, HeaderName, HeaderValue, Headers, Method, Request, Response};
use crate::net::{Destination, Protocol};

/// Octets that no Via of ours has more of.
const LONGEST_VIA: usize = 128;

/// As long as every branch of ours.
const BRANCH: &str = "z9hG4bK0123456789abcdef";

/// How long a next hop may say nothing at all while there is another to go to: four transmissions by UDP.
const SILENCE: Duration = Duration::from_secs(5);

/// The same for an INVITE that goes by TCP for its size: whoever gets it says 100 at once (RFC 3261 17.2.1).
const SILENCE_BY_TCP: Duration = Duration::from_secs(2);

/// How long an address that did not answer by TCP gets large requests by UDP.
const NO_TCP: Duration = Duration::from_secs(600);

/// Addresses remembered for that; when full, all are tried anew.
const MAX_NO_TCP: usize = 1024;

#[derive(Debug)]
pub(super) enum Kind {
    FirstInvite(Box<Forks>),
    InDialog,
    /// A BYE of the endpoint's own accord; the engine is asked for credentials, and not told of its outcome.
    OwnBye,
    Outside,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cancel {
    No,
    /// As soon as a provisional response comes (RFC 3261 9.1).
    Wanted,
    Sent,
}

#[derive(Debug)]
pub(super) struct Attempt {
    destination: Destination,
    /// TCP was tried in its place already.
    is_fallback: bool,
}

/// A request of ours, over all its transactions.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// Without Via.
    pub(super) request: Request,
    pub(super) kind: Kind,
    pub(super) dialog: Option<DialogId>,
    pub(super) attempts: VecDeque<Attempt>,
    pub(super) last_destination: Option<Destination>,
    pub(super) client: Option<ClientId>,
    pub(super) had_offer: bool,
    pub(super) cancel: Cancel,
    pub(super) cancel_headers: Headers,
    /// The 401 or 407 that waits for credentials.
    pub(super) challenge: Option<Arc<Response>>,
    /// Instead of timer B.
    pub(super) patience: Option<Duration>,
    /// Large requests go by TCP where UDP is the way: not to a peer that is reached through its NAT, where its messages come from.
    pub(super) may_use_tcp: bool,
    /// Whose device a BYE is for.
    pub(super) owner: Option<Arc<str>>,
}

impl Outgoing {
    pub(super) fn new(
        request: Request,
        kind: Kind,
        dialog: Option<DialogId>,
        destinations: Vec<Destination>,
        had_offer: bool,
    ) -> Outgoing {
        Outgoing {
            request,
            kind,
            dialog,
            attempts: destinations.into_iter().map(|destination| Attempt { destination, is_fallback: false }).collect(),
            last_destination: None,
            client: None,
            had_offer,
            cancel: Cancel::No,
            cancel_headers: Headers::new(),
            challenge: None,
            patience: None,
            may_use_tcp: true,
            owner: None,
        }
    }

    /// Where the last attempt went, if that was by TCP in place of UDP.
    pub(super) fn took_tcp_for_udp(&self) -> Option<SocketAddr> {
        let next = self.attempts.front().filter(|next| next.is_fallback)?;
        let last = self.last_destination.filter(|last| last.protocol == Protocol::Tcp)?;
        (next.destination.protocol == Protocol::Udp && next.destination.remote == last.remote).then_some(last.remote)
    }

    /// How long the destination just taken may be silent; `None`: until its transaction ends.
    fn silence(&self, is_large: bool) -> Option<Duration> {
        let is_invite = self.request.method == Method::Invite;
        let is_outside = match self.kind {
            Kind::FirstInvite(_) | Kind::Outside => true,
            // A second copy of a request with the same CSeq would be refused by the peer that has got the first.
            Kind::InDialog | Kind::OwnBye => false,
        };
        let by_default = match is_large {
            true if is_invite => Some(SILENCE_BY_TCP),
            true => Some(SILENCE),
            false => (is_outside && !self.attempts.is_empty()).then_some(SILENCE),
        };
        [self.patience, by_default].into_iter().flatten().min()
    }

    /// Whether the engine knows of it and learns what comes of it.
    pub(super) fn is_told(&self) -> bool {
        !matches!(self.kind, Kind::OwnBye)
    }
}

impl Endpoint {
    /// Adds the fields every request of ours carries, then the given ones.
    pub(super) fn complete_request(
        &self,
        request: &mut Request,
        contact: Option<HeaderValue>,
        headers: &Headers,
        body: Option<Body>,
        max_forwards: u8,
    ) {
        let fields = &mut request.headers;
        fields.push(HeaderName::MaxForwards, max_forwards.to_string());
        if let Some(contact) = contact {
            fields.push(HeaderName::Contact, contact);
        }
        if matches!(request.method, Method::Invite | Method::Update | Method::Options) {
            for (name, value) in
                [(HeaderName::Allow, self.allow_value()), (HeaderName::Supported, self.config.supported.join(", "))]
            {
                if !headers.contains(name.clone()) {
                    fields.push(name, value);
                }
            }
        }
        if !headers.contains(HeaderName::UserAgent) && request.method != Method::Ack {
            fields.push(HeaderName::UserAgent, self.config.user_agent.as_str());
        }
        fields.extend_unreserved(headers);
        if let Some(body) = body {
            fields.push(HeaderName::ContentType, body.content_type);
            request.body = body.bytes;
        }
    }

    pub(super) fn start_outgoing(&mut self, now: Instant, id: RequestId, outgoing: Outgoing) {
        self.requests.insert(id, outgoing);
        if !self.next_attempt(now, id) {
            self.fail_request(now, id, Failure::Transport);
        }
    }

    /// Sends the request to its next destination; `false` when none is left.
    pub(super) fn next_attempt(&mut self, now: Instant, id: RequestId) -> bool {
        let Some(outgoing) = self.requests.get(&id) else {
            return false;
        };
        let too_large = outgoing.attempts.front().is_some_and(|attempt| self.is_too_large(now, outgoing, attempt));
        let Some(outgoing) = self.requests.get_mut(&id) else {
            return false;
        };
        let Some(mut attempt) = outgoing.attempts.pop_front() else {
            return false;
        };
        if too_large {
            // RFC 3261 18.1.1: by TCP, and by UDP after all where that finds nobody.
            outgoing.attempts.push_front(Attempt { destination: attempt.destination, is_fallback: true });
            attempt.destination.protocol = Protocol::Tcp;
            attempt.destination.local = None;
            attempt.destination.flow = None;
        }
        outgoing.last_destination = Some(attempt.destination);
        let silence = outgoing.silence(too_large);
        let request = outgoing.request.clone();
        let client = self.start_client(now, request, attempt.destination, Purpose::Request(id));
        if let Some(outgoing) = self.requests.get_mut(&id) {
            outgoing.client = Some(client);
            if outgoing.owner.is_some() {
                self.byes.insert((attempt.destination.remote, client));
            }
        }
        if let Some(silence) = silence {
            self.give_up_silence(client, now + silence);
        }
        true
    }

    /// Whether a request for which UDP is the way goes by TCP, for its size.
    fn is_too_large(&self, now: Instant, outgoing: &Outgoing, attempt: &Attempt) -> bool {
        let Attempt { destination, is_fallback } = attempt;
        if destination.protocol != Protocol::Udp || *is_fallback || !self.config.has_tcp || !outgoing.may_use_tcp {
            return false;
        }
        let size = size_of(&outgoing.request);
        let is_beyond = |via: usize| size + via > self.config.max_datagram;
        is_beyond(LONGEST_VIA)
            && is_beyond("Via: \r\n".len() + self.via(destination, BRANCH).to_string().len())
            && self.no_tcp.get(&destination.remote).is_none_or(|until| *until <= now)
    }

    pub(super) fn note_no_tcp(&mut self, now: Instant, remote: SocketAddr) {
        if self.no_tcp.len() >= MAX_NO_TCP {
            self.no_tcp.clear();
        }
        self.no_tcp.insert(remote, now + NO_TCP);
    }

    /// The same request to another place, as a new transaction.
    pub(super) fn send_to(&mut self, now: Instant, id: RequestId, destination: Destination) {
        if let Some(outgoing) = self.requests.get_mut(&id) {
            outgoing.attempts = VecDeque::from([Attempt { destination, is_fallback: true }]);
            self.next_attempt(now, id);
        }
    }

    /// The same request again, to where it went last, as a new transaction.
    pub(super) fn resend(&mut self, now: Instant, id: RequestId) {
        let Some(outgoing) = self.requests.get_mut(&id) else {
            return;
        };
        let number = match outgoing.dialog.and_then(|d| self.dialogs.get_mut(&d)) {
            Some(entry) => entry.dialog.next_cseq(),
            None => cseq_number(&outgoing.request).saturating_add(1),
        };
        let cseq = CSeq { number, method: outgoing.request.method.clone() };
        outgoing.request.headers.set(HeaderName::CSeq, cseq.to_string());
        if let Some(destination) = outgoing.last_destination {
            outgoing.attempts.push_front(Attempt { destination, is_fallback: true });
        }
        if !self.next_attempt(now, id) {
            self.fail_request(now, id, Failure::Transport);
        }
    }
}

/// The octets of a request on the wire, but for Via.
fn size_of(request: &Request) -> usize {
    let line = request.method.as_str().len() + request.uri.to_string().len() + "  SIP/2.0\r\n".len();
    let headers: usize = request.headers.iter().map(|h| h.name.as_bytes().len() + h.value.as_bytes().len() + 4).sum();
    let content_length = request.body.len().to_string().len() + "Content-Length: \r\n".len();
    line + headers + content_length + "\r\n".len() + request.body.len()
}
