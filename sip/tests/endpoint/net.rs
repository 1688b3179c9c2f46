//! A network in memory: endpoints and scripted peers, a fixed delay, losses by rule, time that jumps to the next thing to happen.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lockstep_sip::endpoint::{Body, Config, Endpoint, Event, OutgoingRequest, Output, Reply, RequestId};
use lockstep_sip::message::{Message, Method, NameAddr, Request, Response, StatusCode, Uri, parse};
use lockstep_sip::net::{Destination, Protocol, Received, Source, TransmitId};

pub(crate) const DELAY: Duration = Duration::from_millis(10);

#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) protocol: Protocol,
    pub(crate) transmit: TransmitId,
    pub(crate) bytes: Bytes,
    pub(crate) at: Duration,
}

impl Packet {
    /// `INVITE`, `200 INVITE` …
    pub(crate) fn summary(&self) -> String {
        summary(&read(&self.bytes))
    }
}

pub(crate) fn summary(message: &Message) -> String {
    match message {
        Message::Request(request) => request.method.to_string(),
        Message::Response(response) => match response.headers.cseq() {
            Some(Ok(cseq)) => format!("{} {}", response.status, cseq.method),
            _ => response.status.to_string(),
        },
    }
}

pub(crate) fn read(bytes: &[u8]) -> Message {
    parse(bytes).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(bytes)))
}

enum Peer {
    Endpoint(Box<Endpoint>, Vec<Event>),
    Scripted(Vec<Message>),
}

struct Node {
    address: SocketAddr,
    peer: Peer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeId(usize);

type Rule = Box<dyn FnMut(&Packet) -> bool>;

pub(crate) struct Net {
    start: Instant,
    pub(crate) now: Instant,
    nodes: Vec<Node>,
    in_flight: BTreeMap<(Instant, u64), Packet>,
    sent: u64,
    /// Packets it says `true` for are lost.
    pub(crate) lose: Rule,
    /// Addresses and protocols at which nobody listens: the sender gets a transport error.
    pub(crate) closed: Vec<(Protocol, SocketAddr)>,
    /// Everything that was put on the wire, lost or not.
    pub(crate) wire: Vec<Packet>,
}

impl Net {
    #[expect(clippy::disallowed_methods, reason = "an Instant can only be had from the clock; all later times are computed")]
    pub(crate) fn new() -> Net {
        let start = Instant::now();
        Net {
            start,
            now: start,
            nodes: Vec::new(),
            in_flight: BTreeMap::new(),
            sent: 0,
            lose: Box::new(|_| false),
            closed: Vec::new(),
            wire: Vec::new(),
        }
    }

    pub(crate) fn endpoint(&mut self, address: &str) -> NodeId {
        self.endpoint_with(address, |_| {})
    }

    pub(crate) fn endpoint_with(&mut self, address: &str, change: impl FnOnce(&mut Config)) -> NodeId {
        let address: SocketAddr = address.parse().expect("an address");
        let mut config = Config {
            sent_by: vec![(Protocol::Udp, address), (Protocol::Tcp, address)],
            user_agent: "test".to_owned(),
            ..Config::default()
        };
        change(&mut config);
        let seed = [u8::try_from(self.nodes.len()).expect("few nodes") + 1; 32];
        self.add(address, Peer::Endpoint(Box::new(Endpoint::new(config, seed)), Vec::new()))
    }

    /// A peer that only does what the test writes.
    pub(crate) fn scripted(&mut self, address: &str) -> NodeId {
        self.add(address.parse().expect("an address"), Peer::Scripted(Vec::new()))
    }

    fn add(&mut self, address: SocketAddr, peer: Peer) -> NodeId {
        self.nodes.push(Node { address, peer });
        NodeId(self.nodes.len() - 1)
    }

