//! Where a peer is: its network, and which host it is there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The network of a peer, 24 bits of IPv4, 48 of IPv6, as who is behind a NAT may change among its addresses. And which host there, or of
/// IPv6 which network of 64 bits.
pub(super) fn place(peer: Option<IpAddr>) -> (u128, u16) {
    match peer.map(|peer| peer.to_canonical()) {
        None => (0, 0),
        Some(IpAddr::V4(ip)) => (u128::from(ip.to_bits() & !0xff), u16::from(ip.octets()[3])),
        Some(IpAddr::V6(ip)) => (ip.to_bits() & !(u128::MAX >> 48), ip.segments()[3]),
    }
}

/// That host of the peer's network.
pub(super) fn beside(peer: IpAddr, host: u16) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(ip) => Ipv4Addr::from_bits((ip.to_bits() & !0xff) | u32::from(host)).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits((ip.to_bits() & !(u128::MAX >> 48)) | (u128::from(host) << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_found_again_from_its_neighbour() {
        for (ip, neighbour, found) in [
            ("203.0.113.8", "203.0.113.99", "203.0.113.8"),
            ("203.0.113.8", "::ffff:203.0.113.99", "203.0.113.8"),
            ("2001:db8:1:2::3", "2001:db8:1:ffff::1", "2001:db8:1:2::"),
        ] {
            let [ip, neighbour, found] = [ip, neighbour, found].map(|text| text.parse::<IpAddr>().unwrap());
            let (network, host) = place(Some(ip));
            assert_eq!((network, beside(neighbour, host)), (place(Some(neighbour)).0, found));
        }
    }
}
