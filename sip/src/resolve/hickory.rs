//! Look-ups through hickory-resolver: system configuration, hosts file, cache by TTL.

use std::{net::IpAddr, time::Duration};

use hickory_resolver::{
    TokioResolver,
    config::LookupIpStrategy,
    net::NetError,
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
        let mut builder = TokioResolver::builder_tokio().map_err(failed)?;
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
