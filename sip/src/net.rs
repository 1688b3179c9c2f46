//! What the core and the transports exchange: received packets, packets to send, and the names of the paths they take.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

/// A SIP transport protocol, as written in Via and in the `transport` URI parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    Udp,
    Tcp,
    Tls,
    Ws,
    Wss,
}

impl Protocol {
    /// Whether the transport itself delivers or reports failure, so that the transaction layer need not retransmit.
    #[must_use]
    pub fn is_reliable(self) -> bool {
        match self {
            Protocol::Udp => false,
            Protocol::Tcp | Protocol::Tls | Protocol::Ws | Protocol::Wss => true,
        }
    }

    /// Whether the peer's identity and the content are protected (`sips:` may use it).
    #[must_use]
    pub fn is_secure(self) -> bool {
        match self {
            Protocol::Tls | Protocol::Wss => true,
            Protocol::Udp | Protocol::Tcp | Protocol::Ws => false,
        }
    }

    /// The port used when a URI or Via names none (RFC 3261 19.1.2, RFC 7118 8).
    #[must_use]
    pub fn default_port(self) -> u16 {
        match self {
            Protocol::Udp | Protocol::Tcp => 5060,
            Protocol::Tls => 5061,
            Protocol::Ws => 80,
            Protocol::Wss => 443,
        }
    }

    /// The upper-case token used in Via.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Udp => "UDP",
            Protocol::Tcp => "TCP",
            Protocol::Tls => "TLS",
            Protocol::Ws => "WS",
            Protocol::Wss => "WSS",
        }
    }

    /// Reads a Via or `transport=` token, ignoring case; `None` for a transport we do not speak.
    #[must_use]
    pub fn from_token(token: &str) -> Option<Protocol> {
        [Protocol::Udp, Protocol::Tcp, Protocol::Tls, Protocol::Ws, Protocol::Wss]
            .into_iter()
            .find(|p| p.as_str().eq_ignore_ascii_case(token))
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether an address means something only within its own network (RFC 1918, 3927, 4193, 4291, 6598). Loopback is none of them.
#[must_use]
pub fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [first, second, _, _] = ip.octets();
            ip.is_private() || ip.is_link_local() || (first == 100 && (64..128).contains(&second))
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// One connection of a stream transport, for as long as it lives. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId(pub u64);

/// Where a message came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    pub protocol: Protocol,
    /// The local address it arrived at: a concrete one, also when listening on all.
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// The connection, for stream transports.
    pub flow: Option<FlowId>,
}

impl Source {
    /// The way back to the sender over the same flow (RFC 3261 18.2.2, RFC 5626).
    #[must_use]
    pub fn reply_path(&self) -> Destination {
        Destination { protocol: self.protocol, remote: self.remote, flow: self.flow, local: Some(self.local) }
    }
}

/// A complete datagram or a complete framed message from a stream.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    pub source: Source,
    pub bytes: &'a [u8],
}

/// A resolved next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    pub protocol: Protocol,
    pub remote: SocketAddr,
    /// Use this connection if it still exists; otherwise connect to `remote`.
    pub flow: Option<FlowId>,
    /// Send from this address; `None` lets the transport choose by route.
    pub local: Option<SocketAddr>,
}

impl Destination {
    /// A next hop without a connection or local address of its own.
    #[must_use]
    pub fn new(protocol: Protocol, remote: SocketAddr) -> Destination {
        Destination { protocol, remote, flow: None, local: None }
    }
}

/// Names a transmission, so that its failure can be told to the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransmitId(pub u64);

/// A message to put on the wire.
#[derive(Clone, Debug)]
pub struct Transmit {
    pub id: TransmitId,
    pub destination: Destination,
    pub bytes: Bytes,
}
