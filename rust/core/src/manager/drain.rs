//! How those who send learn that a queue is empty again.
//!
//! There are two ways. Whoever was told that a queue is more than half full, or that a message was
//! dropped, is owed one [`super::Event::Drained`]: the sender leaves a mark in the link, and the
//! loop looks for it when it has written everything. And a thread may wait, which costs the loop
//! nothing unless there is one.
//!
//! Neither can be missed, by the same argument. One side first says what it wants (the mark, or the
//! number of those who wait) and then reads `buffered`; the other first lowers `buffered` and then
//! reads what is wanted. All four are sequentially consistent, so there is one order of them all:
//! if the loop reads that nothing is wanted, then it was said later than that, and so what is read
//! next is the lowered number, and there is nothing to wait for.

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::connection::Link;
use super::sync::{AtomicBool, AtomicUsize, Condvar, Mutex, MutexGuard, PoisonError, thread_local};

/// Why nobody can wait for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    /// It is closed or closing.
    #[error("the connection is closed")]
    Closed,
    /// The caller is a callback on the manager's thread, or the greeting of a connection: it would
    /// wait for itself.
    #[error("a callback on the manager thread, or one that greets, cannot wait for what it sends")]
    OnItsThread,
}

/// The part of a link that is about becoming empty.
#[derive(Debug, Default)]
pub(super) struct Drain {
    /// A sender was told to slow down, or that a message was dropped, and there was no `Drained`
    /// since. Taken away under the queue's lock only.
    pressed: AtomicBool,
    waiting: AtomicUsize,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Link {
    /// Notes that a `Drained` is owed; the caller holds the queue's lock. Read `buffered` after it
    /// before you refuse a message: there has to be something that is going to be written.
    pub(super) fn press(&self) {
        self.drain.pressed.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_pressed(&self) -> bool {
        self.drain.pressed.load(Ordering::SeqCst)
    }

    /// Takes the mark away if nothing waits; the caller holds the queue's lock, so that no sender
    /// comes between. False if something waits again.
    pub(super) fn relieve(&self) -> bool {
        let is_empty = self.buffered.load(Ordering::SeqCst) == 0;
        if is_empty {
            self.drain.pressed.store(false, Ordering::SeqCst);
        }
        is_empty
    }

    /// Forbids sending from now on.
    pub(super) fn shut(&self) {
        self.open.store(false, Ordering::SeqCst);
        self.tell_waiting();
    }

    /// Says to those who wait that `buffered` or `open` has changed.
    pub(super) fn tell_waiting(&self) {
        if self.drain.waiting.load(Ordering::SeqCst) > 0 {
            // Whoever has read the old value holds the lock until the wait has begun.
            drop(self.lock_drain());
            self.drain.changed.notify_all();
        }
    }

    /// Waits until nothing is buffered; false if the time is over first.
    pub(super) fn wait_drained(&self, timeout: Option<Duration>) -> Result<bool, WaitError> {
        if !self.open.load(Ordering::SeqCst) {
            return Err(WaitError::Closed); // also in a forked child, where the lock may be lost
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.drain.waiting.fetch_add(1, Ordering::SeqCst);
        let result = self.wait_until(deadline);
        self.drain.waiting.fetch_sub(1, Ordering::SeqCst);
        result
    }

    fn wait_until(&self, deadline: Option<Instant>) -> Result<bool, WaitError> {
        let mut guard = self.lock_drain();
        loop {
            if !self.open.load(Ordering::SeqCst) {
                return Err(WaitError::Closed);
            }
            if self.buffered.load(Ordering::SeqCst) == 0 {
                return Ok(true);
            }
            let changed = &self.drain.changed;
            guard = match deadline {
                None => changed.wait(guard).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Ok(false);
                    }
                    changed.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0
                }
            }
        }
    }

    fn lock_drain(&self) -> MutexGuard<'_, ()> {
        self.drain.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

thread_local! {
    /// The address of the queue for which this thread runs a callback that cannot wait; 0 for none.
    static DISPATCHING: Cell<usize> = const { Cell::new(0) };
}

/// While it lives, this thread runs callbacks for the loop with the queue at that address, which
/// cannot wait for it.
pub(super) struct Dispatching {
    before: usize,
}

impl Dispatching {
    pub(super) fn begin(queue: usize) -> Self {
        Self { before: DISPATCHING.with(|current| current.replace(queue)) }
    }

    /// Whether this thread does.
    pub(super) fn is_for(queue: usize) -> bool {
        DISPATCHING.with(Cell::get) == queue
    }
}

impl Drop for Dispatching {
    fn drop(&mut self) {
        DISPATCHING.with(|current| current.set(self.before));
    }
}
