//! Where the memory of runtimes comes from.
//!
//! QuickJS carves its small blocks out of arenas of one size, and most of a runtime is made of them. A general allocator rounds
//! that size up or leaves room beside it; here arenas lie edge to edge in slabs. Everything else goes to the C allocator.
//!
//! ```text
//!   slab   │ its slab │ arena │ its slab │ arena │ …
//!          0          8       4112       4120
//! ```
//!
//! An arena is told by its address: eight past a multiple of sixteen, where the C allocator puts nothing that has sixteen octets.

use std::cell::RefCell;
use std::ptr::null_mut;

/// What is taken for an arena, bytes: QuickJS asks for 4 KiB or somewhat less.
const ARENAS: std::ops::RangeInclusive<usize> = 3584..=4096;
/// Bytes of a slab: a large page of the processor, asked for of the kernel, for an allocator would add to it or round it up.
const SLAB: usize = 2 << 20;
/// Bytes before an arena: the address of its slab.
const HEAD: usize = size_of::<*mut Slab>();
/// Bytes of an arena.
const ARENA: usize = CELL - HEAD;
/// An arena and what stands before it: a multiple of sixteen.
const CELL: usize = 4112;
const CELLS: usize = SLAB / CELL;
/// The least that the C allocator is asked for: smaller blocks of it may begin where arenas do.
const LEAST: usize = 16;

/// Many arenas that were asked for together.
struct Slab {
    cells: *mut u8,
    /// Cells that somebody has.
    used: usize,
    /// Cells that nobody has had yet come from here on.
    fresh: usize,
    /// Cells that were given back: each begins with the address of the next one.
    free: *mut u8,
}

impl Slab {
    /// Null when there is no memory.
    fn create() -> *mut Slab {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: new memory, wherever the kernel puts it.
        let cells = unsafe { libc::mmap(null_mut(), SLAB, access, kind, -1, 0) };
        if cells == libc::MAP_FAILED {
            return null_mut();
        }
        Box::into_raw(Box::new(Slab { cells: cells.cast(), used: 0, fresh: 0, free: null_mut() }))
    }

    /// # Safety
    /// The slab came from [`Self::create`], and nobody has any of its cells or will use it again.
    unsafe fn destroy(slab: *mut Slab) {
        // SAFETY: as promised.
        unsafe {
            let slab = Box::from_raw(slab);
            // It fails for memory that is not there only.
            libc::munmap(slab.cells.cast(), SLAB);
        }
    }

    fn is_full(&self) -> bool {
        self.used == CELLS
    }

    /// A cell that nobody has; the slab is not full.
    fn take(&mut self) -> *mut u8 {
        self.used += 1;
        if self.free.is_null() {
            self.fresh += 1;
            // SAFETY: fewer than `CELLS` are in use and none is free, so that a fresh one is left within the slab.
            return unsafe { self.cells.add((self.fresh - 1) * CELL) };
        }
        let cell = self.free;
        // SAFETY: a free cell holds the address of the next one.
        self.free = unsafe { cell.cast::<*mut u8>().read() };
        cell
    }

    /// # Safety
    /// The cell came from [`Self::take`] of this slab, and nobody has it any more.
    unsafe fn give_back(&mut self, cell: *mut u8) {
        // SAFETY: nobody else has the cell, and its beginning is aligned for an address.
        unsafe { cell.cast::<*mut u8>().write(self.free) };
        self.free = cell;
        self.used -= 1;
    }
}

/// The slabs of a thread that have room; what is taken next comes from the last one.
struct Roomy(Vec<*mut Slab>);

impl Drop for Roomy {
    fn drop(&mut self) {
        for slab in self.0.drain(..) {
            // SAFETY: nobody has a cell of a slab that is empty. The others go with their last cell.
            unsafe {
                if (*slab).used == 0 {
                    Slab::destroy(slab);
                }
            }
        }
    }
}

thread_local! {
    static ROOMY: RefCell<Roomy> = const { RefCell::new(Roomy(Vec::new())) };
}

