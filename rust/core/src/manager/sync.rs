//! The primitives that threads meet at: the standard library's, or those of the model checker
//! (`--cfg loom`), which tries every order in which the threads may come.

use std::time::Duration;

#[cfg(not(loom))]
pub(super) use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

#[cfg(not(loom))]
pub(super) fn pause(time: Duration) {
    std::thread::park_timeout(time);
}
