//! Where to send a request: NAPTR, SRV and address look-ups (RFC 3263, RFC 2782).
//!
//! The procedure is here, the look-ups behind [`Dns`]: real ones in `HickoryDns`, scripted ones in tests and simulations.

#[cfg(feature = "transport")]
mod hickory;
mod srv;

use std::{
    future::Future,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use thiserror::Error;

use crate::{
    message::{Host, SipUri},
    net::{Destination, Protocol},
};

#[cfg(feature = "transport")]
pub use self::hickory::HickoryDns;

/// SRV targets looked up for one request.
const MAX_TARGETS: usize = 8;

/// A look-up under way.
pub type Lookup<'a, T> = Pin<Box<dyn Future<Output = Result<Vec<T>, DnsError>> + Send + 'a>>;

/// The look-ups the procedure needs. An empty answer is `Ok` and empty, also for names that do not exist.
pub trait Dns: Send + Sync {
    fn naptr<'a>(&'a self, name: &'a str) -> Lookup<'a, NaptrRecord>;
    fn srv<'a>(&'a self, name: &'a str) -> Lookup<'a, SrvRecord>;
    /// A and AAAA records, in the order in which they are to be tried.
    fn addresses<'a>(&'a self, name: &'a str) -> Lookup<'a, IpAddr>;
}

/// A NAPTR record (RFC 3403 §4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NaptrRecord {
    pub order: u16,
    pub preference: u16,
    pub flags: String,
    pub service: String,
    pub replacement: String,
}

/// An SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrvRecord {
    pub priority: u16,
    pub weight: u16,
    pub port: u16,
    pub target: String,
}

/// Why a look-up gave no answer at all.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DnsError {
    #[error("no answer from the name server in time")]
    Timeout,
    #[error("{0}")]
    Failed(String),
}

/// Why there is nowhere to send a request.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ResolveError {
    #[error("{host} has no address we can reach")]
    NoAddress { host: String },
    #[error("{host} says that it offers no SIP service")]
    NoService { host: String },
    #[error("transport {protocol} is not available here")]
    Unsupported { protocol: String },
    #[error("cannot look up {host}: {error}")]
    Dns { host: String, error: DnsError },
}

/// What a URI says about its next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub host: Host,
    pub port: Option<u16>,
    /// As asked for by a `transport` parameter.
    pub protocol: Option<Protocol>,
    /// A `sips:` URI.
    pub secure: bool,
}

impl Target {
    /// The target of a URI; `maddr` takes the place of the host (RFC 3263 §4).
    ///
    /// # Errors
    /// When its `transport` is none we know.
    pub fn from_uri(uri: &SipUri) -> Result<Target, ResolveError> {
        let protocol = match uri.transport() {
            None => None,
            Some(token) => Some(
                Protocol::from_token(token)
                    .map(|protocol| secured(protocol, uri.secure))
                    .ok_or_else(|| ResolveError::Unsupported { protocol: token.to_owned() })?,
            ),
        };
        let maddr = uri.params.get("maddr").and_then(|maddr| Host::parse(maddr).ok());
        Ok(Target { host: maddr.unwrap_or_else(|| uri.host.clone()), port: uri.port, protocol, secure: uri.secure })
    }
}

/// `sips:…;transport=tcp` means TLS over TCP (RFC 3261 §26.2.2).
fn secured(protocol: Protocol, secure: bool) -> Protocol {
    match protocol {
        Protocol::Tcp if secure => Protocol::Tls,
        Protocol::Ws if secure => Protocol::Wss,
        Protocol::Udp | Protocol::Tcp | Protocol::Tls | Protocol::Ws | Protocol::Wss => protocol,
    }
}

/// What this user agent can use.
#[derive(Clone, Debug)]
pub struct ResolveConfig {
    /// In order of preference.
    pub protocols: Vec<Protocol>,
    pub ipv4: bool,
    pub ipv6: bool,
    /// Destinations given at most; each is one more attempt when the one before fails.
    pub max_destinations: usize,
}

impl Default for ResolveConfig {
    fn default() -> Self {
        ResolveConfig { protocols: vec![Protocol::Udp, Protocol::Tcp], ipv4: true, ipv6: true, max_destinations: 8 }
    }
}

