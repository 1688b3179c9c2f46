//! The two sockets of a leg.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    os::fd::{AsRawFd, RawFd},
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::stream::{Channel, Transmit};

/// Datagrams that may have come in before a socket was connected, and wait.
const EARLIER: u16 = 1_024;

/// What became of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    Yes,
    /// The system had no room for it, or no way to the address: it is lost, as on the network.
    Lost,
}

/// RTP on an even port, RTCP on the port above, both non-blocking.
pub(super) struct LegSockets {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    /// The peer the RTP socket is connected to: sending costs less then, and strangers are kept out by the kernel.
    connected: Option<SocketAddr>,
    /// Datagrams from others than the peer that may still wait: they came in before the socket was connected.
    earlier: u16,
}

impl LegSockets {
    /// Binds the pair whose RTP port is in `address`, with `dscp` in the headers of what is sent.
    pub(super) fn bind(address: SocketAddr, dscp: u8) -> io::Result<Self> {
        let rtcp = SocketAddr::new(address.ip(), address.port() | 1);
        Ok(Self { rtp: bind(address, dscp)?, rtcp: bind(rtcp, dscp)?, connected: None, earlier: 0 })
    }

    pub(super) fn descriptor(&self, channel: Channel) -> RawFd {
        self.socket(channel).as_raw_fd()
    }

    /// Connects the RTP socket to the peer that the stream has locked on to, or dissolves that.
    pub(super) fn follow(&mut self, latched: Option<SocketAddr>) {
        if latched == self.connected {
            return;
        }
        self.connected = match latched {
            Some(peer) => {
                self.earlier = EARLIER;
                self.rtp.connect(peer).is_ok().then_some(peer)
            }
            None => {
                disconnect(&self.rtp);
                None
            }
        };
    }

    pub(super) fn send(&self, transmit: Transmit<'_>) -> Sent {
        let direct = transmit.channel == Channel::Rtp && self.connected == Some(transmit.to);
        let attempt = || match direct {
            true => self.rtp.send(transmit.bytes),
            false => self.socket(transmit.channel).send_to(transmit.bytes, transmit.to),
        };
        match attempt() {
            Ok(_) => Sent::Yes,
            // An ICMP error about an earlier datagram is reported instead of sending this one.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                if attempt().is_ok() {
                    Sent::Yes
                } else {
                    Sent::Lost
                }
            }
            Err(_) => Sent::Lost,
        }
    }

    /// The next datagram and where it came from; `None` when there is none.
    pub(super) fn receive(&mut self, channel: Channel, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
        let attempt = |buffer: &mut [u8]| match (channel, self.connected) {
            (Channel::Rtp, Some(peer)) if self.earlier == 0 => self.rtp.recv(buffer).map(|length| (length, peer)),
            _ => self.socket(channel).recv_from(buffer),
        };
        let received = match attempt(buffer) {
            // As when sending: the error is taken off the socket by reading it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => attempt(buffer).ok(),
            received => received.ok(),
        };
        if channel == Channel::Rtp && self.earlier > 0 {
            self.earlier = if received.is_some() { self.earlier - 1 } else { 0 };
        }
        received
    }

    fn socket(&self, channel: Channel) -> &UdpSocket {
        match channel {
            Channel::Rtp => &self.rtp,
            Channel::Rtcp => &self.rtcp,
        }
    }
}

fn bind(address: SocketAddr, dscp: u8) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    let traffic_class = u32::from(dscp) << 2;
    // Marking is a wish to the network; a system that refuses it still carries the call.
    let _ = match address {
        SocketAddr::V4(_) => socket.set_tos_v4(traffic_class),
        SocketAddr::V6(_) => socket.set_only_v6(true).and_then(|()| socket.set_tclass_v6(traffic_class)),
    };
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Lets datagrams from any address in again. The port stays: it was bound explicitly.
fn disconnect(socket: &UdpSocket) {
    // SAFETY: an all-zero address is a valid value.
    let mut nobody: libc::sockaddr = unsafe { std::mem::zeroed() };
    nobody.sa_family = libc::AF_UNSPEC as libc::sa_family_t;
    // SAFETY: the address is of the size given and outlives the call. AF_UNSPEC cannot fail on a UDP socket.
    unsafe { libc::connect(socket.as_raw_fd(), &raw const nobody, size_of::<libc::sockaddr>() as libc::socklen_t) };
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "real loopback sockets are what is tested")]
mod tests {
    use super::*;

