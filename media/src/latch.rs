//! Symmetric RTP: where packets really come from, and so where ours have to go.
//!
//! | state | packet from | what happens |
//! |---|---|---|
//! | open | the signalled address | locked on to it |
//! | open | where packets came from before a new address was signalled | refused for `SILENCE` |
//! | open | the same, of a host behind a NAT that has signalled another port | refused for `GRACE` |
//! | open | another port of the signalled host | locked on to it |
//! | open | another host, signalled address private or unusable | locked on to it |
//! | open | another host | locked on to it after `GRACE` without the signalled one and a second packet |
//! | locked | the address locked on to | accepted |
//! | locked | the signalled address | locked on to that instead: it is the one that was vouched for |
//! | locked | anything else | refused, until the locked one was silent for `SILENCE` |
//!
//! A new address in SDP opens the latch. The same address again does not: a session refresh must not let a third party in. Packets
//! that still come from where the other side was before are late ones, or those of a branch or a party that it has left: for
//! `SILENCE` they are refused. A phone behind a NAT may tell a new port and keep its mapping: late packets are over after `GRACE`.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// How long another host has to wait for the signalled address to speak first, and late packets may come.
const GRACE: Duration = Duration::from_millis(200);

/// How long the address locked on to may say nothing before another one is let in.
const SILENCE: Duration = Duration::from_secs(3);

/// The most former addresses that are known again: each branch of a forked INVITE has one.
const MAX_FORMER: usize = 8;

#[derive(Debug, Clone)]
pub(crate) struct Latch {
    signalled: Option<SocketAddr>,
    /// The last address signalled: a hold by `c=0.0.0.0` leaves it.
    known: Option<SocketAddr>,
    locked: Option<Locked>,
    /// When the latch was opened.
    opened: Instant,
    candidate: Option<SocketAddr>,
    former: Vec<Former>,
}

/// Where packets came from, or went to, until another address was signalled.
#[derive(Debug, Clone, Copy)]
struct Former {
    signalled: SocketAddr,
    source: SocketAddr,
}

#[derive(Debug, Clone, Copy)]
struct Locked {
    address: SocketAddr,
    last_heard: Instant,
}

impl Latch {
    pub(crate) fn new(now: Instant) -> Self {
        Latch { signalled: None, known: None, locked: None, opened: now, candidate: None, former: Vec::new() }
    }

    /// Takes the address of a session description. Returns whether it opened the latch.
    pub(crate) fn signal(&mut self, now: Instant, address: Option<SocketAddr>) -> bool {
        let is_same = self.signalled == address;
        let left = self.known.zip(self.destination()).map(|(signalled, source)| Former { signalled, source });
        self.signalled = address;
        // Hold by `c=0.0.0.0` says where not to send. It does not let anyone else in.
        if is_same || (address.is_none() && self.locked.is_some()) {
            return false;
        }
        let known = address.or(self.known);
        let mut former = std::mem::take(&mut self.former);
        former.extend(left);
        former.retain(|left| Some(left.signalled) != known && Some(left.source) != known);
        former.drain(..former.len().saturating_sub(MAX_FORMER));
        *self = Latch { signalled: address, known, locked: None, opened: now, candidate: None, former };
        true
    }

    /// Where packets go: the address locked on to, else the signalled one.
    pub(crate) fn destination(&self) -> Option<SocketAddr> {
        self.locked().or(self.signalled)
    }

    /// The address locked on to.
    pub(crate) fn locked(&self) -> Option<SocketAddr> {
        self.locked.map(|locked| locked.address)
    }

    /// The only address packets are accepted from now, where there is one. An address that was not signalled is not: the
    /// signalled one may still take over.
    pub(crate) fn closed_to(&self, now: Instant) -> Option<SocketAddr> {
        let is_signalled = |locked: SocketAddr| self.signalled.is_none_or(|signalled| signalled == locked);
        self.locked().filter(|locked| self.is_closed(now) && is_signalled(*locked))
    }

    fn is_closed(&self, now: Instant) -> bool {
        self.locked.is_some_and(|locked| now.saturating_duration_since(locked.last_heard) < SILENCE)
    }

    /// Whether a valid packet from `source` is the other side's.
    pub(crate) fn admit(&mut self, now: Instant, source: SocketAddr) -> bool {
        if let Some(locked) = &mut self.locked
            && locked.address == source
        {
            locked.last_heard = now;
            return true;
        }
        if self.signalled == Some(source) || self.opens_for(now, source) {
            self.locked = Some(Locked { address: source, last_heard: now });
            self.candidate = None;
            return true;
        }
        false
    }