/// The next hops that one SRV record names, or a host without such records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// In the order in which they are to be tried; at least one.
    pub destinations: Vec<Destination>,
    /// The service's place among those offered, then the record's priority: lower ones are tried first.
    pub rank: (usize, u16),
    /// Its share of the requests, among servers of its rank.
    pub weight: u16,
}

/// The next hops of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHops {
    /// As drawn for one request; at least one.
    pub servers: Vec<Server>,
    /// A name server has left a question open: there may be others, or others before these.
    pub is_guess: bool,
}

impl NextHops {
    /// All that there is, in this order.
    #[must_use]
    pub fn certain(destinations: Vec<Destination>) -> NextHops {
        NextHops { servers: vec![Server { destinations, rank: (0, 0), weight: 0 }], is_guess: false }
    }

    /// In the order drawn.
    #[must_use]
    pub fn destinations(&self) -> Vec<Destination> {
        self.servers.iter().flat_map(|server| &server.destinations).copied().collect()
    }
}

/// Where another request is to be tried, in the order drawn for it (RFC 2782).
pub fn draw(servers: &[Server], rng: &mut impl Rng) -> Vec<Destination> {
    let drawn = srv::order(servers.iter().collect(), |server: &&Server| (server.rank, server.weight), rng);
    drawn.into_iter().flat_map(|server| server.destinations.iter().copied()).collect()
}

/// Finds the next hops of requests.
#[derive(Clone)]
pub struct Resolver {
    dns: Arc<dyn Dns>,
    config: ResolveConfig,
}

impl Resolver {
    pub fn new(dns: Arc<dyn Dns>, config: ResolveConfig) -> Self {
        Resolver { dns, config }
    }

    /// The next hops of a request.
    ///
    /// `seed` spreads requests over servers of equal priority. A host without a dot is taken for a machine, not a domain: it
    /// is looked up for addresses only.
    ///
    /// # Errors
    /// When there is none, with the reason.
    pub async fn resolve(&self, target: &Target, seed: u64) -> Result<NextHops, ResolveError> {
        let fixed = target.protocol.or(target.secure.then_some(Protocol::Tls));
        if let Some(protocol) = fixed
            && !self.config.protocols.contains(&protocol)
        {
            return Err(ResolveError::Unsupported { protocol: protocol.to_string() });
        }
        let default = fixed.or(self.config.protocols.first().copied()).unwrap_or(Protocol::Udp);
        let port = target.port.unwrap_or_else(|| default.default_port());
        let name = match &target.host {
            Host::Name(name) => name.trim_end_matches('.'),
            Host::V4(ip) => return self.only(IpAddr::V4(*ip), default, port),
            Host::V6(ip) => return self.only(IpAddr::V6(*ip), default, port),
        };
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let mut search = Search { resolver: self, rng, found: Vec::new(), gave_up: false, is_guess: false };
        if target.port.is_none() && name.contains('.') {
            search.by_service(name, fixed, target.secure).await?;
        }
        if search.found.is_empty() {
            search
                .by_address(name, default, port, (0, 0), 0)
                .await
                .map_err(|error| ResolveError::Dns { host: name.into(), error })?;
        }
        if search.found.is_empty() {
            return Err(ResolveError::NoAddress { host: name.to_owned() });
        }
        Ok(NextHops { servers: search.found, is_guess: search.is_guess })
    }

    fn only(&self, ip: IpAddr, protocol: Protocol, port: u16) -> Result<NextHops, ResolveError> {
        if !self.reaches(ip) {
            return Err(ResolveError::NoAddress { host: ip.to_string() });
        }
        Ok(NextHops::certain(vec![Destination::new(protocol, SocketAddr::new(ip, port))]))
    }

    fn reaches(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(_) => self.config.ipv4,
            IpAddr::V6(_) => self.config.ipv6,
        }
    }
}

struct Search<'a> {
    resolver: &'a Resolver,
    rng: ChaCha8Rng,
    found: Vec<Server>,
    /// A name server that let a question for SRV records time out is not asked for others.
    gave_up: bool,
    /// See [`NextHops`].
    is_guess: bool,
}

