//! SIP: messages, addresses, stream framing, and a whole endpoint.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use lockstep_sip::{
    auth::{Authenticator, AuthenticatorConfig, ClientAuth, Side},
    endpoint::{Body, Config, DialogId, Endpoint, Event, OutgoingRequest, Output, Reply, RequestId},
    message::{CSeq, Header, HeaderName, Headers, Message, Method, NameAddr, StatusCode, Uri, Via, limits, parse},
    net::{Destination, Protocol, Received, Source},
    registrar::{Registrar, RegistrarConfig},
    transport::framing::{Frame, FramingLimits, StreamFramer},
};

/// What is read is written so that it reads the same; every accessor survives it.
pub fn message(data: &[u8]) {
    let message = match parse(data) {
        Ok(message) => message,
        Err(error) => {
            if let Some(response) = error.response("tag") {
                assert!(response.status.is_final());
                assert!(!response.to_bytes().is_empty());
            }
            return;
        }
    };
    read_everything(message.headers());
    let written = message.to_bytes();
    if written.len() > limits::MESSAGE {
        return;
    }
    let again = parse(&written).unwrap_or_else(|error| panic!("cannot read what we wrote: {error}: {written:?}"));
    match (&message, &again) {
        (Message::Request(a), Message::Request(b)) => {
            assert_eq!((&a.method, a.uri.to_string(), &a.body), (&b.method, b.uri.to_string(), &b.body));
            assert!(a.sdp().is_none_or(|sdp| sdp.len() <= a.body.len()));
        }
        (Message::Response(a), Message::Response(b)) => assert_eq!((a.status, &a.body), (b.status, &b.body)),
        (Message::Request(_), Message::Response(_)) | (Message::Response(_), Message::Request(_)) => {
            panic!("a request became a response, or the other way: {written:?}")
        }
    }
    assert_eq!(without_length(message.headers()), without_length(again.headers()));
}

fn without_length(headers: &Headers) -> Vec<&Header> {
    headers.iter().filter(|header| header.name != HeaderName::ContentLength).collect()
}

fn read_everything(headers: &Headers) {
    let _ = (headers.top_via(), headers.via_count(), headers.from(), headers.to(), headers.contacts(), headers.contact());
    let _ = (headers.cseq(), headers.max_forwards(), headers.expires(), headers.min_expires());
    let _ = (headers.retry_after(), headers.min_se(), headers.session_expires(), headers.reasons(), headers.allow());
    for name in [HeaderName::Route, HeaderName::RecordRoute] {
        let _ = headers.name_addrs(name);
    }
    for name in [HeaderName::Supported, HeaderName::Require, HeaderName::Accept] {
        let _ = headers.list(name);
    }
    if let Some(Ok(content_type)) = headers.content_type() {
        let _ = content_type.to_string();
    }
}

/// URIs, addresses, Vias, challenges and credentials: one line each.
pub fn address(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for line in text.lines().take(64) {
        if let Ok(uri) = Uri::parse(line) {
            assert!(uri.is_equivalent(&uri), "{line:?} differs from itself");
            let written = uri.to_string();
            let again = Uri::parse(&written).unwrap_or_else(|error| panic!("{line:?} became {written:?}: {error}"));
            assert_eq!(again.to_string(), written);
            let _ = uri.user();
        }
        if let Ok(address) = NameAddr::parse(line) {
            let written = address.to_string();
            let again = NameAddr::parse(&written).unwrap_or_else(|error| panic!("{line:?} became {written:?}: {error}"));
            assert_eq!(again.to_string(), written);
            let _ = (address.tag(), address.expires(), address.q_millis());
        }
        if let Ok(via) = Via::parse(line) {
            let written = via.to_string();
            assert!(Via::parse(&written).is_ok(), "{line:?} became {written:?}");
            let _ = (via.branch(), via.received(), via.rport());
        }
        let _ = CSeq::parse(line);
        credentials(line);
    }
}

fn credentials(line: &str) {
    let mut server = Authenticator::new(AuthenticatorConfig::new("realm"), [1; 32], origin());
    server.verify(origin(), "INVITE", [line], |_| Some("secret".to_owned()));
    let mut client = ClientAuth::new("user", "secret", [2; 32]);
    if client.challenged(Side::Server, [line]).is_ok() {
        for (_, value) in client.authorize("INVITE", "sip:a@b", b"") {
            assert!(!value.contains(['\r', '\n']), "{value:?}");
        }
    }
}

