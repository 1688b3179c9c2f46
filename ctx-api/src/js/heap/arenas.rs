//! Arenas in a region, as long as what they hold.
//!
//! QuickJS carves blocks of each of 31 sizes out of arenas of 4 KiB, and a booted runtime leaves most of the sizes' last ones nearly
//! empty: a third of its image would be free blocks. So a runtime is booted to see how many blocks of each arena come to be used; in
//! the next one the arenas are made shorter, in their order. Those that a run asks for itself are made as long as what it has used of them
//! by the time it asks for the next one, and a little longer: most runs use a few blocks of many sizes.
//!
//! ```text
//!   JSArena │ used │ free │ used │ free, never used │        as QuickJS makes it: all blocks on its list of free ones
//!   JSArena │ used │ free │ used │ spare │ the next block    shortened, once another one is asked for
//! ```

use std::rc::Rc;

/// Bytes of free blocks that an arena keeps behind the last one that was ever used: what a run's own objects will need of a size that
/// few have.
const SPARE: usize = 512;
/// As many blocks at least, so that none is full that was not.
const FEWEST: usize = 2;
/// The end of a list of free blocks.
const NIL: u16 = u16::MAX;

/// The head of an arena (`JSArena` of QuickJS); the blocks follow.
#[repr(C)]
struct Head {
    links: [usize; 4],
    size_index: u8,
    used: u16,
    count: u16,
    first_free: u16,
}

/// The head of a block (`JSMallocBlockHeader`).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
struct BlockHead {
    /// The next free block, where it is free.
    next: u16,
    size_index: u8,
    kind: u8,
    references: u32,
}

/// How long an arena is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Length {
    blocks: u16,
}

/// How long the arenas of a region are to be, in the order in which they are asked for; none for those that stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::js) struct Lengths(Rc<[Option<Length>]>);

/// A block of a region that was taken for an arena: QuickJS asks for some others of such a size.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Arena {
    pub(super) block: *mut u8,
    /// What was asked for.
    pub(super) size: usize,
}

/// The arenas of a region.
pub(super) struct Arenas {
    lengths: Lengths,
    /// Those that an image is taken with.
    taken: Vec<Arena>,
    /// One that can be shortened once QuickJS has made it an arena, and how long it is to be: what it needs by then where nothing is said.
    last: Option<(Arena, Option<Length>)>,
}

impl Arenas {
    pub(super) fn new(lengths: Lengths) -> Self {
        Self { lengths, taken: Vec::new(), last: None }
    }

    fn next(&self) -> Option<Length> {
        self.lengths.0.get(self.taken.len()).copied().flatten()
    }

    /// Whether the image's next one is to be shorter than QuickJS makes it.
    pub(super) fn shortens_next(&self) -> bool {
        self.next().is_some()
    }

    /// One of the image's was taken.
    pub(super) fn add(&mut self, arena: Arena) {
        let length = self.next();
        self.taken.push(arena);
        self.last = length.map(|length| (arena, Some(length)));
    }

    /// One was taken by a run.
    pub(super) fn add_of_run(&mut self, arena: Arena) {
        self.last = Some((arena, None));
    }

    /// A block, which may be one of them, is nobody's any more.
    pub(super) fn forget(&mut self, block: *mut u8) {
        self.last.take_if(|(arena, _)| arena.block == block);
    }

    /// The one taken last stays as it is.
    pub(super) fn forget_last(&mut self) {
        self.last = None;
    }

    /// Shortens the one taken last; where it lies and its bytes now, if it could be.
    pub(super) fn settle(&mut self) -> Option<(*mut u8, usize)> {
        let (arena, length) = self.last.take()?;
        // SAFETY: QuickJS has made it an arena, or a block of another kind: it asks for nothing before; nothing lies behind it so far.
        let bytes = unsafe { arena.shorten(length) }?;
        Some((arena.block, bytes))
    }

