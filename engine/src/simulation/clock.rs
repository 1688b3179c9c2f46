//! The virtual clock.

use std::time::{Duration, Instant};

use lockstep_media::stream::WallClock;

use crate::script::Moment;

/// A clock that stands still until it is set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
    origin_unix_ms: u64,
    now: Instant,
}

impl Clock {
    /// A clock that shows this time of the world.
    pub(crate) fn new(unix_ms: u64) -> Self {
        #[expect(clippy::disallowed_methods, reason = "an arbitrary origin: nothing but differences to it is ever used")]
        let origin = Instant::now();
        Self { origin, origin_unix_ms: unix_ms, now: origin }
    }

    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    /// Both clocks.
    pub(crate) fn moment(&self) -> Moment {
        self.moment_of(self.now)
    }

    pub(crate) fn moment_of(&self, instant: Instant) -> Moment {
        let elapsed = self.elapsed_at(instant);
        let passed = elapsed.as_secs().saturating_mul(1_000) + u64::from(elapsed.subsec_millis());
        Moment { instant, unix_ms: self.origin_unix_ms.saturating_add(passed) }
    }

    /// Time since the clock began.
    pub(crate) fn elapsed_at(&self, instant: Instant) -> Duration {
        instant.saturating_duration_since(self.origin)
    }

    /// Sets it forward; it never goes back.
    pub(crate) fn set(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    /// Its origin on both clocks, for RTCP.
    pub(crate) fn wall_clock(&self) -> WallClock {
        WallClock { instant: self.origin, since_epoch: Duration::from_millis(self.origin_unix_ms) }
    }
}

/// The earlier of two moments, where there are any.
pub(super) fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
