//! The allocator of the binaries, behind Rust's values as behind QuickJS's (docs/decisions/0013-allocator.md).
#![expect(unsafe_code, reason = "an allocator hands out raw memory")]

use std::alloc::{GlobalAlloc, Layout};

use libmimalloc_sys::{mi_free, mi_malloc, mi_malloc_aligned, mi_realloc, mi_realloc_aligned, mi_zalloc, mi_zalloc_aligned};

/// What mimalloc aligns every block to that is at least as large.
const ALIGNMENT: usize = 16;

/// mimalloc, asked for an alignment only where it matters: its calls that take one are slower, and some waste a block.
#[derive(Debug)]
pub struct Mimalloc;

/// Has this process, and those that it starts, get its memory in pages of the usual size. Clearing a huge one takes up to milliseconds,
/// during which a caller waits.
pub fn forgo_huge_pages() {
    let [on, unused]: [libc::c_ulong; 2] = [1, 0];
    // SAFETY: no memory is involved. Where the system refuses, it stays as it was.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, on, unused, unused, unused) };
}

fn is_plain(layout: &Layout) -> bool {
    layout.align() <= ALIGNMENT && layout.align() <= layout.size()
}

// SAFETY: mimalloc's blocks have the size and, by the check above or by asking, the alignment of their layout.
unsafe impl GlobalAlloc for Mimalloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        // SAFETY: an alignment is a power of two.
        unsafe { if is_plain(&layout) { mi_malloc(size) } else { mi_malloc_aligned(size, align) } }.cast()
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        // SAFETY: an alignment is a power of two.
        unsafe { if is_plain(&layout) { mi_zalloc(size) } else { mi_zalloc_aligned(size, align) } }.cast()
    }

    unsafe fn dealloc(&self, block: *mut u8, _layout: Layout) {
        // SAFETY: the caller's block came from this allocator.
        unsafe { mi_free(block.cast()) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's block came from this allocator; an alignment is a power of two.
        unsafe {
            if is_plain(&layout) && layout.align() <= size {
                mi_realloc(block.cast(), size)
            } else {
                mi_realloc_aligned(block.cast(), size, layout.align())
            }
        }
        .cast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_huge_pages_are_asked_for() {
        forgo_huge_pages();
        let unused: libc::c_ulong = 0;
        // SAFETY: no memory is involved.
        assert_eq!(unsafe { libc::prctl(libc::PR_GET_THP_DISABLE, unused, unused, unused, unused) }, 1);
    }
}
