//! What the C library does with memory that is free.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};

/// Twice as much is kept, for each heap: the long messages of a turn fit in.
const BLOCK: usize = 2 << 20;

static IS_DONE: AtomicBool = AtomicBool::new(false);

/// Has glibc keep the memory that long messages leave behind, for the next ones.
///
/// It gives the end of a heap back as soon as 128 KiB are free there, and the next message takes it
/// again, page by page, each zeroed by the kernel: with long texts that took a third of all time.
/// But it learns that larger blocks come and go: when one is freed, twice its size is kept from then
/// on (mallopt(3), `M_MMAP_THRESHOLD`), unless the program or its user has said how much.
#[inline]
pub(crate) fn keep_free_memory() {
    if !IS_DONE.load(Ordering::Relaxed) {
        IS_DONE.store(true, Ordering::Relaxed);
        drop(black_box(Vec::<u8>::with_capacity(BLOCK)));
    }
}
