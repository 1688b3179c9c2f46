//! From octets to a message, or to what is needed to refuse it.
//!
//! Header values are slices of one copy of the packet; only folded or damaged values are copied again.

use bytes::Bytes;

use super::scan::{decimal, is_token, split_list, trim};
use super::{
    CSeq, Header, HeaderName, HeaderValue, Headers, Malformed, Message, Method, Request, Response, StatusCode, Uri, Via, limits,
};

/// Why a message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nothing but line breaks: a keep-alive.
    #[error("expected a message, got only line breaks")]
    Empty,
    #[error("expected at most {} octets", limits::MESSAGE)]
    TooLarge,
    #[error("malformed start line: {0}")]
    StartLine(Malformed),
    #[error("expected SIP/2.0")]
    Version,
    #[error("expected an empty line after the header fields")]
    Truncated,
    #[error("expected at most {} header fields", limits::HEADERS)]
    TooManyHeaders,
    #[error("expected header fields of at most {} octets", limits::HEADER_LINE)]
    HeaderTooLong,
    #[error("missing {0}")]
    Missing(&'static str),
    #[error("expected one {0}, got several")]
    Repeated(&'static str),
    #[error("malformed {0}: {1}")]
    Header(&'static str, Malformed),
    #[error("CSeq names another method")]
    CSeqMethod,
    #[error("expected a Content-Length that the message can hold")]
    ContentLength,
}

/// A refused message, with what an answer needs where one is possible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct ParseError {
    pub fault: Fault,
    /// Present for a request (never ACK) that has a readable topmost Via.
    pub reply: Option<Box<Unparsed>>,
}

/// The readable remains of a refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unparsed {
    pub method: Method,
    pub headers: Headers,
}

impl From<Fault> for ParseError {
    fn from(fault: Fault) -> ParseError {
        ParseError { fault, reply: None }
    }
}

impl ParseError {
    /// The answer to send, where one is possible: 505 for another SIP version, 400 otherwise. To gets `to_tag` when it has none.
    #[must_use]
    pub fn response(&self, to_tag: &str) -> Option<Response> {
        let unparsed = self.reply.as_deref()?;
        let status = match self.fault {
            Fault::Version => StatusCode::VERSION_NOT_SUPPORTED,
            Fault::TooLarge | Fault::HeaderTooLong => StatusCode::MESSAGE_TOO_LARGE,
            Fault::Empty
            | Fault::StartLine(_)
            | Fault::Truncated
            | Fault::TooManyHeaders
            | Fault::Missing(_)
            | Fault::Repeated(_)
            | Fault::Header(..)
            | Fault::CSeqMethod
            | Fault::ContentLength => StatusCode::BAD_REQUEST,
        };
        let mut response = Response::new(status);
        if status == StatusCode::BAD_REQUEST {
            response.reason = HeaderValue::from(format!("Bad Request - {}", self.fault));
        }
        response.headers.copy_for_response(&unparsed.headers, status, Some(to_tag));
        Some(response)
    }
}

/// Reads one message: a whole datagram, or what a stream's framing cut out.
///
/// Leading line breaks are skipped. Without Content-Length the body is the rest; octets after it are dropped (RFC 3261 18.3).
///
/// # Errors
/// When the message cannot be understood; never panics, whatever the octets.
pub fn parse(octets: &[u8]) -> Result<Message, ParseError> {
    if octets.len() > limits::MESSAGE {
        return Err(Fault::TooLarge.into());
    }
    let blank = octets.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    let octets = octets.get(blank..).unwrap_or_default();
    if octets.is_empty() {
        return Err(Fault::Empty.into());
    }
    let octets = Bytes::copy_from_slice(octets);
    let (start, after_start) = next_line(&octets, 0).ok_or(Fault::Truncated)?;
    let start = StartLine::parse(&octets.slice(start))?;
    let (headers, section) = read_headers(&octets, after_start);
    let refuse = |fault| refuse(fault, &start, &headers);
    let body_start = section.map_err(refuse)?;
    let length = content_length(&headers).map_err(refuse)?;
    let rest = octets.slice(body_start..);
    let body = match length {
        None => rest,
        Some(length) if length <= rest.len() => rest.slice(..length),
        Some(_) => return Err(refuse(Fault::ContentLength)),
    };
    validate(&start, &headers).map_err(refuse)?;
    match start {
        StartLine::Request { method, uri: Ok(uri) } => Ok(Message::Request(Request { method, uri, headers, body })),
        StartLine::Request { method, uri: Err(fault) } => {
            Err(ParseError { fault, reply: (method != Method::Ack).then(|| Box::new(Unparsed { method, headers })) })
        }
        StartLine::Response { status, reason } => Ok(Message::Response(Response { status, reason, headers, body })),
    }
}