    fn leg() -> (LegSockets, SocketAddr) {
        // An even free port: ask the system until it gives one whose neighbour is free as well.
        loop {
            let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port() & !1;
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            if let Ok(sockets) = LegSockets::bind(address, 46) {
                return (sockets, address);
            }
        }
    }

    fn receive(leg: &mut LegSockets, channel: Channel) -> Option<(Vec<u8>, SocketAddr)> {
        let mut buffer = [0; 64];
        leg.receive(channel, &mut buffer).map(|(length, source)| (buffer[..length].to_vec(), source))
    }

    #[test]
    fn a_connected_leg_hears_only_its_peer_and_an_unconnected_one_everybody() {
        let (mut leg, address) = leg();
        let (peer, stranger) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let (at_peer, at_stranger) = (peer.local_addr().unwrap(), stranger.local_addr().unwrap());
        leg.follow(Some(at_peer));
        stranger.send_to(b"x", address).unwrap();
        peer.send_to(b"y", address).unwrap();
        assert_eq!(receive(&mut leg, Channel::Rtp), Some((b"y".to_vec(), at_peer)));
        assert_eq!(receive(&mut leg, Channel::Rtp), None);
        leg.follow(None);
        stranger.send_to(b"z", address).unwrap();
        assert_eq!(receive(&mut leg, Channel::Rtp), Some((b"z".to_vec(), at_stranger)));
    }

    #[test]
    fn what_a_stranger_sent_before_the_leg_was_connected_is_the_strangers() {
        let (mut leg, address) = leg();
        let (peer, stranger) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let (at_peer, at_stranger) = (peer.local_addr().unwrap(), stranger.local_addr().unwrap());
        for (sender, text) in [(&peer, b"a"), (&stranger, b"b"), (&peer, b"c")] {
            sender.send_to(text, address).unwrap();
        }
        assert_eq!(receive(&mut leg, Channel::Rtp), Some((b"a".to_vec(), at_peer)));
        leg.follow(Some(at_peer));
        assert_eq!(receive(&mut leg, Channel::Rtp), Some((b"b".to_vec(), at_stranger)));
        assert_eq!(receive(&mut leg, Channel::Rtp), Some((b"c".to_vec(), at_peer)));
        assert_eq!(receive(&mut leg, Channel::Rtp), None);
        peer.send_to(b"d", address).unwrap();
        assert_eq!(receive(&mut leg, Channel::Rtp), Some((b"d".to_vec(), at_peer)));
    }

    #[test]
    fn both_channels_send_from_their_own_port() {
        let (mut leg, address) = leg();
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = peer.local_addr().unwrap();
        for connected in [None, Some(to)] {
            leg.follow(connected);
            for (channel, port) in [(Channel::Rtp, address.port()), (Channel::Rtcp, address.port() + 1)] {
                assert_eq!(leg.send(Transmit { to, channel, bytes: b"hello" }), Sent::Yes);
                let mut buffer = [0; 16];
                let (length, source) = peer.recv_from(&mut buffer).unwrap();
                assert_eq!((&buffer[..length], source.port()), (&b"hello"[..], port));
            }
        }
    }

    #[test]
    fn a_peer_that_closed_its_port_does_not_stop_the_leg() {
        let (mut leg, address) = leg();
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = peer.local_addr().unwrap();
        leg.follow(Some(to));
        drop(peer);
        for _ in 0..3 {
            assert_eq!(leg.send(Transmit { to, channel: Channel::Rtp, bytes: b"x" }), Sent::Yes);
        }
        let peer = UdpSocket::bind(to).unwrap();
        peer.send_to(b"back", address).unwrap();
        assert_eq!(receive(&mut leg, Channel::Rtp).map(|(bytes, _)| bytes), Some(b"back".to_vec()));
    }
}
