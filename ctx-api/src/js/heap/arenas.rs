//! Arenas in a region, as long as what they hold.
//!
//! QuickJS carves blocks of each of 31 sizes out of arenas of 4 KiB, and a booted runtime leaves most of the sizes' last ones nearly
//! empty: a third of its image would be free blocks. So a runtime is booted to see how many blocks of each arena come to be used; in
//! the next one the arenas are made shorter, in their order.
//!
//! ```text
//!   JSArena │ used │ free │ used │ free, never used │        as QuickJS makes it: all blocks on its list of free ones
//!   JSArena │ used │ free │ used │ spare │ the next block    shortened, once something else is asked for
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
pub(super) struct Length {
    pub(super) bytes: usize,
    blocks: u16,
}

/// How long the arenas of a region are to be, in the order in which they are asked for; none for those that stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::js) struct Lengths(Rc<[Option<Length>]>);

/// A block of a region that was taken for an arena.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Arena {
    pub(super) block: *mut u8,
    /// What was asked for.
    pub(super) size: usize,
}

/// The arenas of a region.
pub(super) struct Arenas {
    lengths: Lengths,
    /// Those that have been taken.
    taken: Vec<Arena>,
    /// The last one, and how long it is to be: it can be shortened once QuickJS has made it an arena.
    last: Option<(Arena, Length)>,
}

impl Arenas {
    pub(super) fn new(lengths: Lengths) -> Self {
        Self { lengths, taken: Vec::new(), last: None }
    }

    /// How long the next one is to be.
    pub(super) fn next(&self) -> Option<Length> {
        self.lengths.0.get(self.taken.len()).copied().flatten()
    }

    /// It lies here.
    pub(super) fn add(&mut self, arena: Arena, length: Option<Length>) {
        self.taken.push(arena);
        self.last = length.map(|length| (arena, length));
    }

    /// Shortens the one taken last, if it was to be shorter; gives one back that has to stay as long as it is.
    pub(super) fn settle(&mut self) -> Option<Arena> {
        let (arena, length) = self.last.take()?;
        // SAFETY: QuickJS has made it an arena: it asks for nothing before; and nothing was put behind its new length so far.
        let is_shorter = unsafe { arena.shorten(length) };
        (!is_shorter).then_some(arena)
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
        let size = block_size(head.size_index)?;
        let is_arena = self.size == length(usize::from(head.count), size) && head.used <= head.count;
        is_arena.then(|| Blocks { head, first: self.block.wrapping_add(size_of::<Head>()), size })
    }

    /// How long it has to be; `None` where it cannot be shorter.
    ///
    /// # Safety
    /// As for [`blocks`](Self::blocks).
    unsafe fn needed(&self) -> Option<Length> {
        // SAFETY: as promised.
        let blocks = unsafe { self.blocks() }?;
        let needed = blocks.touched() + FEWEST.max(SPARE / blocks.size);
        if needed >= blocks.count() {
            return None;
        }
        Some(Length { bytes: length(needed, blocks.size), blocks: u16::try_from(needed).ok()? })
    }

    /// Takes the blocks behind its new length off the list of free ones, where they stand last; whether it could, which it cannot where
    /// one of them was used.
    ///
    /// # Safety
    /// As for [`blocks`](Self::blocks).
    unsafe fn shorten(&self, length: Length) -> bool {
        // SAFETY: as promised.
        let Some(blocks) = (unsafe { self.blocks() }) else { return false };
        let kept = usize::from(length.blocks);
        if blocks.touched() >= kept {
            return false;
        }
        blocks.head.count = length.blocks;
        // SAFETY: one of its blocks: there are more than are kept.
        unsafe { (*blocks.at(kept - 1).cast::<BlockHead>()).next = NIL };
        true
    }
}

impl Blocks<'_> {
    fn count(&self) -> usize {
        usize::from(self.head.count)
    }

    fn at(&self, index: usize) -> *mut u8 {
        self.first.wrapping_add(index * self.size)
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
fn length(blocks: usize, size: usize) -> usize {
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
        let head = Head { links: [1; 4], size_index, used: 0, count: count as u16, first_free: 0 };
        // SAFETY: within the memory.
        unsafe {
            block.cast::<Head>().write(head);
            for at in 0..count {
                let next = if at + 1 == count { NIL } else { at as u16 + 1 };
                let head = BlockHead { next, size_index, kind: 0, references: 0 };
                block.add(length(at, size)).cast::<BlockHead>().write(head);
            }
        }
        Arena { block, size: length(count, size) }
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
            assert!(length.bytes < seen.size && (5..=67).contains(&length.blocks), "{length:?}");
            use_one(&shortened);
            // SAFETY: an arena.
            assert!(unsafe { shortened.shorten(length) });
            let shorter = Arena { size: length.bytes, ..shortened };
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
        let next = arenas.next();
        arenas.add(arena, next);
        assert!(arenas.settle() == Some(arena) && arenas.settle().is_none());
        assert_eq!((memory[4] >> 32) & 0xffff, 42, "the number of its blocks");
    }

    #[test]
    fn what_is_no_arena_is_let_be() {
        let mut memory = [0x0101_0101_0101_0101_u64; 512];
        let block = Arena { block: memory.as_mut_ptr().cast(), size: 4096 };
        // SAFETY: so many bytes.
        assert_eq!(unsafe { block.needed() }, None);
    }
}
