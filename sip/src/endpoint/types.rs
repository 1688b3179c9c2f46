//! Names, requests and bodies that the engine and the endpoint exchange.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::message::{HeaderValue, Headers, Method, NameAddr, Uri};
use crate::net::Destination;

/// A request of ours, from sending to its final response. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// A request of the peer that awaits our response. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IncomingId(pub u64);

/// A dialog, early or confirmed. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DialogId(pub u64);

/// A message body and its media type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    pub content_type: HeaderValue,
    pub bytes: Bytes,
}

impl Body {
    #[must_use]
    pub fn new(content_type: &str, bytes: impl Into<Bytes>) -> Body {
        Body { content_type: HeaderValue::from(content_type), bytes: bytes.into() }
    }

    /// A session description.
    #[must_use]
    pub fn sdp(bytes: impl Into<Bytes>) -> Body {
        Body { content_type: HeaderValue::from_static("application/sdp"), bytes: bytes.into() }
    }

    pub(crate) fn is_sdp(&self) -> bool {
        self.content_type.as_bytes().to_ascii_lowercase().starts_with(b"application/sdp")
    }
}

/// A request outside a dialog. The endpoint adds Via, Max-Forwards, From tag, Call-ID, CSeq, Allow, Supported, User-Agent.
#[derive(Clone, Debug)]
pub struct OutgoingRequest {
    pub method: Method,
    /// The Request-URI.
    pub uri: Uri,
    /// Any `tag` is replaced by one of the endpoint's.
    pub from: NameAddr,
    pub to: NameAddr,
    /// Where the peer reaches us; necessary for INVITE, and for REGISTER by its meaning.
    pub contact: Option<NameAddr>,
    /// A preloaded route set (RFC 3261 8.1.1.1).
    pub route: Vec<NameAddr>,
    pub headers: Headers,
    pub body: Option<Body>,
    /// Resolved next hops in the order of RFC 3263; the next is tried when one fails (4.3).
    pub destinations: Vec<Destination>,
    /// Send requests inside the dialog to where its messages come from, not to the peer's Contact: the peer is behind NAT. A private
    /// Contact told by a public address is never followed. The transport stays that of the destinations, whatever the size.
    pub symmetric: bool,
    /// Whose device an INVITE is for: what is under way follows a device of nobody else (`peer_moved`).
    pub owner: Option<Arc<str>>,
    /// Call-ID and CSeq number, for requests that continue a series (REGISTER refreshes, RFC 3261 10.2.4).
    pub series: Option<(HeaderValue, u32)>,
    /// Max-Forwards of a call that came from another leg, already lowered by one; 70 otherwise (RFC 7332).
    pub max_forwards: u8,
    /// How long a next hop may say nothing at all before the request goes on to the one after it, or fails; `None`: 5 s where there is
    /// one after it, else 64·T1 (timers B and F).
    pub patience: Option<Duration>,
}

impl OutgoingRequest {
    /// A request with the given addresses and next hops and nothing else; the URI without what a request line may not carry.
    #[must_use]
    pub fn new(method: Method, uri: Uri, from: NameAddr, to: NameAddr, destinations: Vec<Destination>) -> OutgoingRequest {
        OutgoingRequest {
            method,
            uri: uri.into_request_uri(),
            from,
            to,
            contact: None,
            route: Vec::new(),
            headers: Headers::new(),
            body: None,
            destinations,
            symmetric: false,
            owner: None,
            series: None,
            max_forwards: 70,
            patience: None,
        }
    }
}

/// A request inside a dialog.
#[derive(Clone, Debug)]
pub struct DialogRequest {
    pub method: Method,
    pub headers: Headers,
    pub body: Option<Body>,
}

impl DialogRequest {
    #[must_use]
    pub fn new(method: Method) -> DialogRequest {
        DialogRequest { method, headers: Headers::new(), body: None }
    }

    #[must_use]
    pub fn with_body(mut self, body: Body) -> DialogRequest {
        self.body = Some(body);
        self
    }
}

/// Why a command could not be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The request is over, or never was.
    #[error("no such request")]
    UnknownRequest,
    /// The dialog is over, or never was.
    #[error("no such dialog")]
    UnknownDialog,
    /// A final response has been sent or received already.
    #[error("the request is answered already")]
    Answered,
    /// The method or status does not fit the request or the dialog's state.
    #[error("not possible in this state: {0}")]
    WrongState(&'static str),
    /// An INVITE, or an offer, is under way in this dialog; wait for its outcome (RFC 3261 14.1, RFC 3311 5.1).
    #[error("another INVITE or offer is pending in this dialog")]
    Pending,
    /// A table is full.
    #[error("too many transactions or dialogs")]
    Overloaded,
    /// No next hop was given, or the dialog's next hop is a name that nobody resolved.
    #[error("no destination")]
    NoDestination,
}
