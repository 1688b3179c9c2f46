//! Look-ups through hickory-resolver: system configuration, hosts file, cache by TTL.

use std::{net::IpAddr, time::Duration};

use hickory_resolver::{
    ResolverBuilder, TokioResolver,
    config::LookupIpStrategy,
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::{RData, RecordType},
};
use tokio::time::timeout;

use super::{Dns, DnsError, Lookup, NaptrRecord, ResolveConfig, SrvRecord};

/// One look-up with all its attempts.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(3);
/// Answers kept, each for its TTL.
const CACHED_ANSWERS: u64 = 4096;

/// DNS as configured on this machine. Clones share one cache.
#[derive(Clone)]
pub struct HickoryDns {
    resolver: TokioResolver,
}

impl HickoryDns {
    /// Reads the system's resolver configuration. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When that configuration cannot be read.
    pub fn from_system(config: &ResolveConfig) -> Result<Self, DnsError> {
        Self::new(TokioResolver::builder_tokio().map_err(failed)?, config)
    }

    fn new(mut builder: ResolverBuilder<TokioRuntimeProvider>, config: &ResolveConfig) -> Result<Self, DnsError> {
        let options = builder.options_mut();
        options.ip_strategy = match (config.ipv4, config.ipv6) {
            (true, false) => LookupIpStrategy::Ipv4Only,
            (false, true) => LookupIpStrategy::Ipv6Only,
            (true, true) | (false, false) => LookupIpStrategy::Ipv4AndIpv6,
        };
        options.cache_size = CACHED_ANSWERS;
        options.timeout = Duration::from_secs(1);
        options.attempts = 2;
        Ok(HickoryDns { resolver: builder.build().map_err(failed)? })
    }

    async fn records<T>(&self, name: &str, kind: RecordType, read: impl Fn(&RData) -> Option<T>) -> Result<Vec<T>, DnsError> {
        // Fully qualified: service names are never searched for in the machine's own domains.
        let name = format!("{}.", name.trim_end_matches('.'));
        match timeout(LOOKUP_TIMEOUT, self.resolver.lookup(name, kind)).await {
            Err(_) => Err(DnsError::Timeout),
            Ok(Err(error)) => none_or(error),
            Ok(Ok(lookup)) => Ok(lookup.answers().iter().filter_map(|record| read(&record.data)).collect()),
        }
    }
}

impl Dns for HickoryDns {
    fn naptr<'a>(&'a self, name: &'a str) -> Lookup<'a, NaptrRecord> {
        Box::pin(self.records(name, RecordType::NAPTR, |data| match data {
            RData::NAPTR(naptr) => Some(NaptrRecord {
                order: naptr.order,
                preference: naptr.preference,
                flags: String::from_utf8_lossy(&naptr.flags).into_owned(),
                service: String::from_utf8_lossy(&naptr.services).into_owned(),
                replacement: naptr.replacement.to_ascii(),
            }),
            _ => None,
        }))
    }

    fn srv<'a>(&'a self, name: &'a str) -> Lookup<'a, SrvRecord> {
        Box::pin(self.records(name, RecordType::SRV, |data| match data {
            RData::SRV(srv) => {
                Some(SrvRecord { priority: srv.priority, weight: srv.weight, port: srv.port, target: srv.target.to_ascii() })
            }
            _ => None,
        }))
    }

    fn addresses<'a>(&'a self, name: &'a str) -> Lookup<'a, IpAddr> {
        Box::pin(async move {
            match timeout(LOOKUP_TIMEOUT, self.resolver.lookup_ip(name)).await {
                Err(_) => Err(DnsError::Timeout),
                Ok(Err(error)) => none_or(error),
                Ok(Ok(lookup)) => Ok(lookup.iter().collect()),
            }
        })
    }
}

fn none_or<T>(error: NetError) -> Result<Vec<T>, DnsError> {
    if error.is_no_records_found() { Ok(Vec::new()) } else { Err(failed(error)) }
}