/// A cell of a slab; null when there is no memory, or the thread is ending.
fn take_cell() -> (*mut Slab, *mut u8) {
    let taken = ROOMY.try_with(|roomy| {
        let slabs = &mut roomy.borrow_mut().0;
        let slab = match slabs.last() {
            Some(slab) => *slab,
            None => {
                let slab = Slab::create();
                if slab.is_null() {
                    return (null_mut(), null_mut());
                }
                slabs.push(slab);
                slab
            }
        };
        // SAFETY: slabs with room live until they are empty and taken out of the list.
        let cell = unsafe { (*slab).take() };
        // SAFETY: as above.
        if unsafe { (*slab).is_full() } {
            slabs.pop();
        }
        (slab, cell)
    });
    taken.unwrap_or((null_mut(), null_mut()))
}

/// # Safety
/// The cell came from [`take_cell`] with this slab, in this thread, and nobody has it any more.
unsafe fn give_back_cell(slab: *mut Slab, cell: *mut u8) {
    // SAFETY: a slab lives as long as anybody has a cell of it.
    let (was_full, is_empty) = unsafe {
        let was_full = (*slab).is_full();
        (*slab).give_back(cell);
        (was_full, (*slab).used == 0)
    };
    let is_kept = ROOMY.try_with(|roomy| {
        let slabs = &mut roomy.borrow_mut().0;
        if was_full {
            slabs.push(slab);
        }
        // One empty slab stays for the next runtime.
        if is_empty && slabs.len() > 1 {
            slabs.retain(|roomy| *roomy != slab);
            return false;
        }
        true
    });
    // While the thread ends there is no list: the slab goes with its last cell.
    if is_empty && is_kept != Ok(true) {
        // SAFETY: nobody has a cell of it, and it is in no list.
        unsafe { Slab::destroy(slab) };
    }
}

/// Whether a block is an arena of ours.
fn is_arena(block: *mut u8) -> bool {
    block.addr() % LEAST == HEAD
}

/// A block of `size` bytes, aligned for pointers; null when there is no memory.
pub(super) fn allocate(size: usize) -> *mut u8 {
    if ARENAS.contains(&size) {
        let (slab, cell) = take_cell();
        if !cell.is_null() {
            // SAFETY: the cell is ours, aligned, and holds an address and an arena.
            return unsafe {
                cell.cast::<*mut Slab>().write(slab);
                cell.add(HEAD)
            };
        }
    }
    // SAFETY: no precondition.
    unsafe { libc::malloc(size.max(LEAST)).cast() }
}

/// A block of zeros, as [`allocate`].
pub(super) fn allocate_zeroed(size: usize) -> *mut u8 {
    // SAFETY: no precondition.
    unsafe { libc::calloc(1, size.max(LEAST)).cast() }
}

/// The bytes of a block that may be used.
///
/// # Safety
/// The block is null (no bytes), or came from this module and has not been freed.
pub(super) unsafe fn usable_size(block: *mut u8) -> usize {
    // SAFETY: null gives 0; what is no arena came from the C allocator.
    if is_arena(block) { ARENA } else { unsafe { libc::malloc_usable_size(block.cast()) } }
}

/// Frees a block.
///
/// # Safety
/// The block came from this module, in this thread, and nobody has it any more.
pub(super) unsafe fn free(block: *mut u8) {
    // SAFETY: as promised; the address of its slab stands before an arena.
    unsafe {
        if is_arena(block) {
            let cell = block.sub(HEAD);
            give_back_cell(cell.cast::<*mut Slab>().read(), cell);
        } else {
            libc::free(block.cast());
        }
    }
}