/// However a stream is cut, it gives the same frames; buffers stay bounded.
pub fn stream(data: &[u8]) {
    let Some((&cut, data)) = data.split_first() else { return };
    let limits = FramingLimits { head: 4_096, body: 4_096 };
    let whole = frames(limits, [data]);
    let pieces = frames(limits, data.chunks(usize::from(cut).max(1)));
    assert_eq!(whole, pieces);
}

fn frames<'a>(limits: FramingLimits, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Option<Frame>> {
    let mut framer = StreamFramer::new(limits);
    let mut out = Vec::new();
    for piece in pieces {
        framer.buffer().extend_from_slice(piece);
        loop {
            match framer.next_frame() {
                Ok(Some(Frame::Message(bytes))) => {
                    assert!(bytes.len() <= limits.head + limits.body);
                    out.push(Some(Frame::Message(bytes)));
                }
                Ok(Some(Frame::Ping)) => out.push(Some(Frame::Ping)),
                Ok(None) => break,
                Err(_) => {
                    out.push(None);
                    return out;
                }
            }
        }
    }
    out
}

/// Datagrams between NUL bytes into an endpoint that takes every call. A datagram of one byte passes that many tenths of a second.
pub fn endpoint(data: &[u8]) {
    let mut desk = Desk::new();
    for datagram in data.split(|byte| *byte == 0).take(64) {
        desk.take(datagram);
        assert!(desk.endpoint.transaction_count() <= 100 && desk.endpoint.dialog_count() <= 20);
    }
    desk.an_hour_later();
}

/// A call that the endpoint places: datagrams between NUL bytes are what comes back. A datagram of one byte passes that many tenths of
/// a second, 255 gives the call up; data that begins with NUL is about an INVITE without an offer.
///
/// Within a datagram, 1 stands for the fields that a response repeats of the INVITE, 2 for those of the latest request, and 3 for the
/// fields that a request of the called side shares with the INVITE: each without the end of its last line, where a tag fits.
pub fn caller(data: &[u8]) {
    let mut desk = Desk::new();
    let data = match data.split_first() {
        Some((0, rest)) => {
            desk.call(None);
            rest
        }
        _ => {
            desk.call(Some(Body::sdp("v=0\r\n")));
            data
        }
    };
    for datagram in data.split(|byte| *byte == 0).take(64) {
        match datagram {
            [u8::MAX] => desk.give_up(),
            datagram => desk.take(&desk.spelt_out(datagram)),
        }
        assert!(desk.endpoint.transaction_count() <= 200 && desk.endpoint.dialog_count() <= 20);
    }
    desk.give_up();
    desk.an_hour_later();
}

/// An endpoint, and whoever uses it: takes every call, and knows no password.
struct Desk {
    endpoint: Endpoint,
    registrar: Registrar,
    source: Source,
    now: Instant,
    /// The call that it has placed.
    placed: Option<RequestId>,
    /// Calls that were answered.
    dialogs: Vec<DialogId>,
    /// The first request that it has sent, and the latest one; no ACK.
    sent: Option<(String, String)>,
}

impl Desk {
    fn new() -> Self {
        let local = "192.0.2.1:5060".parse().expect("an address");
        let remote = "192.0.2.2:5060".parse().expect("an address");
        let config = Config { sent_by: vec![(Protocol::Udp, local)], max_transactions: 50, max_dialogs: 20, ..Config::default() };
        Self {
            endpoint: Endpoint::new(config, [3; 32]),
            registrar: Registrar::new(RegistrarConfig::default()),
            source: Source { protocol: Protocol::Udp, local, remote, flow: None },
            now: origin(),
            placed: None,
            dialogs: Vec::new(),
            sent: None,
        }
    }

    fn call(&mut self, offer: Option<Body>) {
        let uri = |text: &str| -> Uri { text.parse().expect("a URI") };
        let (from, to) = (NameAddr::new(uri("sip:a@192.0.2.1")), NameAddr::new(uri("sip:b@192.0.2.2")));
        let destination = Destination::new(Protocol::Udp, self.source.remote);
        let mut request = OutgoingRequest::new(Method::Invite, uri("sip:b@192.0.2.2"), from, to, vec![destination]);
        request.contact = Some(NameAddr::new(uri("sip:192.0.2.1")));
        request.body = offer;
        self.placed = Some(self.endpoint.invite(self.now, request).expect("there is room for a call"));
        self.settle();
    }

