//! How the loop changes hands while a dispatch blocks.
//!
//! The manager's thread owns the loop. Before it calls the handler, which may take any time, it
//! lends the loop: to nobody at first. A second thread, the stand-in, looks now and then whether
//! the same loan is still open, and if so takes the loop and drives it until the owner wants it
//! back.
//!
//! ```text
//!           lend()              take_over(), after a while
//!   Owned ─────────▶ Lent ───────────────────────────────▶ Taken
//!     ▲               │  ▲                                   │
//!     └───────────────┘  └───────────────────────────────────┘
//!       take_back()        give_back(), once is_wanted()
//! ```
//!
//! For the owner a loan costs two uncontended locks. The stand-in looks by the clock and is not told
//! of every loan; only when there was none for a while it sleeps, and then the next one wakes it.

use std::time::Duration;

use super::sync::{Condvar, Mutex, MutexGuard, PoisonError, pause};

/// How often the stand-in looks. A loan that it sees twice has lasted between one and two of these.
const INTERVAL: Duration = Duration::from_millis(5);

/// The stand-in goes to sleep when it has seen no new loan so many times.
const PATIENCE: u32 = if cfg!(loom) { 1 } else { 40 };

#[derive(Debug)]
struct State<T> {
    /// There while lent and not taken.
    lent: Option<T>,
    /// Counts the loans, to tell one from the next.
    loan: u64,
    /// The owner waits for what the stand-in has taken.
    wanted: bool,
    /// The stand-in is to be woken by the next loan.
    asleep: bool,
    /// There will be no more loans.
    over: bool,
}

/// Where the loop lies while its owner calls the handler.
#[derive(Debug)]
pub(super) struct HandOver<T> {
    state: Mutex<State<T>>,
    /// The stand-in sleeps here.
    lent: Condvar,
    /// The owner waits here.
    returned: Condvar,
}

impl<T> HandOver<T> {
    pub(super) fn new() -> Self {
        let state = State { lent: None, loan: 0, wanted: false, asleep: false, over: false };
        Self { state: Mutex::new(state), lent: Condvar::new(), returned: Condvar::new() }
    }

    // What the owner calls.

    pub(super) fn lend(&self, item: T) {
        let mut state = self.lock();
        state.lent = Some(item);
        state.loan += 1;
        if std::mem::take(&mut state.asleep) {
            drop(state);
            self.lent.notify_one();
        }
    }

    /// Ends the loan. If the stand-in has taken the item, `interrupt` is called, which has it look
    /// at [`is_wanted`](Self::is_wanted) soon.
    pub(super) fn take_back(&self, interrupt: impl FnOnce()) -> T {
        let mut state = self.lock();
        if let Some(item) = state.lent.take() {
            return item;
        }
        state.wanted = true;
        drop(state);
        interrupt();
        let mut state = self.lock();
        loop {
            if let Some(item) = state.lent.take() {
                state.wanted = false;
                return item;
            }
            state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Says that there will be no more loans: the stand-in ends.
    pub(super) fn finish(&self) {
        self.lock().over = true;
        self.lent.notify_one();
    }

    // What the stand-in calls.

    /// Waits for a loan that lasts, and takes the item. `None` when there will be no more loans.
    pub(super) fn take_over(&self) -> Option<T> {
        let mut state = self.lock();
        let mut seen = state.loan;
        let mut quiet = 0;
        loop {
            if state.over {
                return None;
            }
            if quiet == PATIENCE {
                state.asleep = true;
                state = self.lent.wait(state).unwrap_or_else(PoisonError::into_inner);
                quiet = 0;
                seen = state.loan;
                continue;
            }
            drop(state);
            pause(INTERVAL);
            state = self.lock();
            if state.loan != seen {
                seen = state.loan;
                quiet = 0;
            } else if state.lent.is_some() && !state.wanted {
                return state.lent.take();
            } else {
                quiet += 1;
            }
        }
    }

    /// Whether the owner waits for the item, or is gone.
    pub(super) fn is_wanted(&self) -> bool {
        let state = self.lock();
        state.wanted || state.over
    }

    pub(super) fn give_back(&self, item: T) {
        self.lock().lent = Some(item);
        self.returned.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing panics between two states that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
