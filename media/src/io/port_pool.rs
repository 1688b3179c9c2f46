//! RTP ports: an even one for RTP, the one above it for RTCP (RFC 3550, section 11), for each local address.
//!
//! A released pair rests for a while, so that late packets of the old call do not enter a new one. Pairs are given out
//! longest-rested first, from a shuffled start, so that the next port cannot be guessed.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use rand::{SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;

/// Pairs tried before giving up when other programs hold ports of the range.
const MAX_TRIES: usize = 64;
/// How long a port that could not be bound is left alone.
const TAKEN: Duration = Duration::from_secs(10);

/// Why there is no port.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// Every pair is in use or resting.
    #[error("no RTP port is free on {ip} (range {first}-{last})")]
    Exhausted {
        /// The local address.
        ip: IpAddr,
        /// First port of the range.
        first: u16,
        /// Last port of the range.
        last: u16,
    },
    /// The process has no descriptor left.
    #[error("no descriptor is left for an RTP socket")]
    Descriptors,
    /// The address is not one of this machine, or another failure that no other port will cure.
    #[error("cannot open an RTP socket on {ip}: {error}")]
    Socket {
        /// The local address.
        ip: IpAddr,
        /// What the system said.
        error: io::Error,
    },
}

/// The ports of a range, for each local address.
#[derive(Debug)]
pub(super) struct PortPool {
    range: RangeInclusive<u16>,
    quarantine: Duration,
    seed: u64,
    free: BTreeMap<IpAddr, Free>,
}

#[derive(Debug, Clone, Copy)]
struct Resting {
    port: u16,
    until: Instant,
}

/// The pairs of one address that no call has. Each queue is in the order of `until`.
#[derive(Debug)]
struct Free {
    rested: VecDeque<Resting>,
    /// Those that another program had when they were last tried.
    taken: VecDeque<Resting>,
}

impl Free {
    fn pop(&mut self, now: Instant) -> Option<Resting> {
        let mut due = |queue: fn(&mut Self) -> &mut VecDeque<Resting>| {
            let queue = queue(self);
            queue.front().is_some_and(|resting| resting.until <= now).then(|| queue.pop_front()).flatten()
        };
        due(|free| &mut free.rested).or_else(|| due(|free| &mut free.taken))
    }
}

impl PortPool {
    pub(super) fn new(range: RangeInclusive<u16>, quarantine: Duration, seed: u64) -> Self {
        Self { range, quarantine, seed, free: BTreeMap::new() }
    }

    /// Takes a pair that `bind` accepts; `bind` gets the RTP address.
    pub(super) fn take<S>(
        &mut self,
        now: Instant,
        ip: IpAddr,
        mut bind: impl FnMut(SocketAddr) -> io::Result<S>,
    ) -> Result<(SocketAddr, S), PortError> {
        let (first, last) = (*self.range.start(), *self.range.end());
        let exhausted = || PortError::Exhausted { ip, first, last };
        let (range, seed) = (&self.range, self.seed);
        let free = self.free.entry(ip).or_insert_with(|| shuffled(range, seed, now));
        for _ in 0..MAX_TRIES {
            let resting = free.pop(now).ok_or_else(exhausted)?;
            let address = SocketAddr::new(ip, resting.port);
            match bind(address) {
                Ok(sockets) => return Ok((address, sockets)),
                Err(error) if matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied) => {
                    free.taken.push_back(Resting { port: resting.port, until: now + TAKEN });
                }
                Err(error) => {
                    free.rested.push_front(resting);
                    let descriptors = matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE));
                    return Err(if descriptors { PortError::Descriptors } else { PortError::Socket { ip, error } });
                }
            }
        }
        Err(exhausted())
    }

    /// Gives a pair back; it rests before it is used again.
    pub(super) fn release(&mut self, now: Instant, address: SocketAddr) {
        if let Some(free) = self.free.get_mut(&address.ip()) {
            free.rested.push_back(Resting { port: address.port(), until: now + self.quarantine });
        }
    }

    /// Whether a pair could be given out at once on this address; on any known one of its family where it is unspecified.
    pub(super) fn has_free(&self, now: Instant, ip: IpAddr) -> bool {
        let is_meant = |known: &IpAddr| *known == ip || (ip.is_unspecified() && known.is_ipv4() == ip.is_ipv4());
        let mut known = self.free.iter().filter(|(known, _)| is_meant(known)).peekable();
        if known.peek().is_none() {
            return even_ports(&self.range).next().is_some();
        }
        known.any(|(_, free)| {
            [&free.rested, &free.taken].iter().any(|queue| queue.front().is_some_and(|resting| resting.until <= now))
        })
    }
}

