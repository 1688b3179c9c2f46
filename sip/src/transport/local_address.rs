//! Which of our addresses a peer is reached from: asked of the kernel's routing table, and kept for a while.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

/// Peers remembered; when full, all are asked anew.
const MAX_PEERS: usize = 4096;

/// A cache of routing decisions. Clear it when interfaces change, or from time to time.
#[derive(Debug, Default)]
pub(super) struct LocalAddresses {
    by_peer: BTreeMap<IpAddr, IpAddr>,
}

impl LocalAddresses {
    /// The source address of packets to `peer`; `None` when there is no route.
    pub(super) fn towards(&mut self, peer: IpAddr) -> Option<IpAddr> {
        if let Some(local) = self.by_peer.get(&peer) {
            return Some(*local);
        }
        let local = probe(peer)?;
        if self.by_peer.len() >= MAX_PEERS {
            self.by_peer.clear();
        }
        self.by_peer.insert(peer, local);
        Some(local)
    }

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
    use super::*;

    #[test]
    fn loopback_is_reached_from_loopback() {
        let mut addresses = LocalAddresses::default();
        let peer = IpAddr::from(Ipv4Addr::LOCALHOST);
        assert_eq!(addresses.towards(peer), Some(peer));
        assert_eq!(addresses.by_peer.len(), 1);
        assert_eq!(addresses.towards(peer), Some(peer));
        addresses.clear();
        assert!(addresses.by_peer.is_empty());
    }
}
