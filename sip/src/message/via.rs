//! Via: the path a request took (RFC 3261 20.42, RFC 3581).

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::scan::{decimal, find_outside, is_lws, is_token, trim};
use super::{Host, Malformed, Params};
use crate::net::Protocol;

/// The start of every branch that follows RFC 3261.
pub(crate) const MAGIC_COOKIE: &str = "z9hG4bK";

/// One Via element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via {
    /// As written; may be a transport we do not speak.
    pub transport: String,
    /// The sent-by host.
    pub host: Host,
    /// The sent-by port.
    pub port: Option<u16>,
    pub params: Params,
}

impl Via {
    /// A Via for a request of ours, asking for `rport`.
    #[must_use]
    pub fn new(protocol: Protocol, host: Host, port: Option<u16>, branch: &str) -> Via {
        let mut params = Params::new();
        params.set("branch", Some(branch));
        params.set("rport", None);
        Via { transport: protocol.as_str().to_owned(), host, port, params }
    }

    /// Reads one element.
    ///
    /// # Errors
    /// When protocol, version, transport or sent-by are missing or odd.
    pub fn parse(s: &str) -> Result<Via, Malformed> {
        let (head, params) = match find_outside(s, |b| b == b';') {
            Some(at) => (s.get(..at).unwrap_or(s), s.get(at..).unwrap_or("")),
            None => (s, ""),
        };
        let expected = Malformed::expected("SIP/2.0/transport host");
        let mut parts = head.splitn(3, '/').map(trim);
        let (Some(name), Some(version), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(expected);
        };
        // Another version is the request line's fault: the 505 for it goes back along this Via (RFC 4475 3.1.2.16).
        let is_version = !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        if !name.eq_ignore_ascii_case("SIP") || !is_version {
            return Err(expected);
        }
        let (transport, sent_by) = rest.split_once(is_lws).ok_or(expected)?;
        if !is_token(transport.as_bytes()) {
            return Err(expected);
        }
        let (host, port) = parse_sent_by(trim(sent_by))?;
        Ok(Via { transport: transport.to_owned(), host, port, params: Params::parse(params)? })
    }

    #[must_use]
    pub fn branch(&self) -> Option<&str> {
        self.params.get("branch").filter(|branch| !branch.is_empty())
    }

    /// The branch, when it is unique by RFC 3261 (magic cookie and something after it).
    #[must_use]
    pub fn rfc3261_branch(&self) -> Option<&str> {
        let branch = self.branch()?;
        let cookie = branch.get(..MAGIC_COOKIE.len())?;
        (cookie.eq_ignore_ascii_case(MAGIC_COOKIE) && branch.len() > MAGIC_COOKIE.len()).then_some(branch)
    }

    /// Notes where the request really came from: `received` when sent-by is another address, the port when `rport` asks (RFC 3581 4).
    pub fn set_received_from(&mut self, remote: SocketAddr) {
        let wants_port = self.params.contains("rport");
        if wants_port || self.host.ip() != Some(remote.ip()) {
            self.params.set("received", Some(&remote.ip().to_string()));
        }
        if wants_port {
            self.params.set("rport", Some(&remote.port().to_string()));
        }
    }

    /// The `received` address; IPv6 with or without brackets.
    #[must_use]
    pub fn received(&self) -> Option<IpAddr> {
        let value = self.params.get("received")?;
        let value = value.strip_prefix('[').and_then(|v| v.strip_suffix(']')).unwrap_or(value);
        value.parse().ok()
    }

    /// The port in `rport`, when a server filled it in.
    #[must_use]
    pub fn rport(&self) -> Option<u16> {
        decimal(self.params.get("rport")?, u32::from(u16::MAX)).and_then(|p| u16::try_from(p).ok())
    }
}

/// A sent-by; some stacks write an IPv6 address without brackets, then with no port (RFC 5118 4.5).
fn parse_sent_by(s: &str) -> Result<(Host, Option<u16>), Malformed> {
    match Host::parse_with_port(s) {
        Ok(parsed) => Ok(parsed),
        Err(error) => s.parse().map(|v6| (Host::V6(v6), None)).map_err(|_| error),
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SIP/2.0/{} {}", self.transport, self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        self.params.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spacing_around_slashes_and_parameters_is_accepted() {
        let via = Via::parse("SIP  / 2.0  / TCP     spindle.example.com   ;\r\n  branch  =   z9hG4bK9ikj8").expect("a via");
        assert_eq!(via.transport, "TCP");
        assert_eq!(via.branch(), Some("z9hG4bK9ikj8"));
        assert_eq!(via.to_string(), "SIP/2.0/TCP spindle.example.com;branch=z9hG4bK9ikj8");
        let via = Via::parse("SIP/2.0/UDP host : 5060").expect("a via");
        assert_eq!(via.port, Some(5060));
    }

    #[test]
    fn received_and_rport_are_filled_in() {
        let remote: SocketAddr = "192.0.2.9:1024".parse().expect("an address");
        let mut via = Via::parse("SIP/2.0/UDP 10.0.0.1;rport;branch=z9hG4bKx").expect("a via");
        via.set_received_from(remote);
        assert_eq!(via.to_string(), "SIP/2.0/UDP 10.0.0.1;rport=1024;branch=z9hG4bKx;received=192.0.2.9");
        let mut via = Via::parse("SIP/2.0/UDP 192.0.2.9:5070;branch=z9hG4bKx").expect("a via");
        via.set_received_from(remote);
        assert_eq!(via.to_string(), "SIP/2.0/UDP 192.0.2.9:5070;branch=z9hG4bKx");
    }

    #[test]
    fn a_bare_cookie_is_no_unique_branch() {
        let via = Via::parse("SIP/2.0/UDP h;branch=z9hG4bK").expect("a via");
        assert_eq!(via.branch(), Some("z9hG4bK"));
        assert_eq!(via.rfc3261_branch(), None);
    }

    #[test]
    fn ipv6_in_and_out_of_brackets() {
        let via = Via::parse("SIP/2.0/UDP [2001:db8::9:1]:6050;received=[2001:db8::9:255]").expect("a via");
        assert_eq!(via.port, Some(6050));
        assert_eq!(via.received(), "2001:db8::9:255".parse().ok());
    }
}
