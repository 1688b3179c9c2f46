//! All transports of one user agent behind one `receive` and one `send`.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    io,
    net::SocketAddr,
    str::FromStr,
    task::{Context, Poll},
};

use thiserror::Error;
use tokio::time::Instant;

use crate::net::{Destination, FlowId, Protocol, Received, Transmit, TransmitId};

use super::{
    connection::TcpConfig,
    local_address::LocalAddresses,
    packet_info::Receiver,
    tcp::{PoolEvent, TcpPool, TcpStats},
    udp::{UdpPort, UdpStats},
};

/// Rounds over the sockets before `receive` returns, so that the core gets to its timers under load.
const ROUNDS: usize = 2;
/// Events from connections taken in one round.
const EVENTS_PER_ROUND: usize = 32;
/// Datagrams remembered for ICMP errors, which come within a round trip.
const RECENT: usize = 1024;

/// One address to listen on, written `udp:0.0.0.0:5060`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    pub protocol: Protocol,
    pub address: SocketAddr,
}

/// What is wrong with a listen address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("expected protocol:address:port such as udp:0.0.0.0:5060, got {got:?}")]
pub struct ListenError {
    pub got: String,
}

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        text.split_once(':')
            .and_then(|(protocol, address)| {
                Some(Listen { protocol: Protocol::from_token(protocol)?, address: address.parse().ok()? })
            })
            .ok_or_else(|| ListenError { got: text.to_owned() })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.protocol.as_str().to_ascii_lowercase(), self.address)
    }
}

/// Settings of all transports.
#[derive(Clone, Debug)]
pub struct TransportConfig {
    /// Kernel buffers of a UDP socket, each way, in bytes. The kernel may grant less.
    pub udp_buffer_bytes: usize,
    pub tcp: TcpConfig,
}

impl Default for TransportConfig {
    fn default() -> Self {
        TransportConfig { udp_buffer_bytes: 4 * 1024 * 1024, tcp: TcpConfig::default() }
    }
}

/// What happened on the transports.
#[derive(Debug)]
pub enum TransportEvent<'a> {
    Received(Received<'a>),
    /// A connection has ended. Messages it owed are told by their own events before this one.
    FlowClosed(FlowId),
    /// A message queued earlier, or a datagram that an ICMP error came back for, has not reached the peer.
    SendFailed(TransmitId),
}

/// Why a message could not be sent or queued; it will not arrive.
#[derive(Debug, Error)]
pub enum SendError {
    #[error("no {protocol} socket for the destination's address family")]
    NoSocket { protocol: Protocol },
    #[error("the connection's queue is full")]
    QueueFull,
    #[error("connection limit reached")]
    TooManyConnections,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Counters of all transports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransportStats {
    pub udp: UdpStats,
    pub tcp: TcpStats,
    /// Open TCP connections.
    pub connections: usize,
}

/// All listening sockets and connections. Lives on one task; dropping it closes everything.
pub struct Transports {
    udp: Vec<UdpPort>,
    tcp: TcpPool,
    receiver: Box<Receiver>,
    local_addresses: LocalAddresses,
    udp_stats: UdpStats,
    /// The latest datagrams sent, so that an ICMP error can be told to whoever sent them.
    recent: VecDeque<(SocketAddr, TransmitId)>,
}

impl Transports {
    /// Opens every address. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The first address that cannot be opened, named in the error's text.
    pub fn bind(listen: &[Listen], config: TransportConfig) -> io::Result<Self> {
        let mut udp = Vec::new();
        let mut tcp = TcpPool::new(config.tcp);
        for entry in listen {
            match entry.protocol {
                Protocol::Udp => UdpPort::bind(entry.address, config.udp_buffer_bytes).map(|port| udp.push(port)),
                Protocol::Tcp => tcp.listen(entry.address),
                Protocol::Tls | Protocol::Ws | Protocol::Wss => {
                    Err(io::Error::new(io::ErrorKind::Unsupported, "this transport is not supported"))
                }
            }
            .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {entry}: {error}")))?;
        }
        Ok(Transports {
            udp,
            tcp,
            receiver: Box::new(Receiver::new()),
            local_addresses: LocalAddresses::default(),
            udp_stats: UdpStats::default(),
            recent: VecDeque::with_capacity(RECENT),
        })
    }

