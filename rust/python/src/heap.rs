//! What the C library does with memory that is free.

use std::hint::black_box;

/// Twice as much is kept, for each heap. Long messages that a turn lets go of fit in.
const BLOCK: usize = 2 << 20;

/// Has glibc keep the memory that messages leave behind, for the next ones.
///
/// It gives the end of a heap back as soon as 128 KiB are free there, and the next message takes it
/// again, page by page, each zeroed by the kernel: with long texts that took a third of all time.
/// But it learns that larger blocks come and go: when one is freed, twice its size is kept from then
/// on (mallopt(3), `M_MMAP_THRESHOLD`), unless the program or its user has said how much.
pub(crate) fn keep_free_memory() {
    drop(black_box(Vec::<u8>::with_capacity(BLOCK)));
}