/// A request line is kept with its fault, so that the fault can be answered once the header fields are read.
enum StartLine {
    Request { method: Method, uri: Result<Uri, Fault> },
    Response { status: StatusCode, reason: HeaderValue },
}

impl StartLine {
    fn parse(line: &Bytes) -> Result<StartLine, Fault> {
        let malformed = |expected| Fault::StartLine(Malformed::expected(expected));
        if line.get(..4).is_some_and(|b| b.eq_ignore_ascii_case(b"SIP/")) {
            return StartLine::parse_status(line);
        }
        let text = String::from_utf8_lossy(line);
        let text = trim(&text);
        let (method, rest) = text.split_once([' ', '\t']).ok_or(malformed("method, URI and version"))?;
        let method = Method::parse(method).map_err(Fault::StartLine)?;
        let uri = match rest.rsplit_once([' ', '\t']) {
            None => Err(malformed("method, URI and version")),
            Some((_, version)) if !version.eq_ignore_ascii_case("SIP/2.0") => {
                if version.get(..4).is_some_and(|v| v.eq_ignore_ascii_case("SIP/")) {
                    Err(Fault::Version)
                } else {
                    Err(malformed("SIP/2.0 at the end"))
                }
            }
            Some((uri, _)) => Uri::parse(trim(uri)).map_err(Fault::StartLine),
        };
        Ok(StartLine::Request { method, uri })
    }

    fn parse_status(line: &Bytes) -> Result<StartLine, Fault> {
        let expected = Fault::StartLine(Malformed::expected("a status code from 100 to 699"));
        let rest = line.get(4..).and_then(|l| l.strip_prefix(b"2.0")).ok_or(Fault::Version)?;
        let rest = rest.trim_ascii();
        let (code, reason) =
            rest.iter().position(|b| matches!(b, b' ' | b'\t')).and_then(|at| rest.split_at_checked(at)).unwrap_or((rest, b""));
        let status = std::str::from_utf8(code)
            .ok()
            .filter(|code| code.len() == 3)
            .and_then(|code| decimal(code, 699))
            .and_then(|code| u16::try_from(code).ok())
            .and_then(StatusCode::new)
            .ok_or(expected)?;
        Ok(StartLine::Response { status, reason: clean_value(&line.slice_ref(reason.trim_ascii())) })
    }
}

/// The line from `at`, without its line break, and where the next one starts.
fn next_line(octets: &[u8], at: usize) -> Option<(std::ops::Range<usize>, usize)> {
    let rest = octets.get(at..)?;
    let newline = rest.iter().position(|&b| b == b'\n')?;
    let line = rest.get(..newline)?;
    let length = line.strip_suffix(b"\r").unwrap_or(line).len();
    Some((at..at + length, at + newline + 1))
}