    /// The addresses listened on, with the ports the system chose where 0 was asked for.
    pub fn listening(&self) -> Vec<Listen> {
        let udp = self.udp.iter().map(|port| Listen { protocol: Protocol::Udp, address: port.bound() });
        let tcp = self.tcp.bound().map(|address| Listen { protocol: Protocol::Tcp, address });
        udp.chain(tcp).collect()
    }

    /// Waits until something has arrived, then hands over what is there, up to a bound that keeps timers punctual.
    ///
    /// Cancel safe: what has been taken from a socket has been handed over.
    pub async fn receive(&mut self, mut handle: impl FnMut(TransportEvent<'_>)) {
        poll_fn(|cx| self.poll_receive(cx, &mut handle)).await;
    }

    /// [`Transports::receive`] for callers with a poll loop of their own.
    pub fn poll_receive(&mut self, cx: &mut Context<'_>, handle: &mut dyn FnMut(TransportEvent<'_>)) -> Poll<()> {
        let mut any = false;
        for _ in 0..ROUNDS {
            let mut this_round = false;
            for port in &mut self.udp {
                while let Poll::Ready(remote) = port.poll_unreachable(cx) {
                    this_round = true;
                    self.udp_stats.unreachable += 1;
                    self.recent.retain(|(to, id)| {
                        if *to == remote {
                            handle(TransportEvent::SendFailed(*id));
                        }
                        *to != remote
                    });
                }
                let mut datagram = |received: Received<'_>| handle(TransportEvent::Received(received));
                let polled = port.poll_receive(cx, &mut self.receiver, &mut self.udp_stats, &mut datagram);
                this_round |= polled.is_ready();
            }
            for _ in 0..EVENTS_PER_ROUND {
                let Poll::Ready(event) = self.tcp.poll_event(cx) else { break };
                this_round = true;
                match event {
                    PoolEvent::Message { source, bytes } => {
                        handle(TransportEvent::Received(Received { source, bytes: &bytes }));
                    }
                    PoolEvent::Closed { flow, unsent } => {
                        for id in unsent {
                            handle(TransportEvent::SendFailed(id));
                        }
                        handle(TransportEvent::FlowClosed(flow));
                    }
                }
            }
            any |= this_round;
            if !this_round {
                break;
            }
        }
        if any { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Sends or queues a message; never waits. Gives the connection it is queued on.
    ///
    /// # Errors
    /// When it is known at once that the message will not arrive. Later failures come as [`TransportEvent::SendFailed`].
    pub fn send(&mut self, transmit: Transmit) -> Result<Option<FlowId>, SendError> {
        let Transmit { id, destination, bytes } = transmit;
        match destination.protocol {
            Protocol::Udp => {
                let chosen = destination.local.map(|local| local.ip());
                let port = self.udp_port(destination).ok_or(SendError::NoSocket { protocol: Protocol::Udp })?;
                let port = self.udp.get(port).ok_or(SendError::NoSocket { protocol: Protocol::Udp })?;
                if let Err(error) = port.send(destination.remote, chosen, &bytes, &mut self.udp_stats) {
                    self.local_addresses.clear();
                    return Err(error.into());
                }
                if self.recent.len() == RECENT {
                    self.recent.pop_front();
                }
                self.recent.push_back((destination.remote, id));
                Ok(None)
            }
            Protocol::Tcp => self.tcp.send(id, destination, bytes).map(Some),
            protocol @ (Protocol::Tls | Protocol::Ws | Protocol::Wss) => Err(SendError::NoSocket { protocol }),
        }
    }

    /// The address to name in Via and Contact towards a peer: one it can answer to, chosen by route when listening on all.
    ///
    /// `None` when nothing listens for the protocol and the peer's address family, or there is no route.
    pub fn local_for(&mut self, protocol: Protocol, remote: SocketAddr) -> Option<SocketAddr> {
        let bound: Vec<SocketAddr> = match protocol {
            Protocol::Udp => self.udp.iter().map(UdpPort::bound).collect(),
            Protocol::Tcp => self.tcp.bound().collect(),
            Protocol::Tls | Protocol::Ws | Protocol::Wss => return None,
        };
        let bound = bound.into_iter().filter(|bound| bound.is_ipv4() == remote.is_ipv4());
        choose(bound, remote, &mut self.local_addresses)
    }

    /// Vouches for the peer of an accepted connection: it is known, or a request that came over it was let in. Until then the connection
    /// is closed when it rests, and when another one needs its place.
    pub fn keep_flow(&mut self, flow: FlowId) {
        self.tcp.keep(flow);
    }

    pub fn stats(&self) -> TransportStats {
        TransportStats { udp: self.udp_stats, tcp: self.tcp.stats(), connections: self.tcp.connections() }
    }

    /// The socket to send from: the one bound to the wished address, else one on its port, else by route.
    fn udp_port(&mut self, destination: Destination) -> Option<usize> {
        let usable = |port: &UdpPort| port.bound().is_ipv4() == destination.remote.is_ipv4();
        if let Some(local) = destination.local {
            let exact = self.udp.iter().position(|port| port.bound() == local);
            let wildcard = || {
                self.udp
                    .iter()
                    .position(|port| usable(port) && port.bound().ip().is_unspecified() && port.bound().port() == local.port())
            };
            if let Some(found) = exact.or_else(wildcard) {
                return Some(found);
            }
        }
        let local = self.local_for(Protocol::Udp, destination.remote)?;
        let matches = |port: &UdpPort| {
            let bound = port.bound();
            usable(port) && bound.port() == local.port() && (bound.ip() == local.ip() || bound.ip().is_unspecified())
        };
        self.udp.iter().position(matches)
    }
}

/// Picks among bound addresses of one family: the routed one, else a wildcard completed by route, else the first.
fn choose(bound: impl Iterator<Item = SocketAddr>, remote: SocketAddr, routes: &mut LocalAddresses) -> Option<SocketAddr> {
    let bound: Vec<SocketAddr> = bound.collect();
    match bound.as_slice() {
        [] => return None,
        [only] if !only.ip().is_unspecified() => return Some(*only),
        [..] => {}
    }
    let routed = routes.towards(Instant::now(), remote.ip())?;
    let exact = bound.iter().find(|bound| bound.ip() == routed).copied();
    let completed = || {
        let wildcard = bound.iter().find(|bound| bound.ip().is_unspecified())?;
        Some(SocketAddr::new(routed, wildcard.port()))
    };
    exact.or_else(completed).or_else(|| bound.first().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_addresses_are_read_and_written() {
        for text in ["udp:0.0.0.0:5060", "tcp:[::]:5060", "wss:127.0.0.1:443"] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        for text in ["", "udp", "udp:5060", "sctp:0.0.0.0:5060", "udp:host:5060", "udp:[::1]"] {
            let error = text.parse::<Listen>().unwrap_err();
            assert_eq!(error.got, text);
        }
    }

    #[test]
    fn the_local_address_is_the_routed_one() {
        let mut routes = LocalAddresses::default();
        let peer: SocketAddr = "127.0.0.1:5060".parse().unwrap();
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let mut chosen = |bound: &[&str]| choose(bound.iter().map(|text| address(text)), peer, &mut routes);
        assert_eq!(chosen(&["0.0.0.0:5070"]), Some(address("127.0.0.1:5070")));
        assert_eq!(chosen(&["192.0.2.1:5060", "127.0.0.1:5080"]), Some(address("127.0.0.1:5080")));
        assert_eq!(chosen(&["192.0.2.1:5060", "0.0.0.0:5080"]), Some(address("127.0.0.1:5080")));
        assert_eq!(chosen(&["192.0.2.1:5060"]), Some(address("192.0.2.1:5060")));
        assert_eq!(chosen(&[]), None);
    }
}
