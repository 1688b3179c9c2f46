//! How late legs are called: the figure that says whether a thread has more than it can carry.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Upper bounds of the buckets in µs; one more bucket takes the rest.
const BOUNDS_US: [u64; 12] = [50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 40_000, 100_000, 1_000_000];
const BUCKETS: usize = BOUNDS_US.len() + 1;

/// Counts written by one thread and read by others.
#[derive(Debug, Default)]
pub(super) struct LatenessHistogram {
    buckets: [AtomicU64; BUCKETS],
    /// µs.
    longest: AtomicU64,
}

impl LatenessHistogram {
    pub(super) fn record(&self, late: Duration) {
        let late = late.as_micros() as u64;
        let bucket = BOUNDS_US.iter().take_while(|&&bound| late > bound).count();
        if let Some(count) = self.buckets.get(bucket) {
            // One writer: a plain add is enough, and cheaper than a locked one.
            count.store(count.load(Relaxed) + 1, Relaxed);
        }
        if late > self.longest.load(Relaxed) {
            self.longest.store(late, Relaxed);
        }
    }

    pub(super) fn read(&self) -> Lateness {
        Lateness {
            counts: std::array::from_fn(|bucket| self.buckets.get(bucket).map_or(0, |count| count.load(Relaxed))),
            longest: Duration::from_micros(self.longest.load(Relaxed)),
        }
    }
}

/// Lateness counted up to one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lateness {
    counts: [u64; BUCKETS],
    /// The longest since the start.
    pub longest: Duration,
}

impl Lateness {
    /// What came after `earlier`; `longest` stays that of the whole time.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut difference = *self;
        for (count, before) in difference.counts.iter_mut().zip(earlier.counts) {
            *count = count.saturating_sub(before);
        }
        difference
    }

    /// Both together.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let mut sum = *self;
        for (count, more) in sum.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        sum.longest = sum.longest.max(other.longest);
        sum
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// An upper bound for `share` (0 to 1) of what was counted; zero when nothing was.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        let total = self.count();
        if total == 0 {
            return Duration::ZERO;
        }
        let wanted = ((total as f64 * share).ceil() as u64).clamp(1, total);
        let mut seen = 0;
        for (count, bound) in self.counts.iter().zip(BOUNDS_US) {
            seen += count;
            if seen >= wanted {
                return Duration::from_micros(bound);
            }
        }
        self.longest
    }

    /// Upper bounds with the count at or below each, as Prometheus wants them.
    pub fn cumulative(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        let mut seen = 0;
        BOUNDS_US.iter().zip(self.counts).map(move |(&bound, count)| {
            seen += count;
            (Duration::from_micros(bound), seen)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_the_bounds_of_their_buckets() {
        let histogram = LatenessHistogram::default();
        for _ in 0..98 {
            histogram.record(Duration::from_micros(30));
        }
        histogram.record(Duration::from_micros(900));
        histogram.record(Duration::from_secs(3));
        let lateness = histogram.read();
        assert_eq!(lateness.count(), 100);
        assert_eq!(lateness.quantile(0.5), Duration::from_micros(50));
        assert_eq!(lateness.quantile(0.99), Duration::from_millis(1));
        assert_eq!(lateness.quantile(1.0), Duration::from_secs(3));
    }

    #[test]
    fn a_window_holds_only_what_came_in_it() {
        let histogram = LatenessHistogram::default();
        histogram.record(Duration::from_millis(30));
        let before = histogram.read();
        histogram.record(Duration::from_micros(1));
        let window = histogram.read().since(&before);
        assert_eq!((window.count(), window.quantile(0.99)), (1, Duration::from_micros(50)));
        assert_eq!(before.and(&window).count(), 2);
        assert_eq!(Lateness::default().quantile(0.99), Duration::ZERO);
    }
}
