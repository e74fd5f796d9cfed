//! The callbacks of one connection, one after the other, on the threads of an executor.
//!
//! A connection whose `WebSocketHandler` has an executor has a strand: a queue of what has happened
//! to it. The manager's thread puts events in and never waits; an executor's thread takes them out
//! and calls back. At most one [`Run`] of a strand is with the executor or at work at a time, and
//! that is why no two callbacks of a connection overlap:
//!
//! ```text
//!          push(): submit              the executor calls
//!   Idle ──────────────────▶ Submitted ──────────────────▶ Running
//!    ▲                        │  ▲                          │  │
//!    │                        │  └──────────────────────────┘  │
//!    │                        │     its budget is used up:     │
//!    │      the executor does │     submit another Run         │
//!    │  not take or drops it  ▼                                │
//!    │                     Refused                             │
//!    └─────────────────────────────────────────────────────────┘
//!                          the queue is empty
//! ```
//!
//! What the loop has to know, it is told: that the greeting has been said, that the answering CLOSE
//! is due, and how much waits, so that it stops reading who sends too much.
//!
//! An executor that takes nothing any more ends the connection, since its callbacks cannot be
//! called as they should be. Those that must be, `on_connection_closed` above all, are called on
//! the manager's thread then. No lock is held while Python code runs.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use handy_ws_core::manager;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

use crate::calls;
use crate::connection::WebSocketConnection;
use crate::crew::Crew;
use crate::job::Job;

/// What one run may do before it makes way for other connections.
const MAX_JOBS: u32 = 16;
const MAX_TIME: Duration = Duration::from_millis(10);

/// Who deals with the jobs: see the diagram above.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Activity {
    Idle,
    Submitted,
    Running {
        /// The `Run` that was submitted meanwhile has been called, or lost: whoever is at work has
        /// to go on.
        again: bool,
    },
    Refused,
}

struct State {
    jobs: VecDeque<Job>,
    /// One of them is a `Drained`: another one would say nothing new.
    has_drained: bool,
    activity: Activity,
}

/// The part of a connection that has an executor.
pub(crate) struct Strand {
    crew: Arc<Crew>,
    state: Mutex<State>,
    /// That of the process which the connection belongs to.
    generation: u32,
}

