//! The memory limit of a run.
//!
//! QuickJS has a limit of its own, but what a script sees of it can be caught, and when memory runs out gradually it is a bare
//! `null`. Counting here tells the run's owner for certain, so that the run ends whatever its `catch` blocks do.

use std::cell::Cell;
use std::rc::Rc;

/// Bytes a run holds, and whether it ever asked for more than it may.
#[derive(Debug)]
pub(super) struct Meter {
    limit: Cell<usize>,
    used: Cell<usize>,
    exceeded: Cell<bool>,
    lifted: Cell<bool>,
}

impl Meter {
    pub(super) fn new(limit: u64) -> Rc<Self> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Rc::new(Self { limit: Cell::new(limit), used: Cell::new(0), exceeded: Cell::new(false), lifted: Cell::new(false) })
    }

    /// An allocation was refused since the run began.
    pub(super) fn exceeded(&self) -> bool {
        self.exceeded.get()
    }

    /// Allows `more` bytes besides what is held now.
    pub(super) fn allow(&self, more: u64) {
        self.limit.set(self.used.get().saturating_add(usize::try_from(more).unwrap_or(usize::MAX)));
    }

    /// Bytes held now.
    pub(super) fn used(&self) -> usize {
        self.used.get()
    }

    /// Grants what is asked for from now on. The error that unwinds a stopped script needs memory: without it QuickJS throws a
    /// `null` that can be caught.
    pub(super) fn lift(&self) {
        self.lifted.set(true);
    }

    /// Counts from `bytes` on.
    pub(super) fn begin_with(&self, bytes: usize) {
        self.used.set(bytes);
    }

    /// Whether `more` bytes may be held besides.
    pub(super) fn admits(&self, more: usize) -> bool {
        if self.lifted.get() {
            return true;
        }
        let fits = self.used.get().checked_add(more).is_some_and(|total| total <= self.limit.get());
        if !fits {
            self.exceeded.set(true);
        }
        fits
    }

    pub(super) fn add(&self, bytes: usize) {
        self.used.set(self.used.get().saturating_add(bytes));
    }

    pub(super) fn sub(&self, bytes: usize) {
        self.used.set(self.used.get().saturating_sub(bytes));
    }
}
