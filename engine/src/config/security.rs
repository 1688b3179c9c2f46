//! `[security]`: who may call without credentials, and where scripts may reach.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer};

use super::Secret;

/// `[security]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SecurityConfig {
    /// May call without credentials, and are addressed without `external_ip`.
    pub local_nets: Vec<Net>,
    /// Loopback, private and link-local networks that scripts' `fetch` may reach all the same.
    pub fetch_allow: Vec<Net>,
    /// What the engine signs its own keys with (`cxHelper`).
    pub secret: Option<Secret>,
    /// Text messages over SIP that the scripts of one account may send in a minute; there is no customer whom they are counted for.
    pub messages_per_minute: u32,
}

impl Default for SecurityConfig {
    fn default() -> Self {
        let loopback = IpNet::new_assert(IpAddr::from([127, 0, 0, 0]), 8);
        Self { local_nets: vec![Net(loopback)], fetch_allow: Vec::new(), secret: None, messages_per_minute: 60 }
    }
}

impl SecurityConfig {
    /// Whether `ip` may call without credentials. Loopback always may.
    pub fn is_local(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        ip.is_loopback() || self.local_nets.iter().any(|net| net.contains(ip))
    }

    /// Whether `fetch` may reach `ip` although it is not a public address.
    pub fn may_fetch(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.fetch_allow.iter().any(|net| net.contains(ip))
    }
}

/// A network (`198.51.100.0/24`, `2001:db8::/32`) or a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Net(IpNet);

impl Net {
    /// This machine, by IPv4 and IPv6.
    pub(super) fn loopback() -> Vec<Self> {
        let v4 = IpNet::new_assert(IpAddr::from([127, 0, 0, 0]), 8);
        vec![Self(v4), Self(IpAddr::from(std::net::Ipv6Addr::LOCALHOST).into())]
    }

    /// The address, where it is one alone.
    pub(crate) fn single(&self) -> Option<IpAddr> {
        (self.0.prefix_len() == self.0.max_prefix_len()).then(|| self.0.addr())
    }

    /// Whether `ip` lies within.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.0.contains(&ip.to_canonical())
    }
}

impl std::fmt::Display for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for Net {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self(ip.into()));
        }
        match text.parse::<IpNet>() {
            Ok(net) if net.trunc() == net => Ok(Self(net)),
            Ok(net) => {
                Err(format!("expected `{}` for the network, found `{text}`, which has bits set after its prefix", net.trunc()))
            }
            Err(_) => Err(format!("expected a network such as `192.0.2.0/24` or an address, found `{text}`")),
        }
    }
}

impl<'de> Deserialize<'de> for Net {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_local_whatever_is_configured() {
        let config = SecurityConfig { local_nets: vec!["10.0.0.0/8".parse().unwrap()], ..SecurityConfig::default() };
        assert!(config.is_local("127.0.0.1".parse().unwrap()));
        assert!(config.is_local("::1".parse().unwrap()));
        assert!(config.is_local("10.2.3.4".parse().unwrap()));
        assert!(!config.is_local("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn an_ipv4_address_seen_through_an_ipv6_socket_is_the_same() {
        let config = SecurityConfig { local_nets: vec!["10.0.0.0/8".parse().unwrap()], ..SecurityConfig::default() };
        assert!(config.is_local("::ffff:10.2.3.4".parse().unwrap()));
    }

    #[test]
    fn host_bits_in_a_network_are_an_error_that_shows_the_network() {
        let error = "10.0.0.1/8".parse::<Net>().unwrap_err();
        assert!(error.starts_with("expected `10.0.0.0/8`"), "{error}");
    }
}
