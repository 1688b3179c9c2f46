//! Which of our addresses a peer is reached from: asked of the kernel's routing table, and kept for a short while.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use tokio::time::Instant;

/// Peers remembered; when full, all are asked anew.
const MAX_PEERS: usize = 4096;
/// How long an answer is believed: our addresses change (DHCP, VPN, fail-over).
const BELIEVED: Duration = Duration::from_secs(5);

/// A cache of routing decisions.
#[derive(Debug)]
pub(super) struct LocalAddresses {
    by_peer: BTreeMap<IpAddr, (IpAddr, Instant)>,
    /// Asks the kernel; `None` when there is no route.
    ask: fn(IpAddr) -> Option<IpAddr>,
}

impl Default for LocalAddresses {
    fn default() -> Self {
        LocalAddresses { by_peer: BTreeMap::new(), ask: probe }
    }
}

impl LocalAddresses {
    /// The source address of packets to `peer`; `None` when there is no route.
    pub(super) fn towards(&mut self, now: Instant, peer: IpAddr) -> Option<IpAddr> {
        if let Some((local, until)) = self.by_peer.get(&peer)
            && now < *until
        {
            return Some(*local);
        }
        let local = (self.ask)(peer)?;
        if self.by_peer.len() >= MAX_PEERS {
            self.by_peer.clear();
        }
        self.by_peer.insert(peer, (local, now + BELIEVED));
        Some(local)
    }

    /// A datagram could not be sent: what was known may be out of date.
    pub(super) fn clear(&mut self) {
        self.by_peer.clear();
    }
}

/// Connecting a UDP socket sends nothing; it makes the kernel choose a source address.
#[expect(clippy::disallowed_methods, reason = "part of the transport, which is the IO edge")]
fn probe(peer: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = match peer {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
    socket.connect(SocketAddr::new(peer, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn loopback_is_reached_from_loopback() {
        assert_eq!(LocalAddresses::default().towards(Instant::now(), PEER), Some(PEER));
    }

    #[test]
    fn an_address_that_has_changed_is_noticed_after_a_short_while_and_at_once_when_told() {
        thread_local!(static OURS: Cell<u8> = const { Cell::new(1) });
        let ours = |number: u8| Some(IpAddr::from([10, 77, 0, number]));
        let ask = |_: IpAddr| Some(IpAddr::from([10, 77, 0, OURS.get()]));
        let mut addresses = LocalAddresses { ask, ..LocalAddresses::default() };
        let start = Instant::now();
        assert_eq!(addresses.towards(start, PEER), ours(1));
        OURS.set(5);
        assert_eq!(addresses.towards(start + BELIEVED / 2, PEER), ours(1));
        assert_eq!(addresses.towards(start + BELIEVED, PEER), ours(5));
        OURS.set(6);
        addresses.clear();
        assert_eq!(addresses.towards(start + BELIEVED, PEER), ours(6));
    }
}
