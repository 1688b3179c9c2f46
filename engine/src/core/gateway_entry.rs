//! A gateway and what is known of it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use lockstep_sip::message::{SipUri, Uri};
use lockstep_sip::net::Destination;
use lockstep_sip::resolve::{NextHops, Server, draw};
use rand_chacha::rand_core::Rng;

use crate::config::Gateway;

/// How long what was found by a look-up that left nothing open goes before guesses.
const BELIEVED: Duration = Duration::from_secs(3600);

/// A gateway and where it was last found.
#[derive(Clone, Debug)]
pub(crate) struct GatewayEntry {
    pub config: Gateway,
    pub uri: SipUri,
    /// Next hops by the last look-up that was believed, as drawn then.
    pub destinations: Vec<Destination>,
    /// Whose they are: calls have an order drawn for each.
    servers: Vec<Server>,
    /// When that look-up came; `None`: it left questions open.
    certain_since: Option<Instant>,
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
                let (destinations, servers) = (Vec::new(), Vec::new());
                Some(Self { config, uri, destinations, servers, certain_since: None, is_down: false, busy_until: None })
            }
            // The configuration has checked it.
            Ok(Uri::Tel(_) | Uri::Other { .. }) | Err(_) => None,
        }
    }

    /// It was found there. What a name server has said before goes before a guess for a while: one that is down must not take the trunk
    /// down, or lead calls to whatever else has the gateway's name; but one of its questions may fail for good, and the gateway move.
    pub(super) fn found_at(&mut self, now: Instant, found: NextHops) {
        let is_open = self.certain_since.is_none_or(|since| now.saturating_duration_since(since) >= BELIEVED);
        if !found.servers.is_empty() && (is_open || !found.is_guess) {
            self.destinations = found.destinations();
            self.servers = found.servers;
            self.certain_since = (!found.is_guess).then_some(now);
        }
    }

    /// Its next hops in the order drawn for one call (RFC 2782); none until it was found.
    pub(super) fn draw(&self, rng: &mut impl Rng) -> Vec<Destination> {
        match self.servers.as_slice() {
            [] | [_] => self.destinations.clone(),
            servers => draw(servers, rng),
        }
    }

    /// Takes over what is known of the same gateway.
    pub(super) fn keep_found(&mut self, known: &Self) {
        self.destinations.clone_from(&known.destinations);
        self.servers.clone_from(&known.servers);
        self.certain_since = known.certain_since;
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
    #[expect(clippy::disallowed_methods, reason = "an arbitrary origin; the test moves the clock itself")]
    fn a_guess_takes_the_place_of_a_guess_and_of_what_was_found_long_ago() {
        let config: Config = toml::from_str("[[gateway]]\nid = 7\naddress = \"sip:sbc.example.net\"").unwrap();
        let mut entry = GatewayEntry::new(&config.gateways[0]).unwrap();
        let hop = |host: u8| Destination::new(Protocol::Udp, ([192, 0, 2, host], 5060).into());
        let start = Instant::now();
        for (minute, host, is_guess, known) in [
            (0, 1, true, 1),
            (1, 2, true, 2),
            (2, 3, false, 3),
            (3, 4, true, 3),
            (4, 5, false, 5),
            (63, 6, true, 5),
            (64, 7, true, 7),
            (65, 8, true, 8),
            (66, 9, false, 9),
            (67, 10, true, 9),
        ] {
            let found = NextHops { is_guess, ..NextHops::certain(vec![hop(host)]) };
            entry.found_at(start + Duration::from_secs(60 * minute), found);
            assert_eq!(entry.destinations, [hop(known)], "{minute}");
        }
        entry.found_at(start + BELIEVED * 3, NextHops { servers: Vec::new(), is_guess: false });
        assert_eq!(entry.destinations, [hop(9)]);
    }
}