/// Reads header fields up to the empty line; gives what was read also when it ends early.
fn read_headers(octets: &Bytes, mut at: usize) -> (Headers, Result<usize, Fault>) {
    let mut fields: Vec<Header> = Vec::with_capacity(16);
    let end = loop {
        let Some((line, next)) = next_line(octets, at) else {
            break Err(Fault::Truncated);
        };
        if line.is_empty() {
            break Ok(next);
        }
        if fields.len() == limits::HEADERS {
            break Err(Fault::TooManyHeaders);
        }
        let start = at;
        let mut end = line.end;
        at = next;
        let mut folded = false;
        while matches!(octets.get(at), Some(b' ' | b'\t')) {
            let Some((line, next)) = next_line(octets, at) else {
                break;
            };
            folded = true;
            end = line.end;
            at = next;
        }
        if end - start > limits::HEADER_LINE {
            break Err(Fault::HeaderTooLong);
        }
        // A line that is no field is skipped: it can carry nothing we act on.
        if let Some(field) = read_field(&octets.slice(start..end), folded) {
            fields.push(field);
        }
    };
    (fields.into_iter().collect(), end)
}

fn read_field(line: &Bytes, folded: bool) -> Option<Header> {
    let colon = line.iter().position(|&b| b == b':')?;
    let name = line.get(..colon)?.trim_ascii();
    if !is_token(name) {
        return None;
    }
    let name = HeaderName::known(name).unwrap_or_else(|| HeaderName::Other(HeaderValue::from_parser(line.slice_ref(name))));
    let value = line.get(colon + 1..)?.trim_ascii();
    let value = line.slice_ref(value);
    let value = if folded { clean_value(&Bytes::from(unfold(&value))) } else { clean_value(&value) };
    Some(Header { name, value })
}

/// Joins folded lines by one space (RFC 3261 7.3.1).
fn unfold(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    for line in value.split(|&b| b == b'\n') {
        let line = line.trim_ascii();
        if !out.is_empty() && !line.is_empty() {
            out.push(b' ');
        }
        out.extend_from_slice(line);
    }
    out
}

/// Stray line ends become spaces: no value can break out of its field when it is written again.
fn clean_value(value: &Bytes) -> HeaderValue {
    let is_break = |b: &u8| matches!(b, b'\r' | b'\n');
    if !value.iter().any(is_break) {
        return HeaderValue::from_parser(value.clone());
    }
    let cleaned: Vec<u8> = value.iter().map(|b| if is_break(b) { b' ' } else { *b }).collect();
    HeaderValue::from_parser(Bytes::from(cleaned))
}

fn content_length(headers: &Headers) -> Result<Option<usize>, Fault> {
    let mut length = None;
    for value in headers.get_all(HeaderName::ContentLength) {
        let this = decimal(trim(&value.text()), u32::MAX).and_then(|n| usize::try_from(n).ok()).ok_or(Fault::ContentLength)?;
        if length.is_some_and(|other| other != this) {
            return Err(Fault::Repeated("Content-Length"));
        }
        length = Some(this);
    }
    Ok(length)
}

/// The fields every message must have (RFC 3261 8.1.1), once each, and readable.
fn validate(start: &StartLine, headers: &Headers) -> Result<(), Fault> {
    const COUNT: usize = 6;
    const SINGLE: [(HeaderName, &str); COUNT] = [
        (HeaderName::From, "From"),
        (HeaderName::To, "To"),
        (HeaderName::CallId, "Call-ID"),
        (HeaderName::CSeq, "CSeq"),
        (HeaderName::MaxForwards, "Max-Forwards"),
        (HeaderName::ContentType, "Content-Type"),
    ];
    let mut seen = [false; COUNT];
    for header in headers.iter() {
        for ((name, label), seen) in SINGLE.iter().zip(&mut seen) {
            if header.name == *name && std::mem::replace(seen, true) {
                return Err(Fault::Repeated(label));
            }
        }
    }
    check_vias(headers)?;
    for (name, label) in [(HeaderName::From, "From"), (HeaderName::To, "To")] {
        let value = headers.get(name).ok_or(Fault::Missing(label))?;
        value.address().map_err(|e| Fault::Header(label, e))?;
    }
    let call_id = headers.call_id().ok_or(Fault::Missing("Call-ID"))?;
    if call_id.as_bytes().is_empty() {
        return Err(Fault::Missing("Call-ID"));
    }
    let cseq: CSeq = headers.cseq().ok_or(Fault::Missing("CSeq"))?.map_err(|e| Fault::Header("CSeq", e))?;
    if let StartLine::Request { method, .. } = start
        && cseq.method != *method
    {
        return Err(Fault::CSeqMethod);
    }
    if let Some(Err(e)) = headers.max_forwards() {
        return Err(Fault::Header("Max-Forwards", e));
    }
    Ok(())
}