    /// How long each has to be for what it holds, and a little more.
    pub(super) fn lengths(&self) -> Lengths {
        // SAFETY: it was taken for an arena, and its memory is the region's.
        let length = |arena: &Arena| unsafe { arena.needed() };
        let is_one = |arena: &Arena| self.taken.iter().filter(|other| other.block == arena.block).count() == 1;
        Lengths(self.taken.iter().map(|arena| if is_one(arena) { length(arena) } else { None }).collect())
    }
}

/// Bytes of each block of an arena, by its [`Head::size_index`].
fn block_size(index: u8) -> Option<usize> {
    let index = usize::from(index);
    match index {
        0..=14 => Some(16 + 8 * index),
        15..=22 => Some(128 + 16 * (index - 14)),
        23..=30 => Some(256 + 32 * (index - 22)),
        _ => None,
    }
}

/// The blocks of an arena.
struct Blocks<'a> {
    head: &'a mut Head,
    first: *mut u8,
    size: usize,
}

impl Arena {
    /// Its blocks; `None` where it is no arena as expected here.
    ///
    /// # Safety
    /// It has the bytes that were asked for, and nobody else uses them meanwhile.
    unsafe fn blocks(&self) -> Option<Blocks<'_>> {
        // SAFETY: as promised, and blocks of a region are aligned for it.
        let head = unsafe { &mut *self.block.cast::<Head>() };
        // Where an arena has an address, another block has its own head, of which no script writes anything.
        if head.links[0] & usize::from(NIL) == usize::from(NIL) {
            return None;
        }
        let size = block_size(head.size_index)?;
        let is_arena = self.size == length_of(usize::from(head.count), size) && head.used <= head.count;
        is_arena.then(|| Blocks { head, first: self.block.wrapping_add(size_of::<Head>()), size })
    }

    /// How long it has to be; `None` where it cannot be shorter.
    ///
    /// # Safety
    /// As for [`blocks`](Self::blocks).
    unsafe fn needed(&self) -> Option<Length> {
        // SAFETY: as promised.
        let blocks = unsafe { self.blocks() }?;
        let needed = blocks.with_spare(blocks.touched());
        (needed < blocks.count()).then_some(Length { blocks: u16::try_from(needed).ok()? })
    }

    /// Takes the blocks behind its new length off the list of free ones, where they stand last; its bytes then, or `None` where one of them
    /// is used or it would be no shorter.
    ///
    /// # Safety
    /// As for [`blocks`](Self::blocks).
    unsafe fn shorten(&self, length: Option<Length>) -> Option<usize> {
        // SAFETY: as promised.
        let blocks = unsafe { self.blocks() }?;
        let free = blocks.free_from()?;
        let kept = length.map_or_else(|| blocks.with_spare(free), |length| usize::from(length.blocks));
        if kept <= free || kept >= blocks.count() {
            return None;
        }
        blocks.head.count = u16::try_from(kept).ok()?;
        // SAFETY: one of its blocks: there were more than are kept.
        unsafe { (*blocks.at(kept - 1).cast::<BlockHead>()).next = NIL };
        Some(length_of(kept, blocks.size))
    }
}

impl Blocks<'_> {
    fn count(&self) -> usize {
        usize::from(self.head.count)
    }

    fn at(&self, index: usize) -> *mut u8 {
        self.first.wrapping_add(index * self.size)
    }

    /// So many, and the spare ones.
    fn with_spare(&self, blocks: usize) -> usize {
        blocks + FEWEST.max(SPARE / self.size)
    }

    /// The first of those at the end that are free, and on the list in their order, behind all others.
    fn free_from(&self) -> Option<usize> {
        let (mut from, mut at) = (self.head.first_free, self.head.first_free);
        for _ in 0..self.count() {
            if usize::from(at) >= self.count() {
                return None;
            }
            // SAFETY: one of the arena's blocks.
            let next = unsafe { self.at(usize::from(at)).cast::<BlockHead>().read() }.next;
            if next == NIL {
                return (usize::from(at) + 1 == self.count()).then_some(usize::from(from));
            }
            if next != at + 1 {
                from = next;
            }
            at = next;
        }
        None
    }

    /// How many there are from the first to the last that was ever used.
    fn touched(&self) -> usize {
        (0..self.count()).rev().find(|at| !self.is_untouched(*at)).map_or(0, |at| at + 1)
    }

    /// It is as it was when the arena was made.
    fn is_untouched(&self, index: usize) -> bool {
        let next = if index + 1 == self.count() { NIL } else { u16::try_from(index + 1).unwrap_or(NIL) };
        let head = BlockHead { next, size_index: self.head.size_index, kind: 0, references: 0 };
        // SAFETY: one of the arena's blocks.
        unsafe {
            let block = self.at(index);
            let rest = std::slice::from_raw_parts(block.add(size_of::<BlockHead>()), self.size - size_of::<BlockHead>());
            block.cast::<BlockHead>().read() == head && rest.iter().all(|byte| *byte == 0)
        }
    }
}

