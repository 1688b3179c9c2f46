//! A gateway and what is known of it.

use std::net::IpAddr;
use std::time::Instant;

use lockstep_sip::message::{SipUri, Uri};
use lockstep_sip::net::Destination;
use lockstep_sip::resolve::NextHops;

use crate::config::Gateway;

/// A gateway and where it was last found.
#[derive(Clone, Debug)]
pub(crate) struct GatewayEntry {
    pub config: Gateway,
    pub uri: SipUri,
    /// Next hops by the last look-up that was believed.
    pub destinations: Vec<Destination>,
    /// That look-up left questions open.
    pub is_guess: bool,
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
                let config = gateway.clone();
                Some(Self { config, uri, destinations: Vec::new(), is_guess: true, is_down: false, busy_until: None })
            }
            // The configuration has checked it.
            Ok(Uri::Tel(_) | Uri::Other { .. }) | Err(_) => None,
        }
    }

    /// It was found there. What a name server has said before goes before a guess: one that is down must not take the trunk down, or
    /// lead calls to whatever else has the gateway's name.
    pub(super) fn found_at(&mut self, NextHops { destinations, is_guess }: NextHops) {
        if !destinations.is_empty() && (self.is_guess || !is_guess) {
            self.destinations = destinations;
            self.is_guess = is_guess;
        }
    }

    /// Takes over what is known of the same gateway.
    pub(super) fn keep_found(&mut self, known: &Self) {
        self.destinations.clone_from(&known.destinations);
        self.is_guess = known.is_guess;
        self.is_down = known.is_down;
        self.busy_until = known.busy_until;
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

#[cfg(test)]
mod tests {
    use lockstep_sip::net::Protocol;

    use super::*;
    use crate::config::Config;

    #[test]
    fn a_guess_takes_the_place_of_nothing_but_a_guess() {
        let config: Config = toml::from_str("[[gateway]]\nid = 7\naddress = \"sip:sbc.example.net\"").unwrap();
        let mut entry = GatewayEntry::new(&config.gateways[0]).unwrap();
        let hop = |host: u8| Destination::new(Protocol::Udp, ([192, 0, 2, host], 5060).into());
        for (host, is_guess, known) in [(1, true, 1), (2, true, 2), (3, false, 3), (4, true, 3), (5, false, 5)] {
            entry.found_at(NextHops { destinations: vec![hop(host)], is_guess });
            assert_eq!(entry.destinations, [hop(known)]);
        }
        entry.found_at(NextHops { destinations: Vec::new(), is_guess: false });
        assert_eq!(entry.destinations, [hop(5)]);
    }
}
