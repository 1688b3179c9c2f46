//! The simulated network: what happens to a packet between two hosts, decided by a seed.
//!
//! ```text
//!   sent ──► lost?  ──► delayed, jittered, held back? ──► twice? ──► delivered
//! ```
//!
//! A link is one direction between two hosts; SIP and media of a host share it, as they share a line. Each link draws
//! from a generator of its own, so that traffic elsewhere changes nothing about it.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rustc_hash::FxHashMap;
use sha2::{Digest as _, Sha256};

/// How long a packet that is held back arrives after those sent when it was: more than a packet time of audio.
const HELD_BACK: Duration = Duration::from_millis(30);

/// What a link does to packets. Shares are 0–1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Conditions {
    /// Share of packets that never arrive.
    pub loss: f64,
    /// How long every packet takes.
    pub delay: Duration,
    /// At most this much longer, evenly spread; packets keep their order.
    pub jitter: Duration,
    /// Share of packets that later ones overtake.
    pub reorder: f64,
    /// Share of packets that arrive twice.
    pub duplicate: f64,
}

impl Conditions {
    /// A quiet local network.
    pub(crate) const CLEAN: Self =
        Self { loss: 0.0, delay: Duration::from_millis(1), jitter: Duration::ZERO, reorder: 0.0, duplicate: 0.0 };

    fn is_clean(&self) -> bool {
        self.loss <= 0.0 && self.jitter.is_zero() && self.reorder <= 0.0 && self.duplicate <= 0.0
    }
}

impl Default for Conditions {
    fn default() -> Self {
        Self::CLEAN
    }
}

/// A datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub bytes: Box<[u8]>,
}

#[derive(Debug)]
struct Link {
    conditions: Conditions,
    rng: ChaCha8Rng,
    /// When the packet before arrives: the next one does not arrive earlier.
    last: Option<Instant>,
}

/// A packet on its way.
#[derive(Debug)]
struct Flight {
    due: Instant,
    packet: Packet,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Network {
    seed: u64,
    origin: Instant,
    conditions: Conditions,
    /// Hosts whose lines differ from the rest.
    hosts: BTreeMap<IpAddr, Conditions>,
    links: FxHashMap<(IpAddr, IpAddr), Link>,
    /// By arrival, then by when they were sent. Few fly at once, and most of them arrive after those sent before.
    flights: VecDeque<Flight>,
    trace: Option<Sha256>,
}

impl Network {
    /// A network whose links are all in these conditions, unless a host has its own.
    pub(crate) fn new(origin: Instant, seed: u64, conditions: Conditions) -> Self {
        Self {
            seed,
            origin,
            conditions,
            hosts: BTreeMap::new(),
            links: FxHashMap::default(),
            flights: VecDeque::new(),
            trace: None,
        }
    }

    /// From now on every packet is hashed; see [`Self::digest`].
    #[cfg(test)]
    pub(crate) fn keep_trace(&mut self) {
        self.trace = Some(Sha256::new());
    }

    /// The hash over every packet that was sent, with its time, since [`Self::keep_trace`].
    #[cfg(test)]
    pub(crate) fn digest(&self) -> Option<[u8; 32]> {
        self.trace.clone().map(|trace| trace.finalize().into())
    }

    /// Gives the line of a host, in both directions, its own conditions.
    pub(crate) fn set_host(&mut self, host: IpAddr, conditions: Conditions) {
        self.hosts.insert(host, conditions);
        for ((from, to), link) in &mut self.links {
            if *from == host || *to == host {
                link.conditions = conditions;
            }
        }
    }

    /// Takes a packet.
    pub(crate) fn send(&mut self, now: Instant, packet: Packet) {
        if let Some(trace) = &mut self.trace {
            let at = u64::try_from(now.saturating_duration_since(self.origin).as_nanos()).unwrap_or(u64::MAX);
            trace.update(at.to_be_bytes());
            trace.update(packet.from.to_string());
            trace.update(packet.to.to_string());
            trace.update((packet.bytes.len() as u64).to_be_bytes());
            trace.update(&packet.bytes);
        }
        let key = (packet.from.ip(), packet.to.ip());
        let link = match self.links.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                // A host talks to itself without a line.
                let own = if key.0 == key.1 { Some(Conditions::CLEAN) } else { None };
                let host = own.or_else(|| self.hosts.get(&key.0).or_else(|| self.hosts.get(&key.1)).copied());
                entry.insert(Link {
                    conditions: host.unwrap_or(self.conditions),
                    rng: ChaCha8Rng::from_seed(link_seed(self.seed, key)),
                    last: None,
                })
            }
        };
        let (first, second) = link.fate(now);
        if let Some(due) = second {
            self.launch(due, packet.clone());
        }
        if let Some(due) = first {
            self.launch(due, packet);
        }
    }

    fn launch(&mut self, due: Instant, packet: Packet) {
        let overtaken = self.flights.iter().rev().take_while(|flight| flight.due > due).count();
        self.flights.insert(self.flights.len() - overtaken, Flight { due, packet });
    }

    /// When the next packet arrives.
    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        self.flights.front().map(|flight| flight.due)
    }

    /// The next packet that has arrived by now.
    pub(crate) fn arrival(&mut self, now: Instant) -> Option<Packet> {
        self.next_arrival().filter(|due| *due <= now)?;
        self.flights.pop_front().map(|flight| flight.packet)
    }
}