    fn give_up(&mut self) {
        if let Some(placed) = self.placed {
            // It may be answered, or over.
            let _ = self.endpoint.cancel(self.now, placed, Headers::new());
        }
        self.settle();
    }

    fn take(&mut self, datagram: &[u8]) {
        match datagram {
            [tenths] => self.now += Duration::from_millis(100) * u32::from(*tenths),
            bytes => self.endpoint.handle_received(self.now, Received { source: self.source, bytes }),
        }
        self.endpoint.handle_timeout(self.now);
        self.settle();
    }

    fn settle(&mut self) {
        for _ in 0..1_000 {
            match self.endpoint.poll_output() {
                Output::Timeout(_) => return,
                Output::Transmit(transmit) => {
                    assert!(transmit.bytes.len() < 2 * limits::MESSAGE);
                    self.note(&transmit.bytes);
                }
                Output::Event(event) => self.event(event),
            }
        }
        panic!("an endpoint that never comes to rest");
    }

    fn event(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Invite { id, dialog, .. } => {
                self.dialogs.push(dialog);
                let contact = NameAddr::new("sip:192.0.2.1".parse().expect("a URI"));
                let reply = Reply::new(StatusCode::OK).contact(contact).body(Body::sdp("v=0\r\n"));
                let _ = self.endpoint.respond(now, id, reply);
            }
            Event::Answered { dialog, .. } => {
                self.dialogs.push(dialog);
                // Only an offer is to be answered.
                let _ = self.endpoint.ack(now, dialog, Headers::new(), Some(Body::sdp("v=0\r\n")));
            }
            Event::Challenged { id, .. } => {
                let mut headers = Headers::new();
                headers.push(HeaderName::Authorization, "Digest username=\"a\"");
                let _ = self.endpoint.resend_with(now, id, &headers);
            }
            Event::Request { id, request, source, .. } => {
                let reply = self.registrar.register(now, "user", &request, source);
                let _ = self.endpoint.respond(now, id, Reply::new(reply.status));
            }
            _ => {}
        }
    }

    fn note(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes).into_owned();
        if text.starts_with("SIP/2.0 ") || text.starts_with("ACK ") {
            return;
        }
        match &mut self.sent {
            Some((_, latest)) => *latest = text,
            None => self.sent = Some((text.clone(), text)),
        }
    }

    /// A datagram with what its bytes 1, 2 and 3 stand for.
    fn spelt_out(&self, datagram: &[u8]) -> Vec<u8> {
        let Some((first, latest)) = &self.sent else { return datagram.to_vec() };
        let mut bytes = Vec::new();
        for byte in datagram {
            match byte {
                1 => bytes.extend(repeated(first).into_bytes()),
                2 => bytes.extend(repeated(latest).into_bytes()),
                3 => bytes.extend(turned(first).into_bytes()),
                byte => bytes.push(*byte),
            }
        }
        bytes
    }

    /// An hour later nothing but established dialogs is left, and when they have been hung up, nothing.
    fn an_hour_later(mut self) {
        for round in 0..40 {
            if round == 36 {
                let (left, established) = (self.endpoint.dialog_count(), self.dialogs.len());
                assert!(left <= established, "{left} dialogs are left, {established} calls were answered");
                for dialog in std::mem::take(&mut self.dialogs) {
                    // It may be over.
                    let _ = self.endpoint.bye(self.now, dialog, Headers::new());
                }
            }
            self.now += Duration::from_secs(100);
            self.endpoint.handle_timeout(self.now);
            self.settle();
        }
        assert_eq!((self.endpoint.transaction_count(), self.endpoint.dialog_count()), (0, 0));
    }
}

/// What a response repeats of a request.
fn repeated(request: &str) -> String {
    let fields = ["Via", "From", "Call-ID", "CSeq", "To"].map(|name| format!("{name}: {}", field(request, name)));
    fields.join("\r\n")
}

/// What a request of the other side has of a request.
fn turned(request: &str) -> String {
    let [call_id, from, to] = ["Call-ID", "From", "To"].map(|name| field(request, name));
    format!("Call-ID: {call_id}\r\nTo: {from}\r\nFrom: {to}")
}

fn field<'a>(message: &'a str, name: &str) -> &'a str {
    message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
}

/// The clock is moved by hand from here.
#[expect(clippy::disallowed_methods, reason = "an origin for a manual clock")]
fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}
