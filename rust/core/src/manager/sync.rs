//! What threads meet at: the real things, or under `--cfg loom` those of a model checker, which
//! tries every order in which the threads may come. `models.rs` says what it checks.

pub(super) use std::sync::PoisonError;

#[cfg(not(loom))]
pub(super) use {
    mio::{Poll, Waker},
    std::sync::atomic::{AtomicBool, AtomicUsize},
    std::sync::{Condvar, Mutex, MutexGuard},
    std::{thread, thread_local},
};

#[cfg(loom)]
pub(super) use {
    loom::sync::{Condvar, Mutex, MutexGuard},
    loom::thread,
    model::{AtomicBool, AtomicUsize, Poll, Waker, pause, thread_local, unpause},
};

#[cfg(loom)]
pub(super) mod model;

/// Lets time pass, unless [`unpause`] is called.
#[cfg(not(loom))]
pub(super) fn pause(time: std::time::Duration) {
    thread::park_timeout(time);
}

#[cfg(not(loom))]
pub(super) fn unpause<T>(thread: &thread::JoinHandle<T>) {
    thread.thread().unpark();
}
