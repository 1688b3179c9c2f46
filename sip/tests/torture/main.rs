//! Messages made to break SIP implementations: RFC 4475, RFC 5118, and what a hostile or broken network sends.

mod hostile;
mod notation;
mod rfc4475;
mod rfc5118;

use std::time::Instant;

use lockstep_sip::{
    endpoint::{Config, Endpoint, Event, Output},
    message::{Message, Request, Response, StatusCode, parse},
    net::{Protocol, Received, Source},
};

/// What an endpoint makes of one datagram.
#[derive(Debug, Default)]
struct Reaction {
    /// The final responses; 100 is left out.
    responses: Vec<Response>,
    events: Vec<Event>,
    malformed: u64,
}

impl Reaction {
    fn codes(&self) -> Vec<u16> {
        self.responses.iter().map(|response| response.status.code()).collect()
    }

    /// The one response.
    fn response(&self) -> &Response {
        assert_eq!(self.responses.len(), 1, "{self:?}");
        &self.responses[0]
    }
}

fn endpoint() -> Endpoint {
    let local = "192.0.2.200:5060".parse().unwrap();
    let config = Config { sent_by: vec![(Protocol::Udp, local), (Protocol::Tcp, local)], ..Config::default() };
    Endpoint::new(config, [5; 32])
}

fn source() -> Source {
    Source {
        protocol: Protocol::Udp,
        local: "192.0.2.200:5060".parse().unwrap(),
        remote: "192.0.2.99:5066".parse().unwrap(),
        flow: None,
    }
}

#[expect(clippy::disallowed_methods, reason = "an origin for a clock that stands still")]
fn origin() -> Instant {
    Instant::now()
}

fn react(endpoint: &mut Endpoint, now: Instant, bytes: &[u8]) -> Reaction {
    let before = endpoint.stats().malformed;
    endpoint.handle_received(now, Received { source: source(), bytes });
    let mut reaction = Reaction { malformed: endpoint.stats().malformed - before, ..Reaction::default() };
    loop {
        match endpoint.poll_output() {
            Output::Transmit(transmit) => {
                assert_eq!(transmit.destination.remote.ip(), source().remote.ip(), "answers go back to the source");
                let response = read_answer(&transmit.bytes);
                if response.status.code() != 100 {
                    reaction.responses.push(response);
                }
            }
            Output::Event(event) => reaction.events.push(event),
            Output::Timeout(_) => return reaction,
        }
    }
}

/// A response of ours. What it had to copy from a broken request may make it unreadable as a whole.
fn read_answer(bytes: &[u8]) -> Response {
    if let Ok(Message::Response(response)) = parse(bytes) {
        return response;
    }
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split("\r\n");
    let code = lines.next().and_then(|line| line.strip_prefix("SIP/2.0 ")).and_then(|rest| rest.get(..3)?.parse().ok());
    let mut response = Response::new(code.and_then(StatusCode::new).expect("a status line of ours"));
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").expect("a header field of ours");
        response.headers.push(name, value);
    }
    response
}

/// The reaction of a fresh endpoint.
fn deliver(bytes: &[u8]) -> Reaction {
    react(&mut endpoint(), origin(), bytes)
}

fn request(bytes: &[u8]) -> Request {
    match parse(bytes) {
        Ok(Message::Request(request)) => request,
        other => panic!("expected a request, got {other:?}"),
    }
}

fn response(bytes: &[u8]) -> Response {
    match parse(bytes) {
        Ok(Message::Response(response)) => response,
        other => panic!("expected a response, got {other:?}"),
    }
}
