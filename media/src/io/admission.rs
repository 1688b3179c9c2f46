//! Whether another call may come in: asked before a leg is opened, so that the answer is 503 and not bad audio.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use super::lateness::Lateness;

/// How often the lateness window is renewed.
const WINDOW: Duration = Duration::from_secs(1);
/// Fewer samples than this say nothing about the load.
const MIN_SAMPLES: u64 = 50;
/// A younger window may hold nothing but one hiccup of the machine.
const TELLING_AGE: Duration = Duration::from_millis(500);
/// The share of packets that may be late: a thread with more than it can carry is late with nearly all of them, a machine that
/// stopped for a moment with those of that moment.
const IN_TIME: f64 = 0.9;

/// Why no further call is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Opening another leg would leave too few descriptors for everything else.
    #[error("{used} of {limit} descriptors would be in use")]
    Descriptors {
        /// Descriptors of legs, with those asked for.
        used: u64,
        /// What legs may use.
        limit: u64,
    },
    /// No port is free on this address.
    #[error("no RTP port is free on {0}")]
    Ports(IpAddr),
    /// Packets leave too late: the threads have all they can carry.
    #[error("packets leave up to {} ms late", p90.as_millis())]
    Lateness {
        /// 9 of 10 packets left within this of their time.
        p90: Duration,
    },
}

/// The recent lateness of each thread.
#[derive(Debug)]
pub(super) struct Watches {
    each: Vec<(LatenessWatch, bool)>,
}

impl Watches {
    pub(super) fn new(now: Instant, max: Duration, threads: usize) -> Self {
        Self { each: (0..threads).map(|_| (LatenessWatch::new(now, max), false)).collect() }
    }

    /// Takes the figures of all threads, in order, and says whether one of them is in time.
    pub(super) fn check(&mut self, now: Instant, totals: impl Iterator<Item = Lateness>) -> Result<(), Refusal> {
        let (mut is_any_in_time, mut refusal) = (false, Ok(()));
        for ((watch, is_late), total) in self.each.iter_mut().zip(totals) {
            let checked = watch.check(now, total);
            *is_late = checked.is_err();
            is_any_in_time |= checked.is_ok();
            refusal = checked;
        }
        if is_any_in_time { Ok(()) } else { refusal }
    }

    /// Whether that thread was late when last looked at.
    pub(super) fn is_late(&self, thread: usize) -> bool {
        self.each.get(thread).is_some_and(|(_, is_late)| *is_late)
    }
}

/// The recent lateness of one thread.
#[derive(Debug)]
struct LatenessWatch {
    max: Duration,
    window_start: Instant,
    at_start: Lateness,
    /// p90 of the last complete window.
    last: Duration,
}

impl LatenessWatch {
    fn new(now: Instant, max: Duration) -> Self {
        Self { max, window_start: now, at_start: Lateness::default(), last: Duration::ZERO }
    }

    /// Checks against the last complete window, and the current one as soon as it is bad.
    fn check(&mut self, now: Instant, total: Lateness) -> Result<(), Refusal> {
        let window = total.since(&self.at_start);
        let age = now.saturating_duration_since(self.window_start);
        // Few samples say nothing, and what was late long ago must refuse nobody today.
        let telling = window.count() >= MIN_SAMPLES && (TELLING_AGE..5 * WINDOW).contains(&age);
        let current = if telling { window.quantile(IN_TIME) } else { Duration::ZERO };
        if age >= WINDOW {
            self.last = current;
            self.window_start = now;
            self.at_start = total;
        }
        let p90 = self.last.max(current);
        if p90 > self.max { Err(Refusal::Lateness { p90 }) } else { Ok(()) }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "an origin; time moves by addition")]
mod tests {
    use super::super::lateness::LatenessHistogram;
    use super::*;

    #[test]
    fn calls_are_refused_while_packets_are_late_and_taken_again_afterwards() {
        let histogram = LatenessHistogram::default();
        let now = Instant::now();
        let mut watch = LatenessWatch::new(now, Duration::from_millis(10));
        let record = |late: Duration| (0..100).for_each(|_| histogram.record(late));
        record(Duration::from_micros(80));
        assert_eq!(watch.check(now, histogram.read()), Ok(()));
        record(Duration::from_millis(30));
        let late = Err(Refusal::Lateness { p90: Duration::from_millis(40) });
        assert_eq!(watch.check(now + Duration::from_millis(500), histogram.read()), late);
        assert_eq!(watch.check(now + Duration::from_millis(1000), histogram.read()), late);
        record(Duration::from_micros(80));
        assert_eq!(watch.check(now + Duration::from_millis(1500), histogram.read()), late, "the last window was bad");
        assert_eq!(watch.check(now + Duration::from_millis(2000), histogram.read()), Ok(()));
    }

    #[test]
    fn a_late_thread_is_passed_over_and_calls_are_refused_once_all_are_late() {
        let threads: [LatenessHistogram; 12] = Default::default();
        let now = Instant::now();
        let mut watches = Watches::new(now, Duration::from_millis(10), threads.len());
        let mut checked_at = |ms| {
            let outcome = watches.check(now + Duration::from_millis(ms), threads.iter().map(LatenessHistogram::read));
            let late = (0..threads.len()).filter(|&thread| watches.is_late(thread)).count();
            (outcome.is_ok(), late)
        };
        let record = |late: Duration, of: &[LatenessHistogram]| of.iter().for_each(|one| (0..100).for_each(|_| one.record(late)));
        record(Duration::from_millis(30), &threads[..1]);
        record(Duration::from_micros(80), &threads[1..]);
        assert_eq!(checked_at(1_000), (true, 1));
        record(Duration::from_millis(30), &threads);
        assert_eq!(checked_at(2_000), (false, 12));
    }

    #[test]
    fn a_hiccup_refuses_nobody() {
        let histogram = LatenessHistogram::default();
        let now = Instant::now();
        let mut watch = LatenessWatch::new(now, Duration::from_millis(10));
        (0..100).for_each(|_| histogram.record(Duration::from_millis(80)));
        assert_eq!(watch.check(now + Duration::from_millis(80), histogram.read()), Ok(()), "half a second tells more");
        (0..1200).for_each(|_| histogram.record(Duration::from_micros(80)));
        assert_eq!(watch.check(now + Duration::from_millis(999), histogram.read()), Ok(()));
        assert_eq!(watch.check(now + Duration::from_millis(1000), histogram.read()), Ok(()));
    }

    #[test]
    fn lateness_of_long_ago_refuses_nobody() {
        let histogram = LatenessHistogram::default();
        let now = Instant::now();
        let mut watch = LatenessWatch::new(now, Duration::from_millis(10));
        (0..100).for_each(|_| histogram.record(Duration::from_millis(30)));
        let later = now + Duration::from_secs(60);
        assert_eq!(watch.check(later, histogram.read()), Ok(()));
        assert_eq!(watch.check(later + Duration::from_secs(1), histogram.read()), Ok(()));
    }
}