    fn opens_for(&mut self, now: Instant, source: SocketAddr) -> bool {
        if self.is_closed(now) || self.is_left(now, source) {
            return false;
        }
        let Some(signalled) = self.signalled else { return true };
        if signalled.ip() == source.ip() || (is_private(signalled.ip()) && !is_private(source.ip())) {
            return true;
        }
        let is_second = self.candidate.replace(source) == Some(source);
        is_second && now.saturating_duration_since(self.opened) >= GRACE
    }

    /// Whether the other side has left `source` for another address just now.
    fn is_left(&self, now: Instant, source: SocketAddr) -> bool {
        let since = now.saturating_duration_since(self.opened);
        self.former.iter().any(|left| left.source == source && since < self.refused_for(left))
    }

    fn refused_for(&self, left: &Former) -> Duration {
        let host = left.signalled.ip();
        let is_behind_nat = is_private(host) && left.source.ip() != host;
        if is_behind_nat && self.known.is_some_and(|known| known.ip() == host) { GRACE } else { SILENCE }
    }
}

/// Addresses that mean nothing outside their own network.
fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            ip.is_private() || ip.is_link_local() || ip.is_loopback() || shared
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[expect(clippy::disallowed_methods, reason = "any instant will do as the origin of a manual clock")]
    fn open_for(signalled: &str) -> (Instant, Latch) {
        let now = Instant::now();
        let mut latch = Latch::new(now);
        assert!(latch.signal(now, Some(address(signalled))));
        (now, latch)
    }

    #[test]
    fn packets_go_to_the_signalled_address_until_one_comes_from_elsewhere_on_its_host() {
        let (now, mut latch) = open_for("192.0.2.1:4000");
        assert_eq!(latch.destination(), Some(address("192.0.2.1:4000")));
        assert!(latch.admit(now, address("192.0.2.1:61000")));
        assert_eq!(latch.destination(), Some(address("192.0.2.1:61000")));
    }

    #[test]
    fn a_third_address_is_refused_while_the_locked_one_speaks() {
        let (mut now, mut latch) = open_for("192.0.2.1:4000");
        assert!(latch.admit(now, address("192.0.2.1:4000")));
        for _ in 0..500 {
            now += Duration::from_millis(20);
            assert!(latch.admit(now, address("192.0.2.1:4000")));
            assert!(!latch.admit(now, address("198.51.100.7:4000")));
            assert!(!latch.admit(now, address("192.0.2.1:4002")));
        }
    }

    #[test]
    fn another_host_is_let_in_after_silence() {
        let (now, mut latch) = open_for("192.0.2.1:4000");
        assert!(latch.admit(now, address("192.0.2.1:4000")));
        let later = now + SILENCE;
        assert!(!latch.admit(later - Duration::from_millis(1), address("198.51.100.7:4000")));
        assert!(!latch.admit(later, address("198.51.100.7:4000")), "one packet is not enough");
        assert!(latch.admit(later, address("198.51.100.7:4000")));
        assert!(!latch.admit(later, address("203.0.113.9:4000")));
    }

    #[test]
    fn the_signalled_address_speaks_first_and_takes_over_later() {
        let (now, mut latch) = open_for("192.0.2.1:4000");
        let elsewhere = address("198.51.100.7:4000");
        assert!(!latch.admit(now, elsewhere));
        assert!(!latch.admit(now + Duration::from_millis(20), elsewhere));
        let later = now + GRACE;
        assert!(latch.admit(later, elsewhere));
        assert!(latch.admit(later, address("192.0.2.1:4000")));
        assert!(!latch.admit(later, elsewhere));
    }

    #[test]
    fn a_private_signalled_address_does_not_make_the_public_one_wait() {
        let (now, mut latch) = open_for("10.0.0.5:4000");
        assert!(latch.admit(now, address("198.51.100.7:61000")));
    }

    #[test]
    fn hold_without_an_address_lets_nobody_else_in() {
        let (now, mut latch) = open_for("192.0.2.1:4000");
        assert!(latch.admit(now, address("192.0.2.1:4000")));
        assert!(!latch.signal(now, None));
        assert!(latch.admit(now, address("192.0.2.1:4000")));
        assert!(!latch.admit(now, address("198.51.100.7:4000")));
        assert!(latch.signal(now, Some(address("192.0.2.1:4000"))));
    }

    #[test]
    fn only_the_signalled_address_is_worth_connecting_a_socket_to() {
        let (now, mut latch) = open_for("192.0.2.1:4000");
        assert_eq!(latch.closed_to(now), None);
        assert!(latch.admit(now, address("192.0.2.1:61000")));
        assert_eq!(latch.closed_to(now), None, "the signalled one takes over when it speaks");
        assert!(latch.admit(now, address("192.0.2.1:4000")));
        assert_eq!(latch.closed_to(now), Some(address("192.0.2.1:4000")));
        assert_eq!(latch.closed_to(now + SILENCE), None);
        let (now, mut latch) = open_for("10.0.0.5:4000");
        assert!(latch.admit(now, address("198.51.100.7:61000")));
        assert_eq!(latch.closed_to(now), None);
    }

    #[test]
    fn a_session_refresh_does_not_open_the_latch_and_a_new_address_does() {
        let (now, mut latch) = open_for("192.0.2.1:4000");
        assert!(latch.admit(now, address("192.0.2.1:61000")));
        assert!(!latch.signal(now, Some(address("192.0.2.1:4000"))));
        assert_eq!(latch.locked(), Some(address("192.0.2.1:61000")));
        assert!(latch.signal(now, Some(address("198.51.100.7:5000"))));
        assert_eq!(latch.destination(), Some(address("198.51.100.7:5000")));
        assert!(!latch.admit(now, address("192.0.2.1:61000")));
    }

    #[test]
    fn packets_still_on_their_way_from_the_port_before_do_not_draw_ours_back() {
        let (now, mut latch) = open_for("192.0.2.1:4000");
        assert!(latch.admit(now, address("192.0.2.1:4000")));
        assert!(latch.signal(now, Some(address("192.0.2.1:5000"))));
        assert!(!latch.admit(now, address("192.0.2.1:4000")));
        assert_eq!(latch.destination(), Some(address("192.0.2.1:5000")));
        assert!(latch.admit(now, address("192.0.2.1:61000")), "a third port is the new one behind a NAT");
    }

    #[test]
    fn a_branch_or_a_party_that_was_left_is_not_let_in_while_the_new_one_listens() {
        let (mut now, mut latch) = open_for("192.0.2.1:4000");
        assert!(latch.admit(now, address("192.0.2.1:61000")));
        assert!(latch.signal(now, Some(address("192.0.2.2:4000"))), "never heard");
        assert!(latch.signal(now, Some(address("192.0.2.2:5000"))));
        while now + Duration::from_millis(20) < latch.opened + SILENCE {
            now += Duration::from_millis(20);
            assert!(!latch.admit(now, address("192.0.2.1:61000")));
            assert!(!latch.admit(now, address("192.0.2.2:4000")));
        }
        assert_eq!(latch.destination(), Some(address("192.0.2.2:5000")));
    }

    #[test]
    fn a_phone_that_tells_a_new_port_and_sends_from_the_old_one_is_heard_again() {
        let (now, mut latch) = open_for("10.0.0.5:4000");
        assert!(latch.admit(now, address("198.51.100.7:61000")));
        assert!(latch.signal(now, Some(address("10.0.0.5:5000"))));
        assert!(!latch.admit(now, address("198.51.100.7:61000")));
        assert!(latch.admit(now + GRACE, address("198.51.100.7:61000")));
    }

    #[test]
    fn another_private_host_has_the_one_before_refused_for_long() {
        let (now, mut latch) = open_for("10.0.0.5:4000");
        assert!(latch.admit(now, address("198.51.100.7:61000")));
        assert!(latch.signal(now, Some(address("10.0.0.6:4000"))));
        assert!(!latch.admit(now + GRACE, address("198.51.100.7:61000")));
        assert!(latch.admit(now + SILENCE, address("198.51.100.7:61000")));
    }

    #[test]
    fn whoever_is_back_at_a_former_address_is_heard_at_once() {
        let (now, mut latch) = open_for("10.0.0.5:4000");
        assert!(latch.admit(now, address("198.51.100.7:61000")));
        assert!(!latch.signal(now, None));
        assert!(latch.signal(now, Some(address("10.0.0.5:4000"))), "back from a hold");
        assert!(latch.admit(now, address("198.51.100.7:61000")));
        assert!(latch.signal(now, Some(address("203.0.113.9:4000"))), "another branch");
        assert!(latch.signal(now, Some(address("10.0.0.5:4000"))));
        assert!(latch.admit(now, address("198.51.100.7:61000")));
    }

    #[test]
    fn former_addresses_are_bounded() {
        let (now, mut latch) = open_for("192.0.2.1:4000");
        for port in 5000..6000 {
            assert!(latch.signal(now, Some(SocketAddr::from(([192, 0, 2, 1], port)))));
        }
        assert_eq!(latch.former.len(), MAX_FORMER);
    }
}
