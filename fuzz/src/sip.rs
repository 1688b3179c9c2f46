//! SIP: messages, addresses, stream framing, and a whole endpoint.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use lockstep_sip::{
    auth::{Authenticator, AuthenticatorConfig, ClientAuth, Side},
    endpoint::{Body, Config, DialogId, Endpoint, Event, Output, Reply},
    message::{CSeq, Header, HeaderName, Headers, Message, NameAddr, StatusCode, Uri, Via, limits, parse},
    net::{Protocol, Received, Source},
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
    let local = "192.0.2.1:5060".parse().expect("an address");
    let config = Config { sent_by: vec![(Protocol::Udp, local)], max_transactions: 50, max_dialogs: 20, ..Config::default() };
    let mut endpoint = Endpoint::new(config, [3; 32]);
    let mut registrar = Registrar::new(RegistrarConfig::default());
    let remote = "192.0.2.2:5060".parse().expect("an address");
    let source = Source { protocol: Protocol::Udp, local, remote, flow: None };
    let mut now = origin();
    let mut dialogs = Vec::new();
    for datagram in data.split(|byte| *byte == 0).take(64) {
        match datagram {
            [tenths] => now += Duration::from_millis(100) * u32::from(*tenths),
            bytes => endpoint.handle_received(now, Received { source, bytes }),
        }
        endpoint.handle_timeout(now);
        settle(&mut endpoint, &mut registrar, &mut dialogs, now);
        assert!(endpoint.transaction_count() <= 100 && endpoint.dialog_count() <= 20);
    }
    // An hour later nothing but established dialogs is left, and when they have been hung up, nothing.
    for round in 0..40 {
        if round == 36 {
            for dialog in std::mem::take(&mut dialogs) {
                // It may be over.
                let _ = endpoint.bye(now, dialog, Headers::new());
            }
        }
        now += Duration::from_secs(100);
        endpoint.handle_timeout(now);
        settle(&mut endpoint, &mut registrar, &mut dialogs, now);
    }
    assert_eq!((endpoint.transaction_count(), endpoint.dialog_count()), (0, 0));
}

fn settle(endpoint: &mut Endpoint, registrar: &mut Registrar, dialogs: &mut Vec<DialogId>, now: Instant) {
    for _ in 0..1_000 {
        match endpoint.poll_output() {
            Output::Timeout(_) => return,
            Output::Transmit(transmit) => assert!(transmit.bytes.len() < 2 * limits::MESSAGE),
            Output::Event(Event::Invite { id, dialog, .. }) => {
                dialogs.push(dialog);
                let contact = NameAddr::new("sip:192.0.2.1".parse().expect("a URI"));
                let reply = Reply::new(StatusCode::OK).contact(contact).body(Body::sdp("v=0\r\n"));
                let _ = endpoint.respond(now, id, reply);
            }
            Output::Event(Event::Request { id, request, source, .. }) => {
                let reply = registrar.register(now, "user", &request, source);
                let _ = endpoint.respond(now, id, Reply::new(reply.status));
            }
            Output::Event(_) => {}
        }
    }
    panic!("an endpoint that never comes to rest");
}

/// The clock is moved by hand from here.
#[expect(clippy::disallowed_methods, reason = "an origin for a manual clock")]
fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}
