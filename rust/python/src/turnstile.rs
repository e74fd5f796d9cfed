//! Keeps a fork out of a critical section: what a thread has in hand in the midst of it, nobody could
//! find in the child.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Lets one thread at a time through, and nobody while it is held.
#[derive(Default)]
pub(crate) struct Turnstile {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_inside: bool,
    /// How many hold it.
    holders: usize,
}

/// Somebody is inside.
pub(crate) struct Inside<'a>(&'a Turnstile);

impl Turnstile {
    /// Goes in, as soon as nobody is inside or holds it. To be called without the interpreter.
    pub(crate) fn enter(&self) -> Inside<'_> {
        let mut state = self.wait_while(|state| state.is_inside || state.holders > 0);
        state.is_inside = true;
        Inside(self)
    }

    /// Keeps others out, and waits until nobody is inside. To be called without the interpreter.
    pub(crate) fn hold(&self) {
        self.lock().holders += 1;
        drop(self.wait_while(|state| state.is_inside));
    }

    /// Makes up for one call of [`hold`](Self::hold).
    pub(crate) fn release(&self) {
        self.lock().holders -= 1;
        self.changed.notify_all();
    }

    fn wait_while(&self, is_so: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let state = self.changed.wait_while(self.lock(), |state| is_so(state));
        state.unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.lock().is_inside = false;
        self.0.changed.notify_all();
    }
}
