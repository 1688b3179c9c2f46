//! UDP sockets (RFC 3261 §18). Reads come in batches; sends never wait.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsFd,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use socket2::{Domain, Protocol as IpProtocol, Socket, Type};
use tokio::{io::Interest, net::UdpSocket, sync::mpsc, task::AbortHandle};

use crate::net::{Protocol, Received, Source};

use super::packet_info::{self, Receiver};

/// Unreachable peers on their way to the core; past it they are left to the transactions' timers.
const UNREACHABLE: usize = 64;

/// One listening UDP socket.
pub(super) struct UdpPort {
    socket: Arc<UdpSocket>,
    bound: SocketAddr,
    unreachable: mpsc::Receiver<SocketAddr>,
    watcher: AbortHandle,
}

/// Counters of all UDP sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UdpStats {
    pub received: u64,
    /// Datagrams that only keep a NAT binding open.
    pub keep_alives: u64,
    pub sent: u64,
    /// Datagrams dropped because the kernel's send buffer was full.
    pub send_buffer_full: u64,
    pub receive_errors: u64,
    /// ICMP errors that say that a peer cannot be reached.
    pub unreachable: u64,
}

impl UdpPort {
    pub(super) fn bind(address: SocketAddr, buffer_bytes: usize) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(IpProtocol::UDP))?;
        if address.is_ipv6() {
            // So that `udp:[::]:5060` and `udp:0.0.0.0:5060` can stand side by side.
            socket.set_only_v6(true)?;
        }
        enlarge_buffers(&socket, buffer_bytes);
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        packet_info::enable(socket.as_fd(), address.is_ipv6())?;
        let socket = Arc::new(UdpSocket::from_std(socket.into())?);
        let bound = socket.local_addr()?;
        let (sender, unreachable) = mpsc::channel(UNREACHABLE);
        let watcher = tokio::spawn(watch_errors(Arc::clone(&socket), sender)).abort_handle();
        Ok(UdpPort { socket, bound, unreachable, watcher })
    }

    pub(super) fn bound(&self) -> SocketAddr {
        self.bound
    }

    /// Hands one batch of datagrams to `handle`; ready with how many there were, pending when there are none.
    pub(super) fn poll_receive(
        &self,
        cx: &mut Context<'_>,
        receiver: &mut Receiver,
        stats: &mut UdpStats,
        handle: &mut dyn FnMut(Received<'_>),
    ) -> Poll<usize> {
        loop {
            if ready!(self.socket.poll_recv_ready(cx)).is_err() {
                return Poll::Pending;
            }
            let count = match self.socket.try_io(Interest::READABLE, || receiver.receive(self.socket.as_fd())) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => {
                    stats.receive_errors += 1;
                    tracing::debug!(%error, local = %self.bound, "cannot read datagrams");
                    return Poll::Ready(0);
                }
            };
            for datagram in receiver.datagrams() {
                stats.received += 1;
                if is_keep_alive(datagram.bytes) {
                    stats.keep_alives += 1;
                    continue;
                }
                let local = match datagram.local {
                    Some(ip) => SocketAddr::new(ip, self.bound.port()),
                    None => self.bound,
                };
                let source = Source { protocol: Protocol::Udp, local, remote: datagram.remote, flow: None };
                handle(Received { source, bytes: datagram.bytes });
            }
            return Poll::Ready(count);
        }
    }

    /// The next peer that an ICMP error came back from (RFC 3261 §18.4).
    pub(super) fn poll_unreachable(&mut self, cx: &mut Context<'_>) -> Poll<SocketAddr> {
        match self.unreachable.poll_recv(cx) {
            Poll::Ready(Some(remote)) => Poll::Ready(remote),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    /// Sends at once or not at all. A full send buffer counts as a loss on the way: retransmissions cover it.
    pub(super) fn send(&self, remote: SocketAddr, local: Option<IpAddr>, bytes: &Bytes, stats: &mut UdpStats) -> io::Result<()> {
        let local = local.filter(|ip| self.bound.ip().is_unspecified() && !ip.is_unspecified());
        let attempt = || packet_info::send(self.socket.as_fd(), remote, local, bytes);
        // An ICMP error for an earlier datagram is reported once to whoever calls next, whatever the destination.
        match attempt().or_else(|error| if is_unreachable(&error) { attempt() } else { Err(error) }) {
            Ok(()) => stats.sent += 1,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock) || is_out_of_buffers(&error) => {
                stats.send_buffer_full += 1;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

impl Drop for UdpPort {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

/// Errors wake no reader, so somebody has to wait for them; off the path of the datagrams.
async fn watch_errors(socket: Arc<UdpSocket>, unreachable: mpsc::Sender<SocketAddr>) {
    while socket.ready(Interest::ERROR).await.is_ok() {
        // WouldBlock at the end of the queue clears the readiness.
        while let Ok(error) = socket.try_io(Interest::ERROR, || packet_info::next_unreachable(socket.as_fd())) {
            if let Some(remote) = error {
                let _ = unreachable.try_send(remote);
            }
        }
    }
}

fn is_unreachable(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    matches!(error.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable)
}

/// Bursts arrive while a turn of the core runs; the default of 208 KiB holds some 150 INVITEs.
fn enlarge_buffers(socket: &Socket, bytes: usize) {
    for (name, result) in [("receive", socket.set_recv_buffer_size(bytes)), ("send", socket.set_send_buffer_size(bytes))] {
        if let Err(error) = result {
            tracing::warn!(%error, bytes, "cannot enlarge the {name} buffer of a UDP socket");
        }
    }
}

fn is_out_of_buffers(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOBUFS)
}

/// Phones send bare CRLFs, NULs or spaces to keep their NAT binding.
fn is_keep_alive(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | b' ' | 0))
}
