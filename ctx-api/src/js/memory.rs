//! The memory limit of a run.
//!
//! QuickJS has a limit of its own, but what a script sees of it can be caught, and when memory runs out gradually it is a bare
//! `null`. Counting here tells the run's owner for certain, so that the run ends whatever its `catch` blocks do.

use std::cell::Cell;
use std::rc::Rc;

use rquickjs::allocator::Allocator;

use super::slabs;

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

    fn admits(&self, more: usize) -> bool {
        if self.lifted.get() {
            return true;
        }
        let fits = self.used.get().checked_add(more).is_some_and(|total| total <= self.limit.get());
        if !fits {
            self.exceeded.set(true);
        }
        fits
    }

    fn add(&self, bytes: usize) {
        self.used.set(self.used.get().saturating_add(bytes));
    }

    fn sub(&self, bytes: usize) {
        self.used.set(self.used.get().saturating_sub(bytes));
    }
}

/// The memory of runtimes, metered.
pub(super) struct MeteredAllocator(pub(super) Rc<Meter>);

// SAFETY: what `slabs` promises of its blocks is what is asked for here.
unsafe impl Allocator for MeteredAllocator {
    fn alloc(&mut self, size: usize) -> *mut u8 {
        if !self.0.admits(size) {
            return std::ptr::null_mut();
        }
        let block = slabs::allocate(size);
        // SAFETY: null or just allocated.
        self.0.add(unsafe { slabs::usable_size(block) });
        block
    }

    fn calloc(&mut self, count: usize, size: usize) -> *mut u8 {
        let Some(size) = count.checked_mul(size).filter(|size| self.0.admits(*size)) else { return std::ptr::null_mut() };
        let block = slabs::allocate_zeroed(size);
        // SAFETY: null or just allocated.
        self.0.add(unsafe { slabs::usable_size(block) });
        block
    }

    unsafe fn dealloc(&mut self, block: *mut u8) {
        // SAFETY: the caller's pointer came from this allocator, and runtimes do not leave their thread.
        unsafe {
            self.0.sub(slabs::usable_size(block));
            slabs::free(block);
        }
    }

    unsafe fn realloc(&mut self, block: *mut u8, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's pointer is null or came from this allocator.
        unsafe {
            let old = slabs::usable_size(block);
            if new_size > old && !self.0.admits(new_size - old) {
                return std::ptr::null_mut();
            }
            if new_size == 0 && !block.is_null() {
                self.dealloc(block);
                return std::ptr::null_mut();
            }
            let moved = slabs::reallocate(block, new_size);
            if !moved.is_null() {
                self.0.sub(old);
                self.0.add(slabs::usable_size(moved));
            }
            moved
        }
    }

    unsafe fn usable_size(block: *mut u8) -> usize {
        // SAFETY: null gives 0; other pointers came from this allocator.
        unsafe { slabs::usable_size(block) }
    }
}