impl Link {
    /// When a packet sent now arrives, and when its double does.
    fn fate(&mut self, now: Instant) -> (Option<Instant>, Option<Instant>) {
        let Conditions { loss, delay, jitter, reorder, duplicate } = self.conditions;
        if self.conditions.is_clean() {
            let due = self.in_order(now + delay);
            return (Some(due), None);
        }
        // The same draws for every packet: one that is lost changes nothing about those after it.
        let [lost, late, held, twice] = std::array::from_fn(|_| self.draw());
        if lost < loss {
            return (None, None);
        }
        let due = now + delay + jitter.mul_f64(late);
        let due = if held < reorder { due + HELD_BACK } else { self.in_order(due) };
        (Some(due), (twice < duplicate).then_some(due + delay))
    }

    fn in_order(&mut self, due: Instant) -> Instant {
        let due = self.last.map_or(due, |last| last.max(due));
        self.last = Some(due);
        due
    }

    /// Evenly spread over 0–1.
    fn draw(&mut self) -> f64 {
        f64::from(self.rng.next_u32()) / (f64::from(u32::MAX) + 1.0)
    }
}

fn link_seed(seed: u64, (from, to): (IpAddr, IpAddr)) -> [u8; 32] {
    Sha256::new().chain_update(seed.to_be_bytes()).chain_update(format!("{from} {to}")).finalize().into()
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "an arbitrary origin; time moves by addition")]
mod tests {
    use super::*;

    const ROUGH: Conditions = Conditions {
        loss: 0.2,
        delay: Duration::from_millis(10),
        jitter: Duration::from_millis(5),
        reorder: 0.1,
        duplicate: 0.1,
    };

    /// (milliseconds after the first packet was sent, its number) of everything that arrives of 1,000 packets.
    fn arrivals(seed: u64, conditions: Conditions) -> Vec<(u128, u16)> {
        let origin = Instant::now();
        let mut network = Network::new(origin, seed, conditions);
        let (from, to) = ("127.0.1.1:4000".parse().unwrap(), "127.0.0.1:4000".parse().unwrap());
        for number in 0..1_000_u16 {
            let now = origin + Duration::from_millis(20) * u32::from(number);
            network.send(now, Packet { from, to, bytes: number.to_be_bytes().into() });
        }
        let mut found = Vec::new();
        while let Some(due) = network.next_arrival() {
            let packet = network.arrival(due).unwrap();
            found.push(((due - origin).as_millis(), u16::from_be_bytes([packet.bytes[0], packet.bytes[1]])));
        }
        found
    }

    #[test]
    fn a_clean_line_delivers_everything_once_in_order() {
        let found = arrivals(1, Conditions::CLEAN);
        assert_eq!(found.len(), 1_000);
        assert!((0..).zip(&found).all(|(number, (at, got))| *got == number && *at == u128::from(number) * 20 + 1));
    }

    #[test]
    fn a_rough_line_loses_doubles_and_reorders_about_as_much_as_it_says() {
        let found = arrivals(7, ROUGH);
        let distinct: std::collections::BTreeSet<u16> = found.iter().map(|(_, number)| *number).collect();
        assert!((740..860).contains(&distinct.len()), "{} of 1000 arrived", distinct.len());
        assert!((50..120).contains(&(found.len() - distinct.len())), "{} doubles", found.len() - distinct.len());
        let overtaken = found.windows(2).filter(|pair| pair[0].1 > pair[1].1).count();
        assert!((40..160).contains(&overtaken), "{overtaken} overtaken");
    }

    #[test]
    fn the_seed_decides_everything() {
        assert_eq!(arrivals(7, ROUGH), arrivals(7, ROUGH));
        assert_ne!(arrivals(7, ROUGH), arrivals(8, ROUGH));
    }
}
