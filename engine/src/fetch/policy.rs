//! Egress: which addresses scripts may reach. Everything that is not a public unicast address is refused unless
//! `[security] fetch_allow` names it, so that a script cannot talk to the engine's own network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::SecurityConfig;

/// Decides by address, never by name: a name may resolve to anything.
#[derive(Clone, Debug)]
pub struct EgressPolicy {
    security: SecurityConfig,
}

impl EgressPolicy {
    /// The policy of a configuration.
    pub fn new(security: SecurityConfig) -> Self {
        Self { security }
    }

    /// Whether a connection to `ip` may be made.
    pub fn allows(&self, ip: IpAddr) -> bool {
        is_public(ip) || self.security.may_fetch(ip)
    }
}

/// Whether an address is one of the public Internet (IANA special-purpose registries).
fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !(a == 0 // "this network"
        || a == 10
        || a == 127
        || (a == 100 && (64..128).contains(&b)) // carrier-grade NAT, RFC 6598
        || (a == 169 && b == 254)
        || (a == 172 && (16..32).contains(&b))
        || (a == 192 && b == 0 && c == 0) // IETF protocol assignments
        || (a == 192 && b == 0 && c == 2)
        || (a == 192 && b == 88 && c == 99) // 6to4 relays
        || (a == 192 && b == 168)
        || (a == 198 && (b == 18 || b == 19)) // benchmarking
        || (a == 198 && b == 51 && c == 100)
        || (a == 203 && b == 0 && c == 113)
        || a >= 224)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [a, b, ..] = ip.segments();
    // Only 2000::/3 is global unicast; what lies inside it and leads back into IPv4 or nowhere is taken out.
    (0x2000..0x4000).contains(&a)
        && !(a == 0x2001 && b < 0x0200) // protocol assignments, Teredo among them
        && !(a == 0x2001 && b == 0x0db8)
        && (a != 0x2002 || is_public_v4(embedded_v4(ip))) // 6to4
        && !(a == 0x3fff && b < 0x1000) // documentation, RFC 9637
}

fn embedded_v4(ip: Ipv6Addr) -> Ipv4Addr {
    let [_, high, low, ..] = ip.segments();
    let [a, b] = high.to_be_bytes();
    let [c, d] = low.to_be_bytes();
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allow: &[&str]) -> EgressPolicy {
        let fetch_allow = allow.iter().map(|net| net.parse().unwrap()).collect();
        EgressPolicy::new(SecurityConfig { fetch_allow, ..SecurityConfig::default() })
    }

    #[test]
    fn public_addresses_may_be_reached() {
        for ip in ["8.8.8.8", "192.0.1.1", "172.32.0.1", "100.63.0.1", "2606:4700::1111", "2002:808:808::1"] {
            assert!(policy(&[]).allows(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn everything_else_is_refused_in_every_spelling() {
        for ip in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "fe80::1",
            "fc00::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "2002:7f00:1::",
        ] {
            assert!(!policy(&[]).allows(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn the_configuration_opens_what_it_names_and_nothing_more() {
        let policy = policy(&["127.0.0.0/8"]);
        assert!(policy.allows("127.0.0.1".parse().unwrap()));
        assert!(policy.allows("::ffff:127.0.0.1".parse().unwrap()));
        assert!(!policy.allows("10.0.0.1".parse().unwrap()));
    }
}
