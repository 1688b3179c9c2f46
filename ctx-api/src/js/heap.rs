//! Where the memory of runtimes comes from.
//!
//! QuickJS carves its small blocks out of arenas of one size, and most of a runtime is made of them. Arenas of runtimes that are gone are
//! kept for the next ones. The first blocks of a runtime may lie in one piece, a [`Region`], so that it can be [copied](super::image).

mod arenas;
mod region;

use std::cell::RefCell;
use std::rc::Rc;

use rquickjs::allocator::Allocator;
use rustc_hash::FxHashSet;

use super::memory::Meter;
pub(super) use arenas::Lengths;
pub(super) use region::Region;

/// What QuickJS carves its small blocks out of, bytes: it asks for this or somewhat less, and most of a runtime is made of it.
const ARENA: usize = 4096;

/// Whether a request of `size` bytes is one for an arena.
fn is_arena(size: usize) -> bool {
    (ARENA - 512..=ARENA).contains(&size)
}

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
    if !is_arena(size) {
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

/// The least that the C allocator is asked for: smaller blocks of it may begin where those of a [`Region`] do.
const LEAST: usize = 16;

/// A block of `size` bytes from the C allocator.
fn take(size: usize) -> *mut u8 {
    take_block(size.max(LEAST))
}

/// The memory of one runtime: the C allocator, metered, after a region if there is one.
pub(super) struct Heap {
    meter: RefCell<Rc<Meter>>,
    region: Option<Region>,
    /// What is held of the C allocator besides a region, so that all of it can be given up at once.
    beside: RefCell<FxHashSet<*mut u8>>,
}

impl Heap {
    pub(super) fn new(meter: Rc<Meter>) -> Rc<Self> {
        Rc::new(Self { meter: RefCell::new(meter), region: None, beside: RefCell::default() })
    }

    /// A heap whose first blocks lie in a region of `capacity` bytes, with arenas of such lengths; `None` when there is no memory.
    pub(super) fn with_region(meter: Rc<Meter>, capacity: usize, lengths: &Lengths) -> Option<Rc<Self>> {
        let region = Some(Region::new(capacity, lengths.clone())?);
        Some(Rc::new(Self { meter: RefCell::new(meter), region, beside: RefCell::default() }))
    }

    pub(super) fn region(&self) -> Option<&Region> {
        self.region.as_ref()
    }

    /// Counts for another run from now on, which holds `used` bytes.
    pub(super) fn count_for(&self, meter: Rc<Meter>, used: usize) {
        meter.begin_with(used);
        self.meter.replace(meter);
    }

    /// Frees all blocks that are not copied.
    ///
    /// # Safety
    /// Nobody will use any of them again.
    pub(super) unsafe fn free_beside(&self) {
        if let Some(region) = &self.region {
            region.clear();
        }
        for block in self.beside.take() {
            // SAFETY: the C allocator's, and nobody else has it.
            unsafe { give_back(block, usable_size(block)) };
        }
    }

    fn allocate(&self, size: usize, zeroed: bool) -> *mut u8 {
        if !self.meter.borrow().admits(size) {
            return std::ptr::null_mut();
        }
        let block = match &self.region {
            Some(region) if region.is_open() => region.take(size),
            Some(region) if is_arena(size) => {
                self.meter.borrow().sub(region.settle());
                region.take_for_run(size).unwrap_or_else(|| self.take_beside(size, zeroed))
            }
            Some(_) | None => self.take_beside(size, zeroed),
        };
        // SAFETY: null or just allocated.
        self.meter.borrow().add(unsafe { usable_size(block) });
        block
    }

    /// A block of the C allocator.
    fn take_beside(&self, size: usize, zeroed: bool) -> *mut u8 {
        // SAFETY: no precondition.
        let block = if zeroed { unsafe { libc::calloc(1, size.max(LEAST)) }.cast() } else { take(size) };
        if self.region.is_some() && !block.is_null() {
            self.beside.borrow_mut().insert(block);
        }
        block
    }

    /// # Safety
    /// The block is one of this heap's, and nobody uses it any more.
    unsafe fn free(&self, block: *mut u8) {
        // SAFETY: as promised.
        unsafe {
            let usable = usable_size(block);
            self.meter.borrow().sub(usable);
            match &self.region {
                Some(region) if is_of_region(block) => region.give_back(block, usable),
                Some(_) => {
                    self.beside.borrow_mut().remove(&block);
                    give_back(block, usable);
                }
                None => give_back(block, usable),
            }
        }
    }

    /// # Safety
    /// The block is null or one of this heap's.
    unsafe fn reallocate(&self, block: *mut u8, size: usize) -> *mut u8 {
        if block.is_null() {
            return self.allocate(size, false);
        }
        // SAFETY: as promised; the new block overlaps nothing, and both hold what is copied.
        unsafe {
            let old = usable_size(block);
            if size > old && !self.meter.borrow().admits(size - old) {
                return std::ptr::null_mut();
            }
            if size == 0 {
                self.free(block);
                return std::ptr::null_mut();
            }
            if is_of_region(block) {
                if size <= old {
                    return block;
                }
                let moved = self.allocate(size, false);
                if !moved.is_null() {
                    block.copy_to_nonoverlapping(moved, old);
                    self.free(block);
                }
                return moved;
            }
            let moved = libc::realloc(block.cast(), size.max(LEAST)).cast::<u8>();
            if !moved.is_null() {
                if self.region.is_some() {
                    let mut beside = self.beside.borrow_mut();
                    beside.remove(&block);
                    beside.insert(moved);
                }
                let meter = self.meter.borrow();
                meter.sub(old);
                meter.add(usable_size(moved));
            }
            moved
        }
    }
}

/// # Safety
/// The block is null (no bytes), or one of a heap's.
unsafe fn usable_size(block: *mut u8) -> usize {
    // SAFETY: as promised: the size stands before a block of a region, and the others are the C allocator's.
    unsafe { if is_of_region(block) { block.cast::<usize>().sub(1).read() } else { libc::malloc_usable_size(block.cast()) } }
}

/// Whether a block lies in a region: eight past a multiple of sixteen, where the C allocator puts nothing of sixteen octets or more.
fn is_of_region(block: *mut u8) -> bool {
    block.addr() % LEAST == size_of::<usize>()
}

/// A heap as QuickJS sees it.
pub(super) struct HeapAllocator(pub(super) Rc<Heap>);

// SAFETY: blocks come from the C allocator, whose blocks are aligned for any type and whose `malloc_usable_size` bytes may all be
// used, or from a region, where they are aligned for addresses and have the bytes that stand before them.
unsafe impl Allocator for HeapAllocator {
    fn alloc(&mut self, size: usize) -> *mut u8 {
        self.0.allocate(size, false)
    }

    fn calloc(&mut self, count: usize, size: usize) -> *mut u8 {
        count.checked_mul(size).map_or(std::ptr::null_mut(), |size| self.0.allocate(size, true))
    }

    unsafe fn dealloc(&mut self, block: *mut u8) {
        // SAFETY: the caller's pointer came from this allocator.
        unsafe { self.0.free(block) };
    }

    unsafe fn realloc(&mut self, block: *mut u8, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's pointer is null or came from this allocator.
        unsafe { self.0.reallocate(block, new_size) }
    }

    unsafe fn usable_size(block: *mut u8) -> usize {
        // SAFETY: null gives 0; other pointers came from this allocator.
        unsafe { usable_size(block) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(heap: &Heap, size: usize, with: u8) -> *mut u8 {
        let block = heap.allocate(size, false);
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

    fn heaps() -> [Rc<Heap>; 2] {
        [Heap::new(Meter::new(u64::MAX)), Heap::with_region(Meter::new(u64::MAX), 64 << 10, &Lengths::default()).unwrap()]
    }

    #[test]
    fn blocks_keep_what_is_theirs_whatever_is_taken_grown_and_given_back_beside_them() {
        let sizes = [1, 8, 16, 24, 600, ARENA - 512, ARENA, ARENA + 1, 9_000];
        for heap in heaps() {
            let mut held: Vec<(*mut u8, usize, u8)> = Vec::new();
            for round in 0..3_000_usize {
                if round == 20
                    && let Some(region) = heap.region()
                {
                    region.close();
                }
                let (size, with) = (sizes[round * 7 % sizes.len()], (round % 251) as u8);
                held.push((filled(&heap, size, with), size, with));
                if round % 3 == 2 {
                    let (block, size, with) = held.swap_remove(round * 31 % held.len());
                    assert!(holds(block, size, with));
                    // SAFETY: the block is in the list no more; what it becomes is.
                    unsafe {
                        if round % 2 == 0 {
                            heap.free(block);
                        } else {
                            let grown = heap.reallocate(block, size * 2);
                            assert!(holds(grown, size, with));
                            grown.write_bytes(with, size * 2);
                            held.push((grown, size * 2, with));
                        }
                    }
                }
            }
            for (block, size, with) in held {
                assert!(holds(block, size, with));
                // SAFETY: each block stands in the list once.
                unsafe { heap.free(block) };
            }
            assert_eq!(heap.meter.borrow().used(), 0);
            assert!(heap.beside.borrow().is_empty());
        }
    }

    #[test]
    fn zeroed_blocks_are_zero_in_memory_that_was_used() {
        for heap in heaps() {
            for _ in 0..10 {
                let used = filled(&heap, 700, 0xff);
                // SAFETY: nobody else has it.
                unsafe { heap.free(used) };
                let zeroed = heap.allocate(700, true);
                assert!(holds(zeroed, 700, 0));
                // SAFETY: nobody else has it.
                unsafe { heap.free(zeroed) };
            }
        }
    }

    #[test]
    fn a_region_that_is_full_or_a_limit_that_is_reached_gives_nothing() {
        let heap = Heap::with_region(Meter::new(u64::MAX), 4096, &Lengths::default()).unwrap();
        assert!(heap.allocate(5_000, false).is_null());
        assert!(!heap.allocate(4_000, false).is_null());
        let heap = Heap::new(Meter::new(1_000));
        assert!(heap.allocate(2_000, false).is_null() && heap.meter.borrow().exceeded());
    }

    #[test]
    fn what_lies_beside_a_region_goes_at_once() {
        let heap = Heap::with_region(Meter::new(u64::MAX), 4096, &Lengths::default()).unwrap();
        let region = heap.region().unwrap();
        region.close();
        let room = region.used();
        let blocks: Vec<_> = (0..100).map(|size| filled(&heap, 600 + size * 50, 1)).collect();
        let beside = blocks.iter().filter(|block| !is_of_region(**block)).count();
        assert_eq!((heap.beside.borrow().len(), beside), (90, 90), "one in ten is as long as an arena");
        // SAFETY: nobody looks at them again.
        unsafe { heap.free_beside() };
        assert!(heap.beside.borrow().is_empty());
        assert_eq!(region.used(), room);
    }

    #[test]
    fn an_arena_that_a_run_needs_again_and_again_takes_its_place_again() {
        let heap = Heap::with_region(Meter::new(u64::MAX), 4096, &Lengths::default()).unwrap();
        heap.region().unwrap().close();
        let places: FxHashSet<_> = (0..100)
            .map(|with| {
                let block = filled(&heap, ARENA, with);
                // SAFETY: nobody else has it.
                unsafe { heap.free(block) };
                block
            })
            .collect();
        assert!(places.len() == 1 && places.into_iter().all(is_of_region));
        assert_eq!(heap.meter.borrow().used(), 0);
    }
}
