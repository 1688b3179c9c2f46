//! `[sip]`: where SIP is listened for, and how it behaves.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::Deserialize;

/// `[sip]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SipConfig {
    pub listen: Vec<Listen>,
    /// Address written into SDP and Contact towards peers outside `[security] local_nets`.
    #[serde(deserialize_with = "super::address::optional_ip")]
    pub external_ip: Option<IpAddr>,
    /// Realm of digest challenges.
    pub realm: String,
    /// What digest challenges offer, most preferred first. Telephones that know only MD5 and give up when they see anything
    /// else (libre before 2.0, i.e. baresip 1.0) need `["md5"]`.
    pub digest: Vec<Digest>,
    /// `User-Agent` and `Server` header; empty: neither is sent.
    pub user_agent: String,
    /// Calls at once; beyond it new ones get 503. 0: as many as ports, descriptors and the machine allow.
    pub max_calls: u32,
    /// Longest registration granted, seconds (RFC 3261 section 10.3).
    pub max_expires_s: u32,
    /// Shortest registration granted, seconds; below it 423.
    pub min_expires_s: u32,
    /// How long live calls may go on after SIGTERM, seconds.
    pub drain_s: u32,
}

impl Default for SipConfig {
    fn default() -> Self {
        let any = |protocol| Listen { protocol, addr: SocketAddr::from(([0, 0, 0, 0], 5060)) };
        Self {
            listen: vec![any(Protocol::Udp), any(Protocol::Tcp)],
            external_ip: None,
            realm: "lockstep".to_owned(),
            digest: vec![Digest::Sha256, Digest::Md5],
            user_agent: concat!("Lockstep/", env!("CARGO_PKG_VERSION")).to_owned(),
            max_calls: 0,
            max_expires_s: 3600,
            min_expires_s: 60,
            drain_s: 30,
        }
    }
}

/// A digest algorithm (RFC 8760).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Digest {
    #[serde(rename = "sha-256")]
    Sha256,
    #[serde(rename = "md5")]
    Md5,
}

/// A transport SIP is carried over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Udp,
    Tcp,
    Tls,
    Ws,
    Wss,
}

impl Protocol {
    /// As written in front of an address.
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }
}

/// An address to listen on: `udp:0.0.0.0:5060`. Port 0 lets the system choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Listen {
    pub protocol: Protocol,
    pub addr: SocketAddr,
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.protocol.name(), self.addr)
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("expected `udp:ADDRESS:PORT` (or tcp, tls, ws, wss), found `{text}`");
        let (protocol, addr) = text.split_once(':').ok_or_else(expected)?;
        let protocol = match protocol {
            "udp" => Protocol::Udp,
            "tcp" => Protocol::Tcp,
            "tls" => Protocol::Tls,
            "ws" => Protocol::Ws,
            "wss" => Protocol::Wss,
            _ => return Err(expected()),
        };
        Ok(Self { protocol, addr: addr.parse().map_err(|_| expected())? })
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_addresses_round_trip() {
        for text in ["udp:0.0.0.0:5060", "tcp:[::1]:0", "wss:127.0.0.1:8443"] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_host_name_or_missing_port_is_refused() {
        for text in ["udp:localhost:5060", "udp:0.0.0.0", "0.0.0.0:5060", "sctp:0.0.0.0:5060", ""] {
            assert!(text.parse::<Listen>().unwrap_err().starts_with("expected `udp:"), "{text}");
        }
    }
}
