//! TCP listeners and the pool of connections, found again by flow or by remote address (RFC 3261 §18.1.1, RFC 5923).

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use socket2::{Domain, Protocol as IpProtocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time,
};
use tokio::{sync::mpsc, task::AbortHandle};

use crate::net::{Destination, FlowId, Protocol, Source, TransmitId};

use super::{
    SendError,
    connection::{CloseReason, Connection, ConnectionEvent, ConnectionHandle, Opening, Refused, TcpConfig},
};

/// Connections waiting in the kernel to be accepted.
const BACKLOG: i32 = 1024;
/// Events on their way to the core; when full, connections wait and TCP holds their peers back.
const EVENTS: usize = 512;
/// After an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections that meet a limit are logged once in so long.
const LOG_WINDOW: Duration = Duration::from_secs(60);

/// Counters of all TCP connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpStats {
    pub received: u64,
    pub queued: u64,
    pub accepted: u64,
    /// Connections refused at a limit.
    pub refused: u64,
    /// Connections closed at the limit to make room for another: those of peers that nobody has vouched for.
    pub gave_way: u64,
    pub connected_out: u64,
    /// Messages refused because their connection's queue was full.
    pub queue_full: u64,
    /// Connections closed because their peer did not read.
    pub write_timeouts: u64,
}

/// What the pool tells its owner.
pub(super) enum PoolEvent {
    Message { source: Source, bytes: Bytes },
    Closed { flow: FlowId, unsent: Vec<TransmitId> },
}

struct Accepted {
    stream: TcpStream,
    remote: SocketAddr,
}

struct Entry {
    remote: SocketAddr,
    accepted: bool,
    /// Its place in the order in which connections give way; `None`: the peer is vouched for.
    gives_way: Option<u64>,
    handle: ConnectionHandle,
}

struct Listener {
    bound: SocketAddr,
    task: AbortHandle,
}

/// All TCP connections.
pub(super) struct TcpPool {
    config: Arc<TcpConfig>,
    listeners: Vec<Listener>,
    accepted: mpsc::Receiver<Accepted>,
    /// Kept so that listeners can be given clones, and so that the channel stays open without any.
    acceptor: mpsc::Sender<Accepted>,
    events: mpsc::Receiver<ConnectionEvent>,
    events_sender: mpsc::Sender<ConnectionEvent>,
    connections: BTreeMap<FlowId, Entry>,
    by_remote: BTreeMap<SocketAddr, FlowId>,
    /// By address, or by the network of 64 bits that an IPv6 host has to itself.
    accepted_per_ip: BTreeMap<IpAddr, usize>,
    /// Connections that give way to others, the one first that has said nothing for longest.
    strangers: BTreeSet<(u64, FlowId)>,
    last_place: u64,
    /// Connections that met a limit since the log was told, and when it may be told again.
    unsaid: u64,
    silent_until: Option<time::Instant>,
    next_flow: u64,
    stats: TcpStats,
}

impl TcpPool {
    pub(super) fn new(config: TcpConfig) -> Self {
        let (acceptor, accepted) = mpsc::channel(64);
        let (events_sender, events) = mpsc::channel(EVENTS);
        TcpPool {
            config: Arc::new(config),
            listeners: Vec::new(),
            accepted,
            acceptor,
            events,
            events_sender,
            connections: BTreeMap::new(),
            by_remote: BTreeMap::new(),
            accepted_per_ip: BTreeMap::new(),
            strangers: BTreeSet::new(),
            last_place: 0,
            unsaid: 0,
            silent_until: None,
            next_flow: 1,
            stats: TcpStats::default(),
        }
    }

    pub(super) fn listen(&mut self, address: SocketAddr) -> io::Result<()> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(IpProtocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // A restart must not wait for the connections of its predecessor to time out.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from_std(socket.into())?;
        let bound = listener.local_addr()?;
        let task = tokio::spawn(accept_loop(listener, self.acceptor.clone())).abort_handle();
        self.listeners.push(Listener { bound, task });
        Ok(())
    }

