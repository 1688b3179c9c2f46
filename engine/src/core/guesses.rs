//! Wrong passwords, by where they come from: whoever guesses is not listened to for a while.
//!
//! A wrong password is counted where its nonce was given to: nobody can have others barred by forging their address.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// From the first wrong password on; after that everything is forgotten.
const WINDOW: Duration = Duration::from_secs(60);
/// So many for one user, and nothing more is taken for that user from there.
const WRONG: u32 = 10;
/// So many users, and nothing more is taken from there for anybody who is not registered from there.
const USERS: usize = 20;
/// Places remembered; past it the oldest goes.
const MAX_PLACES: usize = 4_096;
/// Places that the log is told of within one window.
const MAX_TOLD: u32 = 100;
/// Characters of a name that are kept.
const MAX_NAME: usize = 64;

/// Somebody who has shown wrong passwords.
#[derive(Debug)]
struct Guesser {
    until: Instant,
    /// How many, by user.
    wrong: BTreeMap<String, u32>,
    unheard: u64,
}

/// A place from which somebody was not listened to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Barred {
    /// An address, or the network of 64 bits that an IPv6 host has to itself.
    pub place: IpAddr,
    pub unheard: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Guesses {
    places: HashMap<IpAddr, Guesser>,
    /// In the order in which they are forgotten.
    order: VecDeque<(Instant, IpAddr)>,
    told: u32,
    told_until: Option<Instant>,
}

impl Guesses {
    /// For how long nobody listens to what is shown from there for this user; `None`: it is looked at. `is_at_home` says whether the user
    /// is registered from there: whoever guesses behind the same address does not take that away.
    pub(crate) fn barred(
        &mut self,
        now: Instant,
        from: IpAddr,
        user: &str,
        is_at_home: impl FnOnce() -> bool,
    ) -> Option<Duration> {
        let guesser = self.places.get_mut(&place(from)).filter(|guesser| now < guesser.until)?;
        let of_user = guesser.wrong.get(&name(user)).copied().unwrap_or(0);
        if of_user < WRONG && (guesser.wrong.len() < USERS || is_at_home()) {
            return None;
        }
        guesser.unheard += 1;
        Some(guesser.until - now)
    }

    /// Notes a wrong password; whether the log is to be told.
    pub(crate) fn note(&mut self, now: Instant, from: IpAddr, user: &str) -> bool {
        let place = place(from);
        let is_known = self.places.get(&place).is_some_and(|guesser| now < guesser.until);
        if !is_known {
            if self.places.len() >= MAX_PLACES
                && let Some((_, oldest)) = self.order.pop_front()
            {
                self.places.remove(&oldest);
            }
            let until = now + WINDOW;
            self.order.push_back((until, place));
            self.places.insert(place, Guesser { until, wrong: BTreeMap::new(), unheard: 0 });
        }
        if let Some(guesser) = self.places.get_mut(&place) {
            *guesser.wrong.entry(name(user)).or_default() += 1;
        }
        !is_known && self.may_tell(now)
    }

    /// When [`Guesses::over`] has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.order.front().map(|(until, _)| *until)
    }

    /// Forgets those whose time is over; from where somebody was not listened to.
    pub(crate) fn over(&mut self, now: Instant) -> Vec<Barred> {
        let mut barred = Vec::new();
        while let Some((until, place)) = self.order.pop_front_if(|(until, _)| *until <= now) {
            // One that was noted anew before this has another end.
            if self.places.get(&place).is_some_and(|guesser| guesser.until == until)
                && let Some(Guesser { unheard, .. }) = self.places.remove(&place)
                && unheard > 0
            {
                barred.push(Barred { place, unheard });
            }
        }
        barred.truncate(usize::try_from(MAX_TOLD).unwrap_or(usize::MAX));
        barred
    }

    fn may_tell(&mut self, now: Instant) -> bool {
        if self.told_until.is_none_or(|until| until <= now) {
            self.told = 0;
            self.told_until = Some(now + WINDOW);
        }
        self.told += 1;
        self.told <= MAX_TOLD
    }
}

/// Whether both are one place to a guesser.
pub(crate) fn is_one_place(a: IpAddr, b: IpAddr) -> bool {
    place(a) == place(b)
}

fn place(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

fn name(user: &str) -> String {
    user.chars().take(MAX_NAME).collect()
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "an origin; time moves by addition")]
mod tests {
    use super::*;

    const FROM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 8));

    #[test]
    fn whoever_guesses_at_one_user_is_not_listened_to_for_that_user_until_the_minute_is_over() {
        let (mut guesses, start) = (Guesses::default(), Instant::now());
        for number in 0..WRONG {
            assert_eq!(guesses.barred(start, FROM, "1001", || false), None, "{number}");
            assert_eq!(guesses.note(start, FROM, "1001"), number == 0, "the log is told once");
        }
        let later = start + Duration::from_secs(20);
        assert_eq!(guesses.barred(later, FROM, "1001", || false), Some(Duration::from_secs(40)));
        assert_eq!(guesses.barred(later, FROM, "1002", || false), None, "another phone behind that address");
        assert_eq!(guesses.barred(later, [203, 0, 113, 9].into(), "1001", || false), None, "the user elsewhere");
        assert_eq!(guesses.over(later), []);
        let due = guesses.poll_timeout().unwrap();
        assert_eq!(guesses.over(due), [Barred { place: FROM, unheard: 1 }]);
        assert_eq!((guesses.barred(due, FROM, "1001", || false), guesses.poll_timeout()), (None, None));
    }

    #[test]
    fn whoever_guesses_at_many_users_is_not_listened_to_for_any_but_those_registered_from_there() {
        let (mut guesses, start) = (Guesses::default(), Instant::now());
        for number in 0..USERS {
            assert_eq!(guesses.barred(start, FROM, "1001", || false), None);
            guesses.note(start, FROM, &format!("user{number}"));
        }
        assert!(guesses.barred(start, FROM, "1001", || false).is_some());
        assert_eq!(guesses.barred(start, FROM, "1001", || true), None, "registered from there");
        for _ in 0..WRONG {
            guesses.note(start, FROM, "1001");
        }
        assert!(guesses.barred(start, FROM, "1001", || true).is_some(), "guessed at");
    }

    #[test]
    fn an_ipv6_host_is_its_network() {
        let (mut guesses, start) = (Guesses::default(), Instant::now());
        for number in 0..WRONG {
            guesses.note(start, format!("2001:db8::{number}").parse().unwrap(), "1001");
        }
        assert!(guesses.barred(start, "2001:db8::ffff".parse().unwrap(), "1001", || false).is_some());
        assert_eq!(guesses.barred(start, "2001:db8:0:1::1".parse().unwrap(), "1001", || false), None);
    }

    #[test]
    fn neither_memory_nor_the_log_grows_with_the_places() {
        let (mut guesses, start) = (Guesses::default(), Instant::now());
        let told = (0..=u32::try_from(MAX_PLACES).unwrap()).filter(|number| {
            let from = std::net::Ipv4Addr::from_bits(0x0b00_0000 + number);
            guesses.note(start, from.into(), "1001")
        });
        assert_eq!(told.count(), 100);
        assert_eq!((guesses.places.len(), guesses.order.len()), (MAX_PLACES, MAX_PLACES));
    }
}