fn failed(error: NetError) -> DnsError {
    match error {
        NetError::Timeout => DnsError::Timeout,
        other => DnsError::Failed(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
    use tokio::net::UdpSocket;

    use super::*;

    const NO_ERROR: u8 = 0;
    const SERVER_FAILURE: u8 = 2;
    const NO_SUCH_NAME: u8 = 3;

    /// What a name server answers to a question: a response code, and the data of the records there are.
    fn answer(name: &str, kind: u16) -> (u8, &'static [&'static [u8]]) {
        match (name, kind) {
            ("example.net", 1) => (NO_ERROR, &[&[192, 0, 2, 1], &[192, 0, 2, 2]]),
            ("example.net", 35) => (NO_ERROR, &[b"\0\x0a\0\x14\x01s\x07SIP+D2T\0\x04_sip\x04_tcp\x07example\x03net\0"]),
            ("_sip._tcp.example.net", 33) => (NO_ERROR, &[b"\0\x01\0\x3c\x13\xc4\x01a\x07example\x03net\0"]),
            ("broken.example.net", _) => (SERVER_FAILURE, &[]),
            ("nowhere.example.net", _) => (NO_SUCH_NAME, &[]),
            _ => (NO_ERROR, &[]),
        }
    }

    /// The answer to a query as it goes over the wire (RFC 1035 4.1).
    fn response(query: &[u8]) -> Vec<u8> {
        let mut labels = Vec::new();
        let mut at = 12;
        while query[at] > 0 {
            let end = at + 1 + usize::from(query[at]);
            labels.push(String::from_utf8_lossy(&query[at + 1..end]).into_owned());
            at = end;
        }
        let kind = [query[at + 1], query[at + 2]];
        let (code, records) = answer(&labels.join("."), u16::from_be_bytes(kind));
        let count = u8::try_from(records.len()).unwrap();
        let mut response = [&query[..2], &[0x81, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0], &query[12..at + 5]].concat();
        for data in records {
            // Of the name asked for, of class IN, for 60 s.
            let head = [0xc0, 12, kind[0], kind[1], 0, 1, 0, 0, 0, 60, 0, u8::try_from(data.len()).unwrap()];
            response.extend(head);
            response.extend(*data);
        }
        response
    }

    async fn dns() -> HickoryDns {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut query = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut query).await {
                socket.send_to(&response(&query[..length]), from).await.unwrap();
            }
        });
        let mut connection = ConnectionConfig::udp();
        connection.port = address.port();
        let server = NameServerConfig::new(address.ip(), true, vec![connection]);
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        HickoryDns::new(builder, &ResolveConfig::default()).unwrap()
    }

    #[tokio::test]
    async fn records_are_read_as_they_were_written() {
        let dns = dns().await;
        let naptr = NaptrRecord {
            order: 10,
            preference: 20,
            flags: "s".into(),
            service: "SIP+D2T".into(),
            replacement: "_sip._tcp.example.net.".into(),
        };
        assert_eq!(dns.naptr("example.net").await, Ok(vec![naptr]));
        let srv = SrvRecord { priority: 1, weight: 60, port: 5060, target: "a.example.net.".into() };
        assert_eq!(dns.srv("_sip._tcp.example.net").await, Ok(vec![srv]));
        let mut addresses = dns.addresses("example.net").await.unwrap();
        addresses.sort_unstable();
        assert_eq!(addresses, [IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2])]);
    }

    #[tokio::test]
    async fn what_is_not_there_is_no_failure_and_a_failure_is_not_nothing() {
        let dns = dns().await;
        assert_eq!(dns.srv("nowhere.example.net").await, Ok(Vec::new()));
        assert_eq!(dns.srv("example.net").await, Ok(Vec::new()), "of that type");
        assert_eq!(dns.addresses("nowhere.example.net").await, Ok(Vec::new()));
        assert!(matches!(dns.srv("broken.example.net").await, Err(DnsError::Failed(_))));
    }
}