impl Search<'_> {
    async fn by_service(&mut self, name: &str, fixed: Option<Protocol>, secure: bool) -> Result<(), ResolveError> {
        let mut knows_services = true;
        let services = match fixed {
            Some(protocol) => default_services(name, &[protocol]),
            None => {
                // Some forwarders drop this question and no other.
                let offered = self.resolver.dns.naptr(name).await.unwrap_or_else(|error| {
                    tracing::debug!(%error, "look-up of NAPTR records failed");
                    knows_services = false;
                    Vec::new()
                });
                let chosen = choose_naptr(offered, &self.resolver.config.protocols, secure);
                if chosen.is_empty() { default_services(name, &self.resolver.config.protocols) } else { chosen }
            }
        };
        let mut refused = false;
        for (place, (protocol, service)) in services.into_iter().enumerate() {
            let mut records = self.servers(&service).await;
            // "The service is decidedly not available at this domain" (RFC 2782).
            if matches!(records.as_slice(), [only] if only.target.trim_end_matches('.').is_empty()) {
                refused = true;
                continue;
            }
            records.sort_by(|a, b| (a.port, &a.target).cmp(&(b.port, &b.target)));
            let ordered = srv::order(records, |record| (record.priority, record.weight), &mut self.rng);
            for record in ordered.into_iter().take(MAX_TARGETS) {
                if self.room() == 0 {
                    return Ok(());
                }
                let target = record.target.trim_end_matches('.').to_owned();
                if let Err(error) = self.by_address(&target, protocol, record.port, (place, record.priority), record.weight).await
                {
                    tracing::debug!(%error, %target, "cannot look up an SRV target");
                    self.is_guess = true;
                }
            }
        }
        self.is_guess |= !knows_services && self.found.is_empty();
        if refused && self.found.is_empty() {
            return Err(ResolveError::NoService { host: name.to_owned() });
        }
        Ok(())
    }

    async fn by_address(
        &mut self,
        name: &str,
        protocol: Protocol,
        port: u16,
        rank: (usize, u16),
        weight: u16,
    ) -> Result<(), DnsError> {
        let mut destinations = Vec::new();
        for ip in self.resolver.dns.addresses(name).await? {
            let destination = Destination::new(protocol, SocketAddr::new(ip, port));
            let mut known = self.found.iter().flat_map(|server| &server.destinations).chain(&destinations);
            let is_new = !known.any(|known| *known == destination);
            if self.resolver.reaches(ip) && destinations.len() < self.room() && is_new {
                destinations.push(destination);
            }
        }
        if !destinations.is_empty() {
            self.found.push(Server { destinations, rank, weight });
        }
        Ok(())
    }

    /// SRV records are optional: without them the procedure goes on, but only an answer says that there are none.
    async fn servers(&mut self, service: &str) -> Vec<SrvRecord> {
        if self.gave_up {
            return Vec::new();
        }
        self.resolver.dns.srv(service).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "look-up of SRV records failed");
            self.gave_up = error == DnsError::Timeout;
            self.is_guess = true;
            Vec::new()
        })
    }

    /// How many destinations may still be found.
    fn room(&self) -> usize {
        let found = self.found.iter().map(|server| server.destinations.len()).sum();
        self.resolver.config.max_destinations.saturating_sub(found)
    }
}

fn default_services(name: &str, protocols: &[Protocol]) -> Vec<(Protocol, String)> {
    protocols
        .iter()
        .filter_map(|protocol| {
            let prefix = match protocol {
                Protocol::Udp => "_sip._udp",
                Protocol::Tcp => "_sip._tcp",
                Protocol::Tls => "_sips._tcp",
                // RFC 7118 defines no SRV service for WebSockets.
                Protocol::Ws | Protocol::Wss => return None,
            };
            Some((*protocol, format!("{prefix}.{name}")))
        })
        .collect()
}

/// The SRV names of the services we can use, most preferred first (RFC 3263 §4.1).
fn choose_naptr(mut records: Vec<NaptrRecord>, protocols: &[Protocol], secure: bool) -> Vec<(Protocol, String)> {
    records.sort_by_key(|record| (record.order, record.preference));
    records
        .into_iter()
        .filter(|record| record.flags.eq_ignore_ascii_case("s"))
        .filter_map(|record| {
            let protocol = match record.service.to_ascii_uppercase().as_str() {
                "SIP+D2U" if !secure => Protocol::Udp,
                "SIP+D2T" if !secure => Protocol::Tcp,
                "SIPS+D2T" => Protocol::Tls,
                _ => return None,
            };
            let name = record.replacement.trim_end_matches('.').to_owned();
            (protocols.contains(&protocol) && !name.is_empty()).then_some((protocol, name))
        })
        .take(MAX_TARGETS)
        .collect()
}

#[cfg(test)]
mod tests;
