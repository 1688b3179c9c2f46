//! Memory in one piece, of which a runtime can be copied.

use std::cell::{Cell, RefCell};
use std::ptr::null_mut;

use super::arenas::{Arena, Arenas, Lengths};
use super::{LEAST, is_arena};

/// Regions are a multiple of this apart, bytes.
const APART: usize = 64 << 10;
/// Regions are whole pages, bytes.
const PAGE: usize = 4096;
/// Bytes behind what is copied, for the first arenas that a run takes itself.
const ROOM: usize = 64 << 10;

/// The bytes that a block of `size` takes with its own size before it, and those of them that may be used.
fn whole(size: usize) -> (usize, usize) {
    let whole = size.saturating_add(size_of::<usize>()).checked_next_multiple_of(LEAST).unwrap_or(usize::MAX);
    (whole, whole - size_of::<usize>())
}

/// Memory in one piece, from which blocks are taken one after another while it is open, and arenas of a run once it is closed.
///
/// ```text
///   │ size │ block │ size │ block …      │ size │ arena │ size │ arena …
///   0      8       16·n   16·n+8         room
/// ```
pub(in crate::js) struct Region {
    base: *mut u8,
    /// Where the room for a run's arenas begins.
    size: usize,
    /// Where the last block ends.
    used: Cell<usize>,
    is_open: Cell<bool>,
    /// Blocks that were given back while it was open.
    free: RefCell<Vec<(*mut u8, usize)>>,
    arenas: RefCell<Arenas>,
}

impl Region {
    /// Takes it from the kernel: an allocator would round it up, and write to what nobody needs.
    pub(super) fn new(capacity: usize, lengths: Lengths) -> Option<Self> {
        let size = capacity.max(1).checked_next_multiple_of(PAGE)?;
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: new memory, wherever the kernel puts it.
        let mapped = unsafe { libc::mmap(null_mut(), size.checked_add(ROOM + APART)?, access, kind, -1, 0) };
        if mapped == libc::MAP_FAILED {
            return None;
        }
        let before = mapped.addr().next_multiple_of(APART) - mapped.addr();
        let base = mapped.cast::<u8>().wrapping_add(before);
        for (begin, length) in [(mapped.cast(), before), (base.wrapping_add(size + ROOM), APART - before)] {
            if length > 0 {
                // SAFETY: pages just mapped that nobody uses; it fails for such as are not mapped only.
                unsafe { libc::munmap(begin.cast(), length) };
            }
        }
        let (used, is_open, free) = (Cell::new(0), Cell::new(true), RefCell::default());
        Some(Self { base, size, used, is_open, free, arenas: RefCell::new(Arenas::new(lengths)) })
    }

    /// Where it begins: a multiple of 64 Ki.
    pub(in crate::js) fn base(&self) -> *mut u8 {
        self.base
    }

    /// Bytes from the beginning to the end of the last block.
    pub(in crate::js) fn used(&self) -> usize {
        self.used.get()
    }

    pub(in crate::js) fn capacity(&self) -> usize {
        self.size
    }

    /// Blocks are taken from here.
    pub(super) fn is_open(&self) -> bool {
        self.is_open.get()
    }

    /// No block is taken from here any more but arenas of a run, behind all that is here.
    pub(in crate::js) fn close(&self) {
        self.settle();
        self.is_open.set(false);
        self.clear();
    }

    /// Nobody uses a run's arenas any more.
    pub(super) fn clear(&self) {
        self.used.set(self.size);
        self.arenas.borrow_mut().forget_last();
    }

    /// How long its arenas have to be for what they hold.
    pub(in crate::js) fn lengths(&self) -> Lengths {
        self.arenas.borrow().lengths()
    }

    /// Gives its pages back to the kernel until they are written to again; whether that was possible. They are zeros then.
    ///
    /// # Safety
    /// Nobody uses what is in the region.
    pub(in crate::js) unsafe fn release(&self) -> bool {
        // SAFETY: as promised; whole pages that `new` has mapped.
        unsafe { libc::madvise(self.base.cast(), self.size, libc::MADV_DONTNEED) == 0 }
    }

    /// A block of zeros; null when there is no room.
    pub(super) fn take(&self, size: usize) -> *mut u8 {
        self.settle();
        // One that is shortened lies at the end.
        let recycled = if is_arena(size) && self.arenas.borrow().shortens_next() { None } else { self.take_recycled(size) };
        let block = recycled.or_else(|| self.take_new(size, self.size)).unwrap_or(null_mut());
        if is_arena(size) && !block.is_null() {
            self.arenas.borrow_mut().add(Arena { block, size });
        }
        block
    }

    /// A block of zeros, as long as an arena, for a run; `None` when there is no room. What was taken before is [settled](Self::settle).
    pub(super) fn take_for_run(&self, size: usize) -> Option<*mut u8> {
        let block = self.take_new(size, self.size + ROOM)?;
        self.arenas.borrow_mut().add_of_run(Arena { block, size });
        Some(block)
    }

    /// Shortens the arena taken last, if it may be: nothing of it changes any more but what QuickJS does. Returns how many bytes it gave
    /// up.
    pub(in crate::js) fn settle(&self) -> usize {
        let Some((block, size)) = self.arenas.borrow_mut().settle() else { return 0 };
        let (whole, usable) = whole(size);
        self.used.set(block.addr() - self.base.addr() - size_of::<usize>() + whole);
        // SAFETY: where the size of the block stands.
        let before = unsafe { block.cast::<usize>().sub(1).replace(usable) };
        before - usable
    }

    fn take_recycled(&self, size: usize) -> Option<*mut u8> {
        let (_, usable) = whole(size);
        let mut free = self.free.borrow_mut();
        let at = free.iter().position(|(_, found)| *found == usable)?;
        let (block, _) = free.swap_remove(at);
        // SAFETY: nobody has the block, and it has as many bytes.
        unsafe { block.write_bytes(0, usable) };
        Some(block)
    }

    /// A block that nobody has had, before `end`.
    fn take_new(&self, size: usize, end: usize) -> Option<*mut u8> {
        let (whole, usable) = whole(size);
        let begin = self.used.get();
        self.used.set(begin.checked_add(whole).filter(|used| *used <= end)?);
        // SAFETY: within the region, aligned, and nobody has had it; what an arena before it has written here is not needed.
        unsafe {
            let head = self.base.add(begin);
            head.cast::<usize>().write(usable);
            let block = head.add(size_of::<usize>());
            block.write_bytes(0, usable);
            Some(block)
        }
    }

    pub(super) fn give_back(&self, block: *mut u8, usable: usize) {
        self.arenas.borrow_mut().forget(block);
        let begin = block.addr() - self.base.addr() - size_of::<usize>();
        // Of what is copied nothing is taken anew until the region is, and of a run's arenas the last one: some scripts need one again and again.
        if self.is_open.get() {
            self.free.borrow_mut().push((block, usable));
        } else if begin >= self.size && begin + size_of::<usize>() + usable == self.used.get() {
            self.used.set(begin);
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and its blocks went before it.
        unsafe { libc::munmap(self.base.cast(), self.size + ROOM) };
    }
}
