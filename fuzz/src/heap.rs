//! How much heap a piece of code takes.
//!
//! "Memory grows with the bytes that have really come" cannot be seen from outside of the core, so
//! the allocator counts. It counts for each thread, as tests run side by side.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, counting.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    /// Bytes that are in use; below zero where another thread's are freed.
    static IN_USE: Cell<isize> = const { Cell::new(0) };
    /// The most that were in use since the last [`measure`] began.
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// What some code did to the heap, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heap {
    /// What it took, less what it gave back.
    pub(crate) kept: isize,
    /// The most that it had in use at once.
    pub(crate) peak: isize,
}

/// Runs `code` and measures its heap.
pub(crate) fn measure<T>(code: impl FnOnce() -> T) -> (T, Heap) {
    let before = IN_USE.get();
    PEAK.set(before);
    let result = code();
    (result, Heap { kept: IN_USE.get() - before, peak: PEAK.get() - before })
}

/// `freed` bytes are given back once `taken` are there.
fn count(taken: usize, freed: usize) {
    let with_both = IN_USE.get() + taken.cast_signed();
    PEAK.set(PEAK.get().max(with_both));
    IN_USE.set(with_both - freed.cast_signed());
}

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller's promises are those that are asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller's promises are those that are asked for.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, bytes: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size, layout.size());
        // SAFETY: the caller's promises are those that are asked for.
        unsafe { System.realloc(bytes, layout, new_size) }
    }

    unsafe fn dealloc(&self, bytes: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: the caller's promises are those that are asked for.
        unsafe { System.dealloc(bytes, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_and_what_was_in_use_at_once() {
        let (kept, heap) = measure(|| {
            drop(vec![1_u8; 1000]);
            let mut kept = vec![2_u8; 100];
            kept.reserve_exact(200);
            kept
        });
        assert_eq!(kept.capacity(), 300);
        assert_eq!((heap.kept, heap.peak), (300, 1000));
        let ((), heap) = measure(|| drop(kept));
        assert_eq!((heap.kept, heap.peak), (-300, 0));
    }
}