/// A block of `size` bytes that begins with what `block` holds, in its place; null, and nothing is changed, when there is no
/// memory.
///
/// # Safety
/// The block is null, or as [`free`] asks for.
pub(super) unsafe fn reallocate(block: *mut u8, size: usize) -> *mut u8 {
    if block.is_null() {
        return allocate(size);
    }
    // SAFETY: as promised; the new block overlaps nothing, and both hold what is copied.
    unsafe {
        if !is_arena(block) {
            return libc::realloc(block.cast(), size.max(LEAST)).cast();
        }
        let moved = allocate(size);
        if !moved.is_null() {
            block.copy_to_nonoverlapping(moved, size.min(ARENA));
            free(block);
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest arena that is asked for.
    const LARGEST: usize = *ARENAS.end();

    fn filled(size: usize, with: u8) -> *mut u8 {
        let block = allocate(size);
        assert!(!block.is_null() && block.addr().is_multiple_of(8), "{size}");
        // SAFETY: a block of this size, and nobody else has it.
        unsafe {
            assert!(usable_size(block) >= size);
            block.write_bytes(with, size);
        }
        block
    }

    /// Whether the first `size` bytes are all `with`.
    fn holds(block: *mut u8, size: usize, with: u8) -> bool {
        // SAFETY: the tests ask about blocks of this size that they have filled.
        unsafe { std::slice::from_raw_parts(block, size) }.iter().all(|byte| *byte == with)
    }

    #[test]
    fn blocks_keep_what_is_theirs_whatever_is_taken_and_given_back_beside_them() {
        let sizes = [1, 8, 16, 24, 600, LARGEST - 512, LARGEST - 8, LARGEST, LARGEST + 1, 70_000];
        let mut held: Vec<(*mut u8, usize, u8)> = Vec::new();
        for round in 0..3_000_usize {
            let (size, with) = (sizes[round * 7 % sizes.len()], (round % 251) as u8);
            held.push((filled(size, with), size, with));
            if round % 3 == 2 {
                let (block, size, with) = held.swap_remove(round * 31 % held.len());
                assert!(holds(block, size, with));
                // SAFETY: it is in the list no more.
                unsafe { free(block) };
            }
        }
        for (block, size, with) in held {
            assert!(holds(block, size, with));
            // SAFETY: each block stands in the list once.
            unsafe { free(block) };
        }
    }

    #[test]
    fn a_block_that_grows_or_shrinks_keeps_its_beginning() {
        let mut block = filled(100, 7);
        for size in [LARGEST, LARGEST + 1, LARGEST - 100, 100, LARGEST - 8, 100] {
            // SAFETY: the last block is left for the new one.
            block = unsafe { reallocate(block, size) };
            assert!(holds(block, 100, 7), "{size}");
        }
        // SAFETY: nobody else has it.
        unsafe { free(block) };
    }

    #[test]
    fn zeroed_blocks_are_zero_in_memory_that_was_used() {
        for _ in 0..10 {
            let used = filled(LARGEST, 0xff);
            // SAFETY: nobody else has it.
            unsafe { free(used) };
            let zeroed = allocate_zeroed(LARGEST);
            assert!(holds(zeroed, LARGEST, 0));
            // SAFETY: nobody else has it.
            unsafe { free(zeroed) };
        }
    }

    #[test]
    fn slabs_that_nobody_uses_are_given_up_but_one() {
        let roomy = || ROOMY.with(|roomy| roomy.borrow().0.len());
        let blocks: Vec<_> = (0..CELLS * 3).map(|_| filled(LARGEST, 1)).collect();
        assert_eq!(roomy(), 0, "three full ones");
        for block in blocks {
            // SAFETY: each block stands in the list once.
            unsafe { free(block) };
        }
        assert_eq!(roomy(), 1);
    }

    #[test]
    fn a_block_may_outlive_the_list_of_its_thread() {
        thread_local! {
            static LAST: RefCell<Option<Block>> = const { RefCell::new(None) };
        }
        struct Block(*mut u8);
        impl Drop for Block {
            fn drop(&mut self) {
                assert!(holds(self.0, LARGEST, 9));
                // SAFETY: nobody else has it.
                unsafe { free(self.0) };
            }
        }
        // What a thread used first it lets go of last.
        let ended = std::thread::spawn(|| {
            LAST.with(|last| drop(last.borrow()));
            LAST.with(|last| *last.borrow_mut() = Some(Block(filled(LARGEST, 9))));
        });
        ended.join().unwrap();
    }
}
