//! What the supervisor waits for, in one table.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use lockstep_ctx_api::wire::RunId;

/// A deadline further away than this is as good as never; it keeps arithmetic on script-given times from overflowing.
const FAR: Duration = Duration::from_secs(366 * 24 * 3_600);

/// Everything that can become due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A script's next timer: send it a `Wake`.
    Wake(RunId),
    /// The time a script has after its call's end is over.
    Grace(RunId),
    /// Look at what the busy workers are doing.
    Watch,
    /// Start workers again after they died too often.
    Respawn,
}

/// At most one deadline for each timer.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    by_time: BTreeSet<(Instant, Timer)>,
    by_timer: BTreeMap<Timer, Instant>,
}

impl Deadlines {
    /// Sets `timer` to `after` from `now`, replacing what it was set to.
    pub(super) fn set(&mut self, timer: Timer, now: Instant, after: Duration) {
        self.clear(timer);
        let at = now + after.min(FAR);
        self.by_time.insert((at, timer));
        self.by_timer.insert(timer, at);
    }

    pub(super) fn clear(&mut self, timer: Timer) {
        if let Some(at) = self.by_timer.remove(&timer) {
            self.by_time.remove(&(at, timer));
        }
    }

    pub(super) fn is_set(&self, timer: Timer) -> bool {
        self.by_timer.contains_key(&timer)
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes the first timer that is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let (at, timer) = *self.by_time.first()?;
        if at > now {
            return None;
        }
        self.clear(timer);
        Some(timer)
    }
}
