//! A gateway and what is known of it.

use std::net::IpAddr;
use std::time::Instant;

use lockstep_sip::message::{SipUri, Uri};
use lockstep_sip::net::Destination;

use crate::config::Gateway;

/// A gateway and where it was last found.
#[derive(Clone, Debug)]
pub(crate) struct GatewayEntry {
    pub config: Gateway,
    pub uri: SipUri,
    /// Next hops by the last look-up that gave any.
    pub destinations: Vec<Destination>,
    /// It did not answer when it was last asked.
    pub is_down: bool,
    /// It has said that it takes no calls until then.
    pub busy_until: Option<Instant>,
}

impl GatewayEntry {
    /// A gateway that has not been looked for yet.
    pub(super) fn new(gateway: &Gateway) -> Option<Self> {
        match Uri::parse(gateway.address.as_str()) {
            Ok(Uri::Sip(uri)) => {
                Some(Self { config: gateway.clone(), uri, destinations: Vec::new(), is_down: false, busy_until: None })
            }
            // The configuration has checked it.
            Ok(Uri::Tel(_) | Uri::Other { .. }) | Err(_) => None,
        }
    }

    /// Whether its calls come from `ip`.
    pub(super) fn is_at(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.config.addresses.iter().any(|net| net.contains(ip))
            || self.destinations.iter().any(|destination| destination.remote.ip().to_canonical() == ip)
    }

    /// Whether `user` is what we are registered as with it.
    pub(super) fn knows_us_as(&self, user: &str) -> bool {
        self.config.register && self.config.username.as_deref() == Some(user)
    }
}