    pub(super) fn bound(&self) -> impl Iterator<Item = SocketAddr> {
        self.listeners.iter().map(|listener| listener.bound)
    }

    pub(super) fn stats(&self) -> TcpStats {
        self.stats
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.len()
    }

    /// The next event; connections waiting to be accepted are taken in on the way.
    pub(super) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<PoolEvent> {
        while let Poll::Ready(Some(accepted)) = self.accepted.poll_recv(cx) {
            self.take_in(accepted);
        }
        let Poll::Ready(Some(event)) = self.events.poll_recv(cx) else { return Poll::Pending };
        Poll::Ready(match event {
            ConnectionEvent::Message { source, bytes } => {
                self.stats.received += 1;
                if let Some(flow) = source.flow {
                    self.heard(flow);
                }
                PoolEvent::Message { source, bytes }
            }
            ConnectionEvent::Closed { flow, reason, unsent } => {
                if matches!(reason, CloseReason::WriteTimeout(_)) {
                    self.stats.write_timeouts += 1;
                }
                self.forget(flow);
                PoolEvent::Closed { flow, unsent }
            }
        })
    }

    /// Queues a message on the destination's connection, on one to the same address, or on a new one; which it is.
    pub(super) fn send(&mut self, id: TransmitId, destination: Destination, bytes: Bytes) -> Result<FlowId, SendError> {
        let known = destination
            .flow
            .filter(|flow| self.connections.contains_key(flow))
            .or_else(|| self.by_remote.get(&destination.remote).copied());
        if let Some(flow) = known
            && let Some(entry) = self.connections.get(&flow)
        {
            match entry.handle.send(id, bytes.clone()) {
                Ok(()) => {
                    self.stats.queued += 1;
                    return Ok(flow);
                }
                Err(Refused::Full) => {
                    self.stats.queue_full += 1;
                    return Err(SendError::QueueFull);
                }
                // Its end is on the way to us as an event.
                Err(Refused::Closed) => self.forget(flow),
            }
        }
        let flow = self.connect(destination)?;
        let Some(entry) = self.connections.get(&flow) else { return Err(SendError::QueueFull) };
        match entry.handle.send(id, bytes) {
            Ok(()) => {
                self.stats.queued += 1;
                Ok(flow)
            }
            Err(Refused::Full | Refused::Closed) => Err(SendError::QueueFull),
        }
    }

    /// Somebody vouches for the peer: its connection may rest, and gives way to no other.
    pub(super) fn keep(&mut self, flow: FlowId) {
        let Some(entry) = self.connections.get_mut(&flow) else { return };
        if let Some(place) = entry.gives_way.take() {
            self.strangers.remove(&(place, flow));
            entry.handle.keep();
        }
    }

    /// A peer has sent a message: others give way before it.
    fn heard(&mut self, flow: FlowId) {
        let Some(place) = self.connections.get_mut(&flow).and_then(|entry| entry.gives_way.as_mut()) else { return };
        self.last_place += 1;
        self.strangers.remove(&(*place, flow));
        *place = self.last_place;
        self.strangers.insert((*place, flow));
    }

    /// Whether there is room for another connection, if need be in the place of a stranger's.
    fn has_room(&mut self, remote: SocketAddr) -> bool {
        if self.connections.len() < self.config.max_connections {
            return true;
        }
        let Some((_, flow)) = self.strangers.first().copied() else {
            self.stats.refused += 1;
            self.tell_of_limit(remote, "all connections are in use: this one is refused");
            return false;
        };
        self.stats.gave_way += 1;
        self.tell_of_limit(remote, "all connections are taken: one without a registration or a call gives way to this one");
        self.forget(flow);
        true
    }

    fn tell_of_limit(&mut self, remote: SocketAddr, what: &str) {
        self.unsaid += 1;
        let now = time::Instant::now();
        if self.silent_until.is_none_or(|until| until <= now) {
            self.silent_until = Some(now + LOG_WINDOW);
            let count = std::mem::take(&mut self.unsaid);
            tracing::warn!(%remote, count, connections = self.connections.len(), "SIP over TCP: {what}");
        }
    }

