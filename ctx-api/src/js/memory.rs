//! The memory limit of a run.
//!
//! QuickJS has a limit of its own, but what a script sees of it can be caught, and when memory runs out gradually it is a bare
//! `null`. Counting here tells the run's owner for certain, so that the run ends whatever its `catch` blocks do.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use rquickjs::allocator::Allocator;

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

/// What QuickJS carves its small blocks out of, bytes: it asks for this or somewhat less, and most of a runtime is made of it.
const ARENA: usize = 4096;
/// Arenas kept for the next runtime: 1 MiB.
const MAX_SPARE: usize = 256;

/// Arenas of runtimes that are gone, the last one first: it is still in the processor's cache.
struct Spare(Vec<*mut u8>);

impl Drop for Spare {
    fn drop(&mut self) {
        for block in self.0.drain(..) {
            // SAFETY: the blocks came from the C allocator, and nobody else has them.
            unsafe { libc::free(block.cast()) };
        }
    }
}

thread_local! {
    static SPARE: RefCell<Spare> = const { RefCell::new(Spare(Vec::new())) };
}

fn take_block(size: usize) -> *mut u8 {
    if !(ARENA - 512..=ARENA).contains(&size) {
        // SAFETY: no precondition.
        return unsafe { libc::malloc(size) }.cast();
    }
    // While the thread ends there are no spare ones any more.
    let spare = SPARE.try_with(|spare| spare.borrow_mut().0.pop()).ok().flatten();
    // SAFETY: no precondition.
    spare.unwrap_or_else(|| unsafe { libc::malloc(ARENA) }.cast())
}

/// # Safety
/// The block came from the C allocator, can hold `usable` bytes, and belongs to the caller.
unsafe fn give_back(block: *mut u8, usable: usize) {
    let kept = (ARENA..ARENA + 16).contains(&usable)
        && SPARE.try_with(|spare| {
            let spare = &mut spare.borrow_mut().0;
            let room = spare.len() < MAX_SPARE;
            if room {
                spare.push(block);
            }
            room
        }) == Ok(true);
    if !kept {
        // SAFETY: as promised.
        unsafe { libc::free(block.cast()) };
    }
}

/// The C allocator, metered.
pub(super) struct MeteredAllocator(pub(super) Rc<Meter>);

// SAFETY: every pointer comes from the C allocator, whose blocks are aligned for any type and whose `malloc_usable_size`
// bytes may all be used.
unsafe impl Allocator for MeteredAllocator {
    fn alloc(&mut self, size: usize) -> *mut u8 {
        if !self.0.admits(size) {
            return std::ptr::null_mut();
        }
        let block = take_block(size);
        // SAFETY: null or just allocated.
        self.0.add(unsafe { Self::usable_size(block) });
        block
    }

    fn calloc(&mut self, count: usize, size: usize) -> *mut u8 {
        if !self.0.admits(count.saturating_mul(size)) {
            return std::ptr::null_mut();
        }
        // SAFETY: no precondition.
        let block = unsafe { libc::calloc(count, size) }.cast::<u8>();
        // SAFETY: null or just allocated.
        self.0.add(unsafe { Self::usable_size(block) });
        block
    }

    unsafe fn dealloc(&mut self, block: *mut u8) {
        // SAFETY: the caller's pointer came from this allocator.
        unsafe {
            let usable = Self::usable_size(block);
            self.0.sub(usable);
            give_back(block, usable);
        }
    }

    unsafe fn realloc(&mut self, block: *mut u8, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's pointer is null or came from this allocator.
        unsafe {
            let old = Self::usable_size(block);
            if new_size > old && !self.0.admits(new_size - old) {
                return std::ptr::null_mut();
            }
            if new_size == 0 && !block.is_null() {
                self.dealloc(block);
                return std::ptr::null_mut();
            }
            let moved = libc::realloc(block.cast(), new_size).cast::<u8>();
            if !moved.is_null() {
                self.0.sub(old);
                self.0.add(Self::usable_size(moved));
            }
            moved
        }
    }

    unsafe fn usable_size(block: *mut u8) -> usize {
        // SAFETY: null gives 0; other pointers came from this allocator.
        unsafe { libc::malloc_usable_size(block.cast()) }
    }
}