/// The whole first Via field must be readable: its second element may be where a response of ours is to be sent on.
fn check_vias(headers: &Headers) -> Result<(), Fault> {
    top_via(headers)?;
    let value = headers.get(HeaderName::Via).ok_or(Fault::Missing("Via"))?;
    for element in split_list(&value.text()).skip(1) {
        Via::parse(element).map_err(|e| Fault::Header("Via", e))?;
    }
    Ok(())
}

fn top_via(headers: &Headers) -> Result<&Via, Fault> {
    headers.top_via().ok_or(Fault::Missing("Via"))?.map_err(|e| Fault::Header("Via", e))
}

/// Keeps what an answer needs. Another SIP version may have other rules for all that follows, so it outweighs any later fault.
fn refuse(fault: Fault, start: &StartLine, headers: &Headers) -> ParseError {
    let StartLine::Request { method, uri } = start else {
        return fault.into();
    };
    ParseError {
        fault: match uri {
            Err(Fault::Version) => Fault::Version,
            Ok(_) | Err(_) => fault,
        },
        reply: (*method != Method::Ack && top_via(headers).is_ok())
            .then(|| Box::new(Unparsed { method: method.clone(), headers: headers.clone() })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: &str = "INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:a@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\nCall-ID: c1\r\nCSeq: 1 INVITE\r\n";

    fn request(text: &str) -> Request {
        match parse(text.as_bytes()) {
            Ok(Message::Request(request)) => request,
            other => panic!("not a request: {other:?}"),
        }
    }

    fn fault(text: &str) -> (Fault, Option<u16>) {
        let error = parse(text.as_bytes()).expect_err("a fault");
        let status = error.response("t").map(|r| r.status.code());
        (error.fault, status)
    }

    #[test]
    fn without_content_length_the_body_is_the_rest() {
        let r = request(&format!("{INVITE}Content-Type: application/sdp\r\n\r\nv=0\r\n"));
        assert_eq!(r.sdp().as_deref(), Some(&b"v=0\r\n"[..]));
    }

    #[test]
    fn octets_after_the_body_are_dropped() {
        let r = request(&format!("{INVITE}l: 3\r\n\r\nabcdef"));
        assert_eq!(r.body, "abc");
    }

    #[test]
    fn impossible_lengths_are_answered_with_400() {
        for length in ["4", "-1", "99999999999999999999", "1 2", ""] {
            assert_eq!(
                fault(&format!("{INVITE}Content-Length: {length}\r\n\r\nabc")),
                (Fault::ContentLength, Some(400)),
                "{length}"
            );
        }
        assert_eq!(
            fault(&format!("{INVITE}l: 1\r\nContent-Length: 2\r\n\r\nabc")),
            (Fault::Repeated("Content-Length"), Some(400))
        );
    }

    #[test]
    fn folded_compact_and_oddly_spaced_fields_are_read() {
        let r = request(&format!("\r\n{INVITE}s \t:  one\r\n  two\r\n\tthree  \r\nX-Odd: ;;,,;\nno field\r\n\r\n"));
        assert_eq!(r.headers.get("Subject"), Some(&"one two three".into()));
        assert_eq!(r.headers.get("x-odd"), Some(&";;,,;".into()));
        assert!(String::from_utf8_lossy(&r.to_bytes()).contains("Subject: one two three\r\n"));
    }

    #[test]
    fn octets_that_are_not_utf8_survive() {
        let mut octets = INVITE.as_bytes().to_vec();
        octets.extend_from_slice(b"X-Name: J\xf6rg\r\nX-After: here\r\nContent-Length: 0\r\n\r\n");
        let Ok(Message::Request(r)) = parse(&octets) else {
            panic!("not a request");
        };
        assert_eq!(r.headers.get("X-Name").map(HeaderValue::as_bytes), Some(&b"J\xf6rg"[..]));
        assert_eq!(r.headers.get("X-After"), Some(&"here".into()));
        assert_eq!(parse(&r.to_bytes()).ok(), Some(Message::Request(r)));
    }

    #[test]
    fn stray_carriage_returns_cannot_forge_a_field() {
        let r = request(&format!("{INVITE}X-A: b\rInjected: c\r\n\r\n"));
        assert_eq!(r.headers.get("X-A"), Some(&"b Injected: c".into()));
    }

    #[test]
    fn missing_and_repeated_fields_are_named() {
        let without = INVITE.replace("Call-ID: c1\r\n", "");
        assert_eq!(fault(&format!("{without}\r\n")), (Fault::Missing("Call-ID"), Some(400)));
        assert_eq!(fault(&format!("{INVITE}To: <sip:x@y>\r\n\r\n")), (Fault::Repeated("To"), Some(400)));
        let without = INVITE.replace("Via", "X-Via");
        assert_eq!(fault(&format!("{without}\r\n")), (Fault::Missing("Via"), None));
    }

    #[test]
    fn other_versions_get_505() {
        let other = INVITE.replace("com SIP/2.0\r\n", "com SIP/7.0\r\n");
        assert_eq!(fault(&format!("{other}\r\n")), (Fault::Version, Some(505)));
        let t38 = INVITE.replace("com SIP/2.0\r\n", "com HTTP/1.1\r\n");
        assert_eq!(fault(&format!("{t38}\r\n")).1, Some(400));
    }

    #[test]
    fn ack_is_never_answered() {
        let ack = INVITE.replace("INVITE", "ACK").replace("CSeq: 1", "CSeq: x");
        assert_eq!(fault(&format!("{ack}\r\n")).1, None);
    }

    #[test]
    fn mismatched_methods_and_large_numbers_are_refused() {
        let mismatched = INVITE.replace("1 INVITE", "1 OPTIONS");
        assert_eq!(fault(&format!("{mismatched}\r\n")), (Fault::CSeqMethod, Some(400)));
        assert_eq!(fault(&format!("{INVITE}Max-Forwards: 300\r\n\r\n")).1, Some(400));
    }

    #[test]
    fn status_codes_are_three_digits() {
        let response = |line: &str| {
            let rest = INVITE.split_once('\n').expect("a start line").1;
            parse(format!("{line}\r\n{rest}\r\n").as_bytes())
        };
        let Ok(Message::Response(r)) = response("SIP/2.0 100 ") else {
            panic!("not a response");
        };
        assert_eq!((r.status, r.reason.as_bytes()), (StatusCode::TRYING, &b""[..]));
        let Ok(Message::Response(r)) = response("SIP/2.0 486 Busy Here") else {
            panic!("not a response");
        };
        assert_eq!(r.reason, "Busy Here".into());
        assert!(response("SIP/2.0 4294967301 better not").is_err());
        assert!(response("SIP/2.0 700 no").is_err());
        assert!(response("SIP/2.0 99 no").is_err());
    }

    #[test]
    fn bounds_hold() {
        let many = "X: y\r\n".repeat(limits::HEADERS + 1);
        assert_eq!(fault(&format!("{INVITE}{many}\r\n")).0, Fault::TooManyHeaders);
        let long = "x".repeat(limits::HEADER_LINE);
        assert_eq!(fault(&format!("{INVITE}X: {long}\r\n\r\n")).0, Fault::HeaderTooLong);
        assert_eq!(parse(&[b'x'; limits::MESSAGE + 1]).map_err(|e| e.fault), Err(Fault::TooLarge));
    }

    #[test]
    fn no_prefix_of_a_message_panics() {
        let whole = format!("{INVITE}Contact: \"a \\\" b\" <sip:a@[::1]:5060;lr>;q=0.5\r\nl: 4\r\n\r\nbody");
        for end in 0..whole.len() {
            assert!(parse(&whole.as_bytes()[..end]).is_err(), "{end}");
        }
        assert!(parse(whole.as_bytes()).is_ok());
    }
}
