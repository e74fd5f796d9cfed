//! What a fork leaves.
//!
//! A forked child has the memory of its parent, but of the threads only the one that forked. The
//! others were stopped at any point: in the midst of a change, and with locks that nobody will ever
//! release. So the child keeps away from all that a thread which could run at the fork may have
//! locked. It gets new values instead, as if nothing had run yet.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::sync::{Mutex, MutexGuard, PoisonError};

/// How many forks lie between the process that loaded this and the one that asks.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// Whether this process has forked, or is about to.
static FORKS: AtomicBool = AtomicBool::new(false);

/// How many forks there were on the way from the first process to this one.
#[must_use]
pub fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// Says that this process forks now.
pub fn before_fork() {
    FORKS.store(true, Ordering::Relaxed);
}

/// Whether a forked child may have copies of descriptors. Then closing one does not end what it
/// stands for.
pub(super) fn may_be_shared() -> bool {
    FORKS.load(Ordering::Relaxed)
}

/// Says that this process is a forked child. To be called in it before anything else here is.
pub fn in_forked_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// A value behind a lock, and another one in each forked child, that starts with the default.
#[derive(Debug)]
pub struct PerProcess<T> {
    generation: u32,
    value: Mutex<T>,
    /// That of a child.
    next: OnceLock<Box<Self>>,
}

impl<T> PerProcess<T> {
    /// For a value that this process makes.
    pub fn new(value: T) -> Self {
        Self { generation: generation(), value: Mutex::new(value), next: OnceLock::new() }
    }

    /// For a static variable.
    #[cfg(not(loom))]
    pub const fn of_first_process(value: T) -> Self {
        Self { generation: 0, value: Mutex::new(value), next: OnceLock::new() }
    }
}

impl<T: Default> PerProcess<T> {
    /// Locks this process's value. The lock must not be held over a panic that leaves the value
    /// half changed.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        let generation = generation();
        let mut place = self;
        while place.generation != generation {
            place = place.next.get_or_init(|| Box::new(Self::new(T::default())));
        }
        place.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
