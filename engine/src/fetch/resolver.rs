//! Names are resolved, checked, and only what passed is handed to the HTTP client: it connects to those addresses and no
//! others, so that a second answer of a name server cannot lead elsewhere.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::policy::EgressPolicy;

/// The egress policy forbids every address of a host.
#[derive(Debug)]
pub(super) struct Forbidden {
    pub(super) host: String,
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not a public address; [security] fetch_allow may name it", self.host)
    }
}

impl std::error::Error for Forbidden {}

/// The system's resolver behind the egress policy.
pub(super) struct CheckedResolver {
    policy: Arc<EgressPolicy>,
}

impl CheckedResolver {
    pub(super) fn new(policy: Arc<EgressPolicy>) -> Self {
        Self { policy }
    }
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = Arc::clone(&self.policy);
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            let allowed: Vec<SocketAddr> = found.iter().copied().filter(|address| policy.allows(address.ip())).collect();
            if allowed.is_empty() && !found.is_empty() {
                return Err(Forbidden { host }.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}