/// Bytes of an arena of so many blocks of one size.
fn length_of(blocks: usize, size: usize) -> usize {
    size_of::<Head>() + blocks * size
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An arena as QuickJS makes it, in memory that was zeros.
    fn made(memory: &mut [u64; 512], size_index: u8) -> Arena {
        let size = block_size(size_index).unwrap();
        let count = (4096 - size_of::<Head>()) / size;
        let block = memory.as_mut_ptr().cast::<u8>();
        let head = Head { links: [8; 4], size_index, used: 0, count: count as u16, first_free: 0 };
        // SAFETY: within the memory.
        unsafe {
            block.cast::<Head>().write(head);
            for at in 0..count {
                let next = if at + 1 == count { NIL } else { at as u16 + 1 };
                let head = BlockHead { next, size_index, kind: 0, references: 0 };
                block.add(length_of(at, size)).cast::<BlockHead>().write(head);
            }
        }
        Arena { block, size: length_of(count, size) }
    }

    /// Has its first free block used, as QuickJS does.
    fn use_one(arena: &Arena) -> usize {
        // SAFETY: an arena.
        unsafe {
            let blocks = arena.blocks().unwrap();
            let at = usize::from(blocks.head.first_free);
            let head = &mut *blocks.at(at).cast::<BlockHead>();
            (blocks.head.first_free, blocks.head.used) = (head.next, blocks.head.used + 1);
            *head = BlockHead { next: at as u16, references: 1, ..*head };
            at
        }
    }

    #[test]
    fn sizes_are_those_of_quickjs() {
        let sizes: Vec<_> = (0..=31).filter_map(block_size).collect();
        let [small, middle, large] = [(16..=128, 8), (144..=256, 16), (288..=512, 32)].map(|(range, step)| range.step_by(step));
        assert_eq!(sizes, small.chain(middle).chain(large).collect::<Vec<_>>());
    }

    #[test]
    fn an_arena_keeps_what_was_used_and_some_spare_blocks() {
        for size_index in 0..31 {
            let (mut first, mut second) = ([0; 512], [0; 512]);
            let (seen, shortened) = (made(&mut first, size_index), made(&mut second, size_index));
            let _: Vec<_> = (0..3).map(|_| use_one(&seen)).collect();
            // SAFETY: arenas.
            let Some(length) = (unsafe { seen.needed() }) else {
                assert!(block_size(size_index).unwrap() > 500, "there is always room for three, and for two spare ones");
                continue;
            };
            assert!((5..=67).contains(&length.blocks), "{length:?}");
            use_one(&shortened);
            // SAFETY: an arena.
            let size = unsafe { shortened.shorten(Some(length)) }.unwrap();
            assert!(size < seen.size);
            let shorter = Arena { size, ..shortened };
            let rest: Vec<_> = (1..length.blocks).map(|_| use_one(&shorter)).collect();
            assert_eq!(rest, (1..usize::from(length.blocks)).collect::<Vec<_>>());
            // SAFETY: an arena.
            let head = unsafe { shorter.blocks() }.unwrap().head;
            assert_eq!((head.first_free, head.used), (NIL, head.count), "the last one is the end of the list");
        }
    }

    #[test]
    fn an_arena_of_which_more_is_used_than_was_expected_stays_as_long_as_it_is() {
        let mut memory = [0; 512];
        let arena = made(&mut memory, 10);
        // SAFETY: an arena.
        let length = unsafe { arena.needed() }.unwrap();
        let _: Vec<_> = (0..=length.blocks).map(|_| use_one(&arena)).collect();
        let mut arenas = Arenas::new(Lengths([Some(length)].into()));
        arenas.add(arena);
        assert_eq!(arenas.settle(), None);
        assert_eq!((memory[4] >> 32) & 0xffff, 42, "the number of its blocks");
    }

    /// Frees one of its blocks, as QuickJS does.
    fn free_one(arena: &Arena, at: usize) {
        // SAFETY: an arena.
        unsafe {
            let blocks = arena.blocks().unwrap();
            (*blocks.at(at).cast::<BlockHead>()).next = blocks.head.first_free;
            (blocks.head.first_free, blocks.head.used) = (at as u16, blocks.head.used - 1);
        }
    }

    /// The blocks that are free, in the order of the list.
    fn free(arena: &Arena) -> Vec<u16> {
        // SAFETY: an arena.
        unsafe {
            let blocks = arena.blocks().unwrap();
            let next = |at: &u16| Some(blocks.at(usize::from(*at)).cast::<BlockHead>().read().next).filter(|next| *next != NIL);
            std::iter::successors(Some(blocks.head.first_free).filter(|at| *at != NIL), next).collect()
        }
    }

    #[test]
    fn an_arena_of_a_run_is_cut_behind_all_that_it_uses_whatever_it_has_freed() {
        for (used, freed) in [(1, &[][..]), (7, &[6, 5]), (7, &[5, 6]), (9, &[3, 1, 8]), (9, &[0, 1, 2, 3, 4, 5, 6, 7])] {
            let mut memory = [0; 512];
            let arena = made(&mut memory, 10);
            let mut in_use: Vec<_> = (0..used).map(|_| use_one(&arena)).collect();
            freed.iter().for_each(|at| free_one(&arena, *at));
            in_use.retain(|at| !freed.contains(at));
            let before = free(&arena);
            let mut arenas = Arenas::new(Lengths::default());
            arenas.add_of_run(arena);
            let (block, size) = arenas.settle().unwrap();
            assert!(block == arena.block && arenas.settle().is_none());
            let shorter = Arena { block, size };
            let after = free(&shorter);
            assert!(before.starts_with(&after) && after.len() >= FEWEST, "{used} {freed:?}: {after:?}");
            // SAFETY: an arena.
            let count = unsafe { shorter.blocks() }.unwrap().count();
            assert_eq!(in_use.len() + after.len(), count, "every block is used or free");
            assert!(in_use.iter().all(|at| *at < count) && count < 15, "{used} {freed:?}: {count}");
        }
    }

    #[test]
    fn an_arena_of_a_run_that_uses_all_of_it_or_frees_it_stays_as_it_is() {
        let mut memory = [0; 512];
        let arena = made(&mut memory, 10);
        let mut arenas = Arenas::new(Lengths::default());
        arenas.add_of_run(arena);
        arenas.forget(arena.block);
        assert_eq!(arenas.settle(), None, "freed");
        let _: Vec<_> = (0..42).map(|_| use_one(&arena)).collect();
        arenas.add_of_run(arena);
        assert_eq!(arenas.settle(), None, "full");
        free_one(&arena, 3);
        arenas.add_of_run(arena);
        assert_eq!(arenas.settle(), None, "what is free lies before what is used");
    }

    #[test]
    fn a_block_of_a_script_that_looks_like_an_arena_is_none() {
        let mut memory = [0; 512];
        let arena = made(&mut memory, 10);
        // SAFETY: so many bytes.
        unsafe {
            assert!(arena.blocks().is_some());
            // QuickJS begins each that is none so.
            arena.block.cast::<u64>().write(0x00ff_ffff);
            assert!(arena.blocks().is_none());
        }
    }

    #[test]
    fn what_is_no_arena_is_let_be() {
        let mut memory = [0x0101_0101_0101_0101_u64; 512];
        let block = Arena { block: memory.as_mut_ptr().cast(), size: 4096 };
        // SAFETY: so many bytes.
        assert_eq!(unsafe { block.needed() }, None);
    }
}
