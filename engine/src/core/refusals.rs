//! Requests that are refused: each is counted, few are logged. A stranger who knocks all night must not fill the log.

use std::time::{Duration, Instant};

/// After a refusal was logged, further ones for the same reason are summed up this often.
const WINDOW: Duration = Duration::from_secs(60);

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No room for another call, or the engine is stopping.
    Capacity,
    /// A password is asked for. Every call and registration by digest begins so.
    Challenge,
    /// A wrong password, or the right one of somebody else.
    Credentials,
    /// Nobody is at what was dialled.
    Unknown,
    /// No audio in common.
    Media,
    /// The customer's limits.
    Limit,
}

impl Refused {
    const ALL: [Self; 6] = [Self::Capacity, Self::Challenge, Self::Credentials, Self::Unknown, Self::Media, Self::Limit];

    /// As metrics and the log spell it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Capacity => "capacity",
            Self::Challenge => "challenge",
            Self::Credentials => "credentials",
            Self::Unknown => "unknown",
            Self::Media => "media",
            Self::Limit => "limit",
        }
    }
}

/// What is known of one reason.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    total: u64,
    /// Refused since the last line about it.
    unsaid: u64,
    /// Until then nothing more is said.
    silent_until: Option<Instant>,
}

/// All refusals of an engine.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    tallies: [Tally; Refused::ALL.len()],
}

impl Refusals {
    /// Counts `count` refusals; whether they are to be logged now rather than summed up later.
    pub(crate) fn note(&mut self, now: Instant, why: Refused, count: u64) -> bool {
        let Some(tally) = self.tallies.get_mut(why as usize) else { return false };
        tally.total += count;
        if why == Refused::Challenge {
            return false;
        }
        if tally.silent_until.is_some() {
            tally.unsaid += count;
            return false;
        }
        tally.silent_until = now.checked_add(WINDOW);
        true
    }

    /// Refusals since the start, by reason.
    pub(crate) fn totals(&self) -> impl Iterator<Item = (Refused, u64)> {
        Refused::ALL.into_iter().zip(self.tallies.iter().map(|tally| tally.total))
    }

    /// When [`summaries`](Self::summaries) has something to say.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.tallies.iter().filter_map(|tally| tally.silent_until).min()
    }

    /// How many were refused since they were last spoken of, for the reasons whose time has come.
    pub(crate) fn summaries(&mut self, now: Instant) -> Vec<(Refused, u64)> {
        let mut due = Vec::new();
        for (why, tally) in Refused::ALL.into_iter().zip(&mut self.tallies) {
            if tally.silent_until.is_none_or(|until| until > now) {
                continue;
            }
            let unsaid = std::mem::take(&mut tally.unsaid);
            tally.silent_until = if unsaid > 0 { now.checked_add(WINDOW) } else { None };
            due.extend((unsaid > 0).then_some((why, unsaid)));
        }
        due
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "an origin; time moves by addition")]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_logged_once_and_then_summed_up() {
        let mut refusals = Refusals::default();
        let start = Instant::now();
        assert!(refusals.note(start, Refused::Unknown, 1));
        let logged = (0..1_000).filter(|_| refusals.note(start, Refused::Unknown, 1)).count();
        assert_eq!(logged, 0);
        assert!(refusals.note(start, Refused::Capacity, 1), "another reason speaks for itself");
        let due = refusals.poll_timeout().unwrap();
        assert_eq!(refusals.summaries(due), [(Refused::Unknown, 1_000)]);
        assert_eq!(refusals.totals().find(|(why, _)| *why == Refused::Unknown), Some((Refused::Unknown, 1_001)));
    }

    #[test]
    fn after_a_quiet_window_the_next_one_is_logged_again() {
        let mut refusals = Refusals::default();
        let start = Instant::now();
        assert!(refusals.note(start, Refused::Media, 1));
        assert_eq!(refusals.summaries(start + WINDOW), []);
        assert_eq!(refusals.poll_timeout(), None);
        assert!(refusals.note(start + WINDOW, Refused::Media, 1));
    }

    #[test]
    fn being_asked_for_a_password_is_no_news() {
        let mut refusals = Refusals::default();
        assert!(!refusals.note(Instant::now(), Refused::Challenge, 1));
        assert_eq!(refusals.poll_timeout(), None);
    }
}