impl Strand {
    /// A strand without jobs; `push` is given an `Established` first and a `Closed` last.
    pub(crate) fn new(crew: Arc<Crew>) -> Self {
        let state = State { jobs: VecDeque::new(), has_drained: false, activity: Activity::Idle };
        Self { crew, state: Mutex::new(state), generation: manager::generation() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two states that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a callback has forked, and this is the child.
    fn is_elsewhere(&self) -> bool {
        self.generation != manager::generation()
    }

    /// The next job; none leaves whoever asks without work.
    fn next(&self) -> Option<Job> {
        if self.is_elsewhere() {
            return None;
        }
        let mut state = self.lock();
        let job = state.jobs.pop_front();
        state.has_drained &= !matches!(job, Some(Job::Drained));
        if job.is_none() && state.activity != Activity::Refused {
            state.activity = Activity::Idle;
        }
        job
    }

    /// Notes that a `Run` is called. False if another thread is at work, which then goes on.
    fn begin(&self) -> bool {
        let mut state = self.lock();
        match state.activity {
            Activity::Submitted => {
                state.activity = Activity::Running { again: false };
                true
            }
            Activity::Running { .. } => {
                state.activity = Activity::Running { again: true };
                false
            }
            Activity::Idle | Activity::Refused => false,
        }
    }

    /// Ends the work of this thread behind a `Run` that was submitted. False if it has to go on.
    fn hand_on(&self) -> bool {
        let mut state = self.lock();
        let again = state.activity == Activity::Running { again: true };
        state.activity =
            if again { Activity::Running { again: false } } else { Activity::Submitted };
        !again
    }

    fn has_jobs(&self) -> bool {
        !self.lock().jobs.is_empty()
    }

    /// Notes that a `Run` will never be called. True if the manager has to do its work.
    fn lose_run(&self) -> bool {
        let mut state = self.lock();
        match state.activity {
            Activity::Submitted => {
                state.activity = Activity::Refused;
                true
            }
            Activity::Running { .. } => {
                state.activity = Activity::Running { again: true };
                false
            }
            Activity::Idle | Activity::Refused => false,
        }
    }
}

/// What is to be done about a job, when the lock is free.
enum Next {
    /// It waits for its turn.
    Nothing,
    Submit,
    /// On this thread: this one, which calls no Python code, and so needs no other thread.
    Perform(Job),
    /// On this thread: all that there are.
    PerformAll,
}

/// Queues a job, and has the executor run the strand if it does not do so yet. Called by the
/// manager's thread only.
pub(crate) fn push(py: Python<'_>, connection: &Py<WebSocketConnection>, job: Job) {
    let Some(strand) = connection.get().strand() else { return };
    if let Job::Established = job {
        strand.crew.join();
    }
    let calls_back = job.calls_back(connection.get().callbacks());
    if let Some(bytes) = job.payload() {
        if !calls_back {
            return;
        }
        connection.get().core().hold(bytes);
    }
    let mut state = strand.lock();
    if let Job::Drained = job
        && (!calls_back || std::mem::replace(&mut state.has_drained, true))
    {
        return;
    }
    let next = match state.activity {
        Activity::Idle if !calls_back => Next::Perform(job),
        Activity::Idle => {
            state.activity = Activity::Submitted;
            state.jobs.push_back(job);
            Next::Submit
        }
        Activity::Submitted | Activity::Running { .. } => {
            state.jobs.push_back(job);
            Next::Nothing
        }
        Activity::Refused => {
            state.jobs.push_back(job);
            Next::PerformAll
        }
    };
    drop(state);
    match next {
        Next::Nothing => {}
        Next::Submit => {
            if let Err(error) = submit(py, connection) {
                strand.lock().activity = Activity::Refused;
                strand.crew.refused(py, connection, error);
                perform_all(py, connection);
            }
        }
        Next::Perform(job) => perform(py, strand, connection, job),
        Next::PerformAll => perform_all(py, connection),
    }
}

/// Does on the manager's thread what the executor has dropped.
pub(crate) fn take_over(py: Python<'_>, connection: &Py<WebSocketConnection>) {
    if let Some(strand) = connection.get().strand() {
        let error = PyRuntimeError::new_err("a submitted call was dropped");
        strand.crew.refused(py, connection, error);
        perform_all(py, connection);
    }
}

fn perform_all(py: Python<'_>, connection: &Py<WebSocketConnection>) {
    let Some(strand) = connection.get().strand() else { return };
    while let Some(job) = strand.next() {
        perform(py, strand, connection, job);
    }
}

fn perform(py: Python<'_>, strand: &Strand, connection: &Py<WebSocketConnection>, job: Job) {
    let is_last = matches!(job, Job::Closed);
    job.perform(connection.bind(py));
    if is_last && !strand.is_elsewhere() {
        strand.crew.leave();
    }
}

/// Gives the executor a `Run`. If it raises, there is none.
fn submit(py: Python<'_>, connection: &Py<WebSocketConnection>) -> PyResult<()> {
    let Some(submit) = &connection.get().callbacks().submit else { return Ok(()) };
    let run = Run { connection: connection.clone_ref(py), is_claimed: AtomicBool::new(false) };
    let run = Bound::new(py, run)?;
    match calls::call(submit.bind(py), (&run,), None) {
        Err(error) if run.get().claim() => Err(error),
        // If it has called the `Run` and then raised, the work is done.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Runs a strand until it has nothing to do, or has made others wait for long enough.
fn run(py: Python<'_>, connection: &Py<WebSocketConnection>) {
    let Some(strand) = connection.get().strand() else { return };
    if !strand.begin() {
        return;
    }
    strand.crew.work_here(|| {
        let (mut count, mut begun) = (0, Instant::now());
        while let Some(job) = strand.next() {
            perform(py, strand, connection, job);
            count += 1;
            if (count >= MAX_JOBS || begun.elapsed() >= MAX_TIME) && strand.has_jobs() {
                match submit(py, connection) {
                    Ok(()) if strand.hand_on() => return,
                    Ok(()) => {}
                    // This thread is as good as the one that there is not, and there is not much
                    // left to do: the connection is closed.
                    Err(error) => strand.crew.refused(py, connection, error),
                }
                (count, begun) = (0, Instant::now());
            }
        }
    });
}

/// One call that an executor is to make. Whoever claims it first decides what becomes of it, so
/// that it is made once, and if it is dropped, somebody notices.
#[pyclass(frozen, module = "handy_ws._core", name = "Run")]
pub(crate) struct Run {
    connection: Py<WebSocketConnection>,
    is_claimed: AtomicBool,
}

impl Run {
    fn claim(&self) -> bool {
        !self.is_claimed.swap(true, Ordering::Relaxed)
    }
}

#[pymethods]
impl Run {
    fn __call__(&self, py: Python<'_>) {
        if self.claim() {
            run(py, &self.connection);
        }
    }

    fn __repr__(&self) -> String {
        format!("<callbacks of connection {}>", self.connection.get().core().id())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.connection)
    }
}

impl Drop for Run {
    /// A pool that is shut down with `cancel_futures=True` drops what it was given. The thread that
    /// does so may hold any lock: the manager's thread does the rest.
    fn drop(&mut self) {
        let connection = self.connection.get();
        if self.claim()
            && let Some(strand) = connection.strand()
            && strand.lose_run()
        {
            // Without an interpreter there is nobody left to call.
            Python::try_attach(|py| strand.crew.add_orphan(self.connection.clone_ref(py)));
            connection.core().wake();
        }
    }
}