    pub(crate) fn address(&self, node: NodeId) -> SocketAddr {
        self.nodes[node.0].address
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Runs a command at an endpoint and takes its outputs.
    pub(crate) fn at<T>(&mut self, node: NodeId, command: impl FnOnce(&mut Endpoint, Instant) -> T) -> T {
        let now = self.now;
        let Peer::Endpoint(endpoint, _) = &mut self.nodes[node.0].peer else {
            panic!("not an endpoint");
        };
        let result = command(endpoint, now);
        self.flush(node);
        result
    }

    /// What happened at an endpoint since the last call.
    pub(crate) fn events(&mut self, node: NodeId) -> Vec<Event> {
        match &mut self.nodes[node.0].peer {
            Peer::Endpoint(_, events) => std::mem::take(events),
            Peer::Scripted(_) => panic!("not an endpoint"),
        }
    }

    /// The one event that happened at an endpoint since the last call.
    pub(crate) fn event(&mut self, node: NodeId) -> Event {
        let mut events = self.events(node);
        assert_eq!(events.len(), 1, "{events:?}");
        events.remove(0)
    }

    /// What a scripted peer got since the last call.
    pub(crate) fn inbox(&mut self, node: NodeId) -> Vec<Message> {
        match &mut self.nodes[node.0].peer {
            Peer::Scripted(inbox) => std::mem::take(inbox),
            Peer::Endpoint(..) => panic!("not a scripted peer"),
        }
    }

    pub(crate) fn summaries(&mut self, node: NodeId) -> Vec<String> {
        self.inbox(node).iter().map(summary).collect()
    }

    /// The requests a scripted peer got since the last call.
    pub(crate) fn requests(&mut self, node: NodeId) -> Vec<Request> {
        self.inbox(node)
            .into_iter()
            .filter_map(|m| match m {
                Message::Request(request) => Some(request),
                Message::Response(_) => None,
            })
            .collect()
    }

    /// The one response a scripted peer got since the last call.
    pub(crate) fn response(&mut self, node: NodeId) -> Response {
        let mut inbox = self.inbox(node);
        assert_eq!(inbox.len(), 1, "{inbox:?}");
        match inbox.remove(0) {
            Message::Response(response) => response,
            Message::Request(request) => panic!("a request: {request:?}"),
        }
    }

    /// Sends text from a scripted peer; line ends are made CRLF.
    pub(crate) fn send(&mut self, from: NodeId, to: NodeId, text: &str) {
        let (from, to) = (self.address(from), self.address(to));
        let bytes = Bytes::from(text.replace('\n', "\r\n"));
        self.launch(from, to, Protocol::Udp, TransmitId(0), bytes);
    }

    pub(crate) fn reply(&mut self, from: NodeId, request: &Request, response: &Response) {
        let via = request.headers.top_via().expect("a Via").expect("a Via");
        let to = SocketAddr::new(via.host.ip().expect("a numeric Via"), via.port.unwrap_or(5060));
        let from = self.address(from);
        self.launch(from, to, Protocol::Udp, TransmitId(0), response.to_bytes());
    }

    fn launch(&mut self, from: SocketAddr, to: SocketAddr, protocol: Protocol, transmit: TransmitId, bytes: Bytes) {
        let packet = Packet { from, to, protocol, transmit, bytes, at: self.elapsed() };
        self.wire.push(packet.clone());
        if !(self.lose)(&packet) {
            self.sent += 1;
            self.in_flight.insert((self.now + DELAY, self.sent), packet);
        }
    }

    fn flush(&mut self, node: NodeId) -> Option<Instant> {
        loop {
            let Node { address, peer } = &mut self.nodes[node.0];
            let address = *address;
            let Peer::Endpoint(endpoint, events) = peer else {
                return None;
            };
            match endpoint.poll_output() {
                Output::Transmit(t) => self.launch(address, t.destination.remote, t.destination.protocol, t.id, t.bytes),
                Output::Event(event) => events.push(event),
                Output::Timeout(at) => return at,
            }
        }
    }

    fn deliver(&mut self, packet: Packet) {
        let now = self.now;
        if self.closed.contains(&(packet.protocol, packet.to)) {
            if let Some(sender) = self.nodes.iter_mut().find(|n| n.address == packet.from)
                && let Peer::Endpoint(endpoint, _) = &mut sender.peer
            {
                endpoint.handle_transport_error(now, packet.transmit);
            }
            return;
        }
        let Some(node) = self.nodes.iter_mut().find(|n| n.address == packet.to) else {
            return;
        };
        match &mut node.peer {
            Peer::Endpoint(endpoint, _) => endpoint.handle_received(
                now,
                Received {
                    source: Source { protocol: packet.protocol, local: packet.to, remote: packet.from, flow: None },
                    bytes: &packet.bytes,
                },
            ),
            Peer::Scripted(inbox) => inbox.push(read(&packet.bytes)),
        }
    }

    /// Jumps to the next arrival or deadline up to `limit`; `false` when there is none.
    fn step(&mut self, limit: Instant) -> bool {
        let mut next = self.in_flight.keys().next().map(|(at, _)| *at);
        for index in 0..self.nodes.len() {
            next = [next, self.flush(NodeId(index))].into_iter().flatten().min();
        }
        let Some(next) = next.filter(|at| *at <= limit) else {
            self.now = limit;
            return false;
        };
        self.now = self.now.max(next);
        while let Some(entry) = self.in_flight.first_entry()
            && entry.key().0 <= self.now
        {
            let packet = entry.remove();
            self.deliver(packet);
        }
        for index in 0..self.nodes.len() {
            if let Peer::Endpoint(endpoint, _) = &mut self.nodes[index].peer {
                endpoint.handle_timeout(self.now);
            }
            self.flush(NodeId(index));
        }
        true
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let limit = self.now + time;
        while self.step(limit) {}
    }

    /// Long enough for some exchanges, too short for any retransmission.
    pub(crate) fn settle(&mut self) {
        self.run(Duration::from_millis(100));
    }

    /// All summaries of what went over the wire since the last call.
    pub(crate) fn take_wire(&mut self) -> Vec<String> {
        std::mem::take(&mut self.wire).iter().map(Packet::summary).collect()
    }

    /// When messages with that summary were put on the wire.
    pub(crate) fn times_of(&self, summary: &str) -> Vec<Duration> {
        self.wire.iter().filter(|p| p.summary() == summary).map(|p| p.at).collect()
    }

    /// An INVITE with an offer from one node to another.
    pub(crate) fn call(&mut self, from: NodeId, to: NodeId) -> RequestId {
        let request = invite_to(self.address(from), self.address(to));
        self.at(from, |e, now| e.invite(now, request)).expect("an INVITE")
    }
}

pub(crate) fn uri(text: &str) -> Uri {
    text.parse().expect("a URI")
}

pub(crate) fn name_addr(text: &str) -> NameAddr {
    NameAddr::new(uri(text))
}

pub(crate) fn udp(address: SocketAddr) -> Destination {
    Destination::new(Protocol::Udp, address)
}

pub(crate) fn offer() -> Body {
    Body::sdp("v=0\r\ns=offer\r\n")
}

pub(crate) fn answer() -> Body {
    Body::sdp("v=0\r\ns=answer\r\n")
}

pub(crate) fn invite_to(from: SocketAddr, to: SocketAddr) -> OutgoingRequest {
    let mut request = OutgoingRequest::new(
        Method::Invite,
        uri(&format!("sip:callee@{to}")),
        name_addr("sip:caller@example.com"),
        name_addr("sip:callee@example.com"),
        vec![udp(to)],
    );
    request.contact = Some(name_addr(&format!("sip:caller@{from}")));
    request.body = Some(offer());
    request
}

pub(crate) fn reply(code: u16) -> Reply {
    Reply::new(StatusCode::new(code).expect("a status"))
}

/// A response of a scripted peer, with a Contact.
pub(crate) fn scripted_response(request: &Request, code: u16, tag: &str, contact: SocketAddr) -> Response {
    let status = StatusCode::new(code).expect("a status");
    let mut response = Response::to_request(request, status, Some(tag));
    response.headers.push("Contact", format!("<sip:callee@{contact}>"));
    response
}

/// The same with a session description.
pub(crate) fn with_sdp(mut response: Response, sdp: &'static str) -> Response {
    response.headers.push("Content-Type", "application/sdp");
    response.body = Bytes::from_static(sdp.as_bytes());
    response
}
