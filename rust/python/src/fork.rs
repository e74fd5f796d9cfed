//! What becomes of the managers when the process forks.
//!
//! A forked child has copies of everything but the threads, so its managers have no loop, and may
//! not touch what theirs had. Python calls the functions here (`os.register_at_fork`), with the
//! interpreter's lock: what only its holders change is whole in the child.

use std::io;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use handy_ws_core::manager::{self, Manager};
use pyo3::prelude::*;

use crate::connection::Context;
use crate::crew::Crew;
use crate::dispatch::Dispatcher;
use crate::roster::Roster;

/// A loop and its connections, from `WebSocketManager.open` to the end of `run`.
pub(crate) struct Life {
    /// What the loop waits on; -1 when it is over.
    descriptor: AtomicI32,
    pub(crate) roster: Roster,
    /// Those of the connections whose callbacks an executor runs.
    pub(crate) crew: Arc<Crew>,
    /// How long to wait for their last callbacks; set by a shutdown.
    until: Mutex<Option<Instant>>,
    /// There until the manager's thread takes it.
    manager: Mutex<Option<Manager<Context>>>,
    process: u32,
    generation: u32,
}

/// All of them, to be found by a child.
static LIVES: Mutex<Vec<Weak<Life>>> = Mutex::new(Vec::new());

impl Life {
    pub(crate) fn new(manager: Manager<Context>) -> Arc<Self> {
        let life = Arc::new(Self {
            descriptor: manager.descriptor().into(),
            roster: Roster::default(),
            crew: Arc::default(),
            until: Mutex::default(),
            manager: Mutex::new(Some(manager)),
            process: std::process::id(),
            generation: manager::generation(),
        });
        let mut lives = lock(&LIVES);
        lives.retain(|life| life.strong_count() > 0);
        lives.push(Arc::downgrade(&life));
        life
    }

    /// The loop, once.
    pub(crate) fn take(&self) -> Option<Manager<Context>> {
        lock(&self.manager).take()
    }

    /// Waits for the last callbacks until that time, unless an earlier one was set.
    pub(crate) fn end_by(&self, time: Option<Instant>) {
        let mut until = lock(&self.until);
        *until = [*until, time].into_iter().flatten().min();
    }

    pub(crate) fn until(&self) -> Option<Instant> {
        *lock(&self.until)
    }

    /// If this is a copy in a forked child: the id of the process that has the original.
    pub(crate) fn elsewhere(&self) -> Option<u32> {
        (self.generation != manager::generation()).then_some(self.process)
    }

    /// Has the copy in a child keep still. Nothing is dropped: the loop would end threads that do
    /// not exist, and the objects of the application are not the child's to finalize now.
    fn forget(&self) {
        std::mem::forget(self.take());
        self.roster.forget();
    }
}

/// Say that this process forks now.
#[pyfunction]
pub(crate) fn before_fork() {
    manager::before_fork();
}

/// In a forked child: calm all managers down. Returns the descriptors that their loops waited on.
#[pyfunction]
pub(crate) fn after_fork_in_child() -> Vec<RawFd> {
    manager::in_forked_child();
    let lives: Vec<_> = lock(&LIVES).drain(..).filter_map(|life| life.upgrade()).collect();
    for life in &lives {
        life.forget();
    }
    let descriptors = lives.iter().map(|life| life.descriptor.load(Ordering::Relaxed));
    descriptors.filter(|&descriptor| descriptor >= 0).collect()
}

/// A callback has forked, and has returned in the child: there, its thread is the only one, and it
/// ends as any thread does that has forked. The loop is the parent's.
pub(crate) struct Forked {
    /// What the callback has raised there.
    pub(crate) error: Option<PyErr>,
}

impl Forked {
    /// Leaves the loop as it is, up to [`run`].
    pub(crate) fn unwind(self) -> ! {
        resume_unwind(Box::new(self))
    }
}

/// Runs a loop to its end, unless it is another process's by then.
pub(crate) fn run(
    life: &Life,
    mut manager: Manager<Context>,
    dispatcher: &mut Dispatcher,
) -> Result<io::Result<()>, Forked> {
    let result = match catch_unwind(AssertUnwindSafe(|| manager.run(dispatcher))) {
        Ok(result) => Ok(result),
        Err(panic) => match panic.downcast::<Forked>() {
            Ok(forked) => {
                std::mem::forget(manager);
                return Err(*forked);
            }
            Err(panic) => Err(panic),
        },
    };
    // From here on the number may mean something else.
    life.descriptor.store(-1, Ordering::Relaxed);
    drop(manager); // its other thread ends with it
    Ok(result.unwrap_or_else(|panic| resume_unwind(panic)))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