    fn connect(&mut self, destination: Destination) -> Result<FlowId, SendError> {
        if !self.has_room(destination.remote) {
            return Err(SendError::TooManyConnections);
        }
        let same_family = |bound: &SocketAddr| bound.is_ipv4() == destination.remote.is_ipv4();
        let wanted = destination.local;
        let listener = self
            .bound()
            .find(|bound| wanted.is_some_and(|local| local == *bound))
            .or_else(|| self.bound().find(|bound| same_family(bound) && wanted.is_none_or(|w| w.port() == bound.port())))
            .or_else(|| self.bound().find(same_family))
            .ok_or(SendError::NoSocket { protocol: Protocol::Tcp })?;
        let from_ip = wanted.map_or(listener.ip(), |local| local.ip());
        let local = (!from_ip.is_unspecified()).then(|| SocketAddr::new(from_ip, 0));
        self.stats.connected_out += 1;
        let opening = Opening::Connect { local };
        Ok(self.add(SocketAddr::new(from_ip, listener.port()), destination.remote, opening))
    }

    fn take_in(&mut self, Accepted { stream, remote }: Accepted) {
        let from_ip = self.accepted_per_ip.get(&host(remote)).copied().unwrap_or(0);
        // Dropping the stream closes it.
        if from_ip >= self.config.max_connections_per_ip {
            self.stats.refused += 1;
            self.tell_of_limit(remote, "this host has as many connections as it may: another is refused");
            return;
        }
        if !self.has_room(remote) {
            return;
        }
        let Ok(local) = stream.local_addr() else { return };
        self.stats.accepted += 1;
        self.add(local, remote, Opening::Accepted(stream));
    }

    fn add(&mut self, local: SocketAddr, remote: SocketAddr, opening: Opening) -> FlowId {
        let flow = FlowId(self.next_flow);
        self.next_flow += 1;
        let accepted = matches!(opening, Opening::Accepted(_));
        let mut gives_way = None;
        if accepted {
            *self.accepted_per_ip.entry(host(remote)).or_default() += 1;
            self.last_place += 1;
            self.strangers.insert((self.last_place, flow));
            gives_way = Some(self.last_place);
        }
        let source = Source { protocol: Protocol::Tcp, local, remote, flow: Some(flow) };
        let config = Arc::clone(&self.config);
        let handle = Connection::spawn(flow, source, opening, config, self.events_sender.clone());
        self.connections.insert(flow, Entry { remote, accepted, gives_way, handle });
        self.by_remote.insert(remote, flow);
        flow
    }

    /// Closes a connection, if it is not closed yet, once what is queued on it has been written.
    fn forget(&mut self, flow: FlowId) {
        let Some(entry) = self.connections.remove(&flow) else { return };
        if self.by_remote.get(&entry.remote) == Some(&flow) {
            self.by_remote.remove(&entry.remote);
        }
        if let Some(place) = entry.gives_way {
            self.strangers.remove(&(place, flow));
        }
        if !entry.accepted {
            return;
        }
        let ip = host(entry.remote);
        if let Some(count) = self.accepted_per_ip.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                self.accepted_per_ip.remove(&ip);
            }
        }
    }
}

impl Drop for TcpPool {
    fn drop(&mut self) {
        for listener in &self.listeners {
            listener.task.abort();
        }
    }
}

/// Whom connections are counted for: an IPv6 host has a whole network of 64 bits to connect from.
fn host(remote: SocketAddr) -> IpAddr {
    match remote.ip() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

async fn accept_loop(listener: TcpListener, accepted: mpsc::Sender<Accepted>) {
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                if accepted.send(Accepted { stream, remote }).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a TCP connection");
                time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Connects, from a given address when there is one.
pub(super) async fn connect(remote: SocketAddr, local: Option<SocketAddr>) -> io::Result<TcpStream> {
    let socket = if remote.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(local) = local {
        socket.bind(local)?;
    }
    socket.connect(remote).await
}

/// Messages are written whole, so nothing is gained by holding them back; keep-alives find dead peers and keep NATs open.
pub(super) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(90)).with_interval(Duration::from_secs(15));
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}
