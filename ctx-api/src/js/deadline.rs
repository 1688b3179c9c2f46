//! How much CPU one turn may use.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// CPU time of the calling thread. Not a clock a script can see: it only ends turns and is reported beside them.
pub(super) fn thread_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` outlives the call. The clock exists on every Linux, so the call cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Why the interrupt handler stopped a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The turn used up its CPU time.
    Turn,
    /// An allocation was refused.
    Memory,
}

/// The deadline of the turn that runs now, if one does.
#[derive(Debug, Default)]
pub(super) struct Deadline {
    ends_at: Cell<Option<Duration>>,
    stopped: Cell<Option<Stop>>,
}

impl Deadline {
    pub(super) fn new() -> Rc<Self> {
        Rc::default()
    }

    pub(super) fn arm(&self, started: Duration, limit: Duration) {
        self.ends_at.set(Some(started + limit));
    }

    pub(super) fn disarm(&self) {
        self.ends_at.set(None);
    }

    /// Asked by QuickJS every few thousand back-edges: whether to stop, uncatchably.
    pub(super) fn poll(&self, memory_exceeded: bool) -> bool {
        if memory_exceeded {
            self.stopped.set(Some(Stop::Memory));
        } else if self.ends_at.get().is_some_and(|end| thread_cpu() >= end) {
            self.stopped.set(Some(Stop::Turn));
        }
        self.stopped.get().is_some()
    }

    pub(super) fn stopped(&self) -> Option<Stop> {
        self.stopped.get()
    }
}
