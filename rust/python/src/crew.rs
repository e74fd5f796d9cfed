//! What the strands of one run of a manager share: who is still at work, and whose executor is gone.

use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::connection::WebSocketConnection;
use crate::{names, strand};

thread_local! {
    /// The crew for which this thread calls back at the moment; only to be compared.
    static CREW: Cell<*const Crew> = const { Cell::new(ptr::null()) };
}

#[derive(Default)]
pub(crate) struct Crew {
    state: Mutex<State>,
    changed: Condvar,
    /// Whether there are any, to be asked without the lock.
    has_orphans: AtomicBool,
    has_complained: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Strands from their `Established` to the end of their `on_connection_closed`.
    at_work: usize,
    /// Connections whose strand no executor runs, although it has jobs.
    orphans: Vec<Py<WebSocketConnection>>,
    /// The manager's thread looks after nobody any more.
    is_over: bool,
}

/// Why [`Crew::wait`] returns.
enum Waited {
    Done,
    Orphans,
    TimeOver { at_work: usize },
}

impl Crew {
    pub(crate) fn join(&self) {
        self.lock().at_work += 1;
    }

    pub(crate) fn leave(&self) {
        self.lock().at_work -= 1;
        self.changed.notify_all();
    }

    /// Leaves a connection to the manager's thread.
    pub(crate) fn add_orphan(&self, connection: Py<WebSocketConnection>) {
        let mut state = self.lock();
        if state.is_over {
            drop(state); // before the connection, with which any object may go
            return;
        }
        state.orphans.push(connection);
        drop(state);
        self.has_orphans.store(true, Ordering::Release);
        self.changed.notify_all();
    }

    pub(crate) fn has_orphans(&self) -> bool {
        self.has_orphans.load(Ordering::Acquire)
    }

    /// Does what nobody else does. On the manager's thread.
    pub(crate) fn take_over_orphans(&self, py: Python<'_>) {
        self.has_orphans.store(false, Ordering::Release);
        let orphans = std::mem::take(&mut self.lock().orphans);
        for connection in &orphans {
            strand::take_over(py, connection);
        }
    }

    /// Runs `callbacks` so that [`is_here`](Self::is_here) knows of it.
    pub(crate) fn work_here(&self, callbacks: impl FnOnce()) {
        let outer = CREW.replace(self);
        callbacks();
        CREW.set(outer);
    }

    /// Whether this thread is in a callback of one of the strands.
    pub(crate) fn is_here(&self) -> bool {
        ptr::eq(CREW.get(), self)
    }

    /// Notes that the executor does not run the callbacks of a connection. That is the end of the
    /// connection, if it had none yet; of many, the first one is logged.
    pub(crate) fn refused(&self, py: Python<'_>, connection: &Py<WebSocketConnection>, why: PyErr) {
        if !connection.get().core().is_open() {
            return; // its last callbacks need no other thread
        }
        connection.get().close_after_error();
        if self.has_complained.swap(true, Ordering::Relaxed) || interpreter_ends(py) {
            return;
        }
        if let Err(error) = complain(py, connection, why) {
            error.write_unraisable(py, Some(connection.bind(py)));
        }
    }

    /// Waits until every `on_connection_closed` has returned, or until the time is over; not at all
    /// if there is none. On the manager's thread, when its loop has ended.
    pub(crate) fn finish(&self, py: Python<'_>, until: Option<Instant>) {
        if let Some(until) = until {
            self.finish_callbacks(py, until);
        }
        let mut state = self.lock();
        state.is_over = true;
        let orphans = std::mem::take(&mut state.orphans);
        drop(state);
        drop(orphans); // now that the lock is free
    }

    fn finish_callbacks(&self, py: Python<'_>, until: Instant) {
        loop {
            match py.detach(|| self.wait(until)) {
                Waited::Done => return,
                Waited::Orphans => self.take_over_orphans(py),
                Waited::TimeOver { at_work } => {
                    if !interpreter_ends(py)
                        && let Err(error) = warn_of_callbacks(py, at_work)
                    {
                        error.write_unraisable(py, None);
                    }
                    return;
                }
            }
        }
    }

    fn wait(&self, until: Instant) -> Waited {
        let mut state = self.lock();
        loop {
            if !state.orphans.is_empty() {
                return Waited::Orphans;
            }
            let at_work = state.at_work;
            if at_work == 0 {
                return Waited::Done;
            }
            let time = until.saturating_duration_since(Instant::now());
            if time.is_zero() {
                return Waited::TimeOver { at_work };
            }
            let waited = self.changed.wait_timeout(state, time);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two states that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn complain(py: Python<'_>, connection: &Py<WebSocketConnection>, why: PyErr) -> PyResult<()> {
    let options = PyDict::new(py);
    options.set_item("exc_info", why.into_value(py))?;
    let message = "the executor runs no more callbacks: closing connection %d, and all like it";
    let arguments = (message, connection.get().core().id());
    names::log(py, "error", arguments, Some(&options))
}

fn warn_of_callbacks(py: Python<'_>, at_work: usize) -> PyResult<()> {
    let message = "the server stopped without waiting for callbacks of %d connections";
    names::log(py, "warning", (message, at_work), None)
}

/// Whether this is the end of the program, at which `concurrent.futures` takes nothing any more.
fn interpreter_ends(py: Python<'_>) -> bool {
    let flag = py.import("threading").and_then(|threading| {
        threading.getattr("_SHUTTING_DOWN")?.is_truthy() // CPython's own
    });
    flag.unwrap_or(false)
}