fn even_ports(range: &RangeInclusive<u16>) -> impl Iterator<Item = u16> {
    let last = *range.end();
    let first = range.start().saturating_add(range.start() % 2);
    (first..=last).step_by(2).filter(move |&port| port < last)
}

fn shuffled(range: &RangeInclusive<u16>, seed: u64, now: Instant) -> Free {
    let mut ports: Vec<u16> = even_ports(range).collect();
    ports.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    Free { rested: ports.into_iter().map(|port| Resting { port, until: now }).collect(), taken: VecDeque::new() }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "an origin; time moves by addition")]
mod tests {
    use super::*;

    const IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn take(pool: &mut PortPool, now: Instant) -> Option<u16> {
        pool.take(now, IP, |_| Ok(())).ok().map(|(address, ())| address.port())
    }

    #[test]
    fn only_even_ports_whose_rtcp_port_is_in_the_range_are_given_out() {
        for (range, expected) in [(20_000..=20_005, 3), (20_001..=20_004, 1), (20_000..=20_000, 0), (65_534..=65_535, 1)] {
            let mut pool = PortPool::new(range.clone(), Duration::ZERO, 1);
            let now = Instant::now();
            let mut ports: Vec<u16> = std::iter::from_fn(|| take(&mut pool, now)).collect();
            ports.sort_unstable();
            assert_eq!(ports.len(), expected, "{range:?}");
            assert!(ports.iter().all(|port| port % 2 == 0 && range.contains(port) && range.contains(&(port + 1))));
        }
    }

    #[test]
    fn a_released_pair_rests_before_it_is_used_again() {
        let mut pool = PortPool::new(20_000..=20_001, Duration::from_secs(5), 1);
        let now = Instant::now();
        assert_eq!(take(&mut pool, now), Some(20_000));
        assert!(matches!(pool.take(now, IP, |_| Ok(())), Err(PortError::Exhausted { .. })));
        pool.release(now, SocketAddr::new(IP, 20_000));
        assert_eq!(take(&mut pool, now + Duration::from_millis(4999)), None);
        for ip in [IP, IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)] {
            assert!(!pool.has_free(now, ip));
            assert!(pool.has_free(now + Duration::from_secs(5), ip));
        }
        assert_eq!(take(&mut pool, now + Duration::from_secs(5)), Some(20_000));
    }

    #[test]
    fn a_port_held_by_another_program_is_skipped() {
        let mut pool = PortPool::new(20_000..=20_003, Duration::ZERO, 1);
        let now = Instant::now();
        let mut tried = Vec::new();
        let (address, ()) = pool
            .take(now, IP, |address| {
                tried.push(address.port());
                if tried.len() == 1 { Err(io::ErrorKind::AddrInUse.into()) } else { Ok(()) }
            })
            .unwrap();
        assert_eq!(address.port(), tried[1]);
        assert_eq!(take(&mut pool, now), None);
        assert_eq!(take(&mut pool, now + TAKEN), Some(tried[0]));
    }

    #[test]
    fn a_port_held_by_another_program_stands_in_no_others_way() {
        let mut pool = PortPool::new(20_000..=20_003, Duration::from_secs(1), 1);
        let now = Instant::now();
        let held = |held: SocketAddr| move |address| if address == held { Err(io::ErrorKind::AddrInUse.into()) } else { Ok(()) };
        let (first, ()) = pool.take(now, IP, |_| Ok(())).unwrap();
        let other = SocketAddr::new(IP, 40_002 - first.port());
        assert!(pool.take(now, IP, held(other)).is_err());
        pool.release(now, first);
        // Behind the one that is left alone for ten seconds.
        let rested = now + Duration::from_secs(1);
        assert!(pool.has_free(rested, IP));
        assert_eq!(pool.take(rested, IP, held(other)).unwrap().0, first);
    }

    #[test]
    fn failures_that_no_other_port_cures_end_the_search_and_lose_no_port() {
        let mut pool = PortPool::new(20_000..=20_001, Duration::ZERO, 1);
        let now = Instant::now();
        let full = pool.take(now, IP, |_| Err::<(), _>(io::Error::from_raw_os_error(libc::EMFILE)));
        assert!(matches!(full, Err(PortError::Descriptors)));
        let foreign = pool.take(now, IP, |_| Err::<(), _>(io::ErrorKind::AddrNotAvailable.into()));
        assert!(matches!(foreign, Err(PortError::Socket { .. })));
        assert_eq!(take(&mut pool, now), Some(20_000));
    }

    #[test]
    fn addresses_do_not_share_ports() {
        let mut pool = PortPool::new(20_000..=20_001, Duration::ZERO, 1);
        let now = Instant::now();
        assert!(take(&mut pool, now).is_some());
        assert!(pool.take(now, "::1".parse().unwrap(), |_| Ok(())).is_ok());
    }
}
