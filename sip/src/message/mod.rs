//! SIP messages: lenient in, strict out.
//!
//! [`parse`] accepts what real devices send (folded lines, bare LF, odd spacing, octets that are not UTF-8) and refuses only what cannot
//! be answered sensibly; [`Request::to_bytes`] and [`Response::to_bytes`] write the canonical form. Header fields stay in order with their
//! raw values; typed accessors read them on demand.

mod content_type;
mod cseq;
mod header_name;
mod headers;
mod method;
mod multipart;
mod name_addr;
mod params;
mod parser;
mod reason;
mod scan;
mod session_expires;
mod status;
mod uri;
mod via;
mod writer;

use bytes::Bytes;

pub use self::content_type::ContentType;
pub use self::cseq::CSeq;
pub use self::header_name::HeaderName;
pub(crate) use self::headers::with_tag;
pub use self::headers::{Header, HeaderValue, Headers, InvalidHeader};
pub use self::method::Method;
pub use self::multipart::find_part;
pub use self::name_addr::{Contacts, NameAddr};
pub use self::params::{Param, Params};
pub use self::parser::{Fault, ParseError, Unparsed, parse};
pub use self::reason::Reason;
pub use self::session_expires::{Refresher, SessionExpires};
pub use self::status::StatusCode;
pub use self::uri::{Host, SipUri, TelUri, Uri};
pub(crate) use self::via::MAGIC_COOKIE;
pub use self::via::Via;

/// Bounds the parser enforces; past them a message is refused, never truncated.
pub mod limits {
    /// Octets in a whole message: what a UDP datagram can carry.
    pub const MESSAGE: usize = 65_535;
    /// Header fields in a message.
    pub const HEADERS: usize = 256;
    /// Octets in one header field, folded lines included.
    pub const HEADER_LINE: usize = 16_384;
    /// Elements of one comma list, over all its header fields.
    pub const LIST: usize = 128;
    /// Parameters of one URI, header element or media type.
    pub const PARAMS: usize = 64;
    /// Multipart bodies inside multipart bodies.
    pub const MULTIPART_DEPTH: usize = 4;
    /// Parts of one multipart body.
    pub const MULTIPART_PARTS: usize = 32;
}

/// A value that does not follow its grammar: what was expected there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
pub struct Malformed {
    pub expected: &'static str,
}

impl Malformed {
    pub(crate) const fn expected(expected: &'static str) -> Malformed {
        Malformed { expected }
    }
}

/// A SIP request (RFC 3261 7.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub method: Method,
    /// The Request-URI.
    pub uri: Uri,
    pub headers: Headers,
    pub body: Bytes,
}

/// A SIP response (RFC 3261 7.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: StatusCode,
    /// The reason phrase as received or chosen; empty is allowed.
    pub reason: HeaderValue,
    pub headers: Headers,
    pub body: Bytes,
}

/// A SIP message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    Request(Request),
    Response(Response),
}

impl Request {
    /// A request without header fields or body.
    #[must_use]
    pub fn new(method: Method, uri: Uri) -> Request {
        Request { method, uri, headers: Headers::new(), body: Bytes::new() }
    }

    /// The session description in the body, also from inside a multipart body.
    #[must_use]
    pub fn sdp(&self) -> Option<Bytes> {
        sdp_of(&self.headers, &self.body)
    }
}

impl Response {
    /// A response without header fields or body, with the standard reason phrase.
    #[must_use]
    pub fn new(status: StatusCode) -> Response {
        Response {
            status,
            reason: HeaderValue::from_static(status.default_reason()),
            headers: Headers::new(),
            body: Bytes::new(),
        }
    }

    /// A response to `request` with the fields RFC 3261 8.2.6 copies: Via, From, To, Call-ID, CSeq, and for a 100 also Timestamp.
    ///
    /// `to_tag` is added where the request's To has none and the status is not 100.
    #[must_use]
    pub fn to_request(request: &Request, status: StatusCode, to_tag: Option<&str>) -> Response {
        let mut response = Response::new(status);
        response.headers.copy_for_response(&request.headers, status, to_tag);
        response
    }

    /// The session description in the body, also from inside a multipart body.
    #[must_use]
    pub fn sdp(&self) -> Option<Bytes> {
        sdp_of(&self.headers, &self.body)
    }
}

/// Phones exist that send SDP without a Content-Type; a body that starts like one is taken as one.
fn sdp_of(headers: &Headers, body: &Bytes) -> Option<Bytes> {
    if body.is_empty() {
        return None;
    }
    match headers.content_type() {
        Some(Ok(content_type)) => find_part(&content_type, body, "application", "sdp"),
        Some(Err(_)) => None,
        None => body.starts_with(b"v=0").then(|| body.clone()),
    }
}
