//! How long the manager waits for the interpreter's lock, and how long callbacks take.
//!
//! A turn's figures are exact. Each single callback is timed by the system's coarse clock, which
//! costs a fifth of the exact one: it is wrong by some milliseconds, and tells what is slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::names;

/// What has been measured, readable from any thread. Only the manager's thread writes.
#[derive(Debug, Default)]
pub(crate) struct Timings {
    /// Waiting for the interpreter's lock.
    pub(crate) gil_wait: Measured,
    /// All the callbacks of a turn.
    pub(crate) callbacks: Measured,
    /// Callbacks that took longer than `slow_callback_warning`.
    pub(crate) slow_callbacks: AtomicU64,
}

/// A total and a maximum, in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    total: AtomicU64,
    max: AtomicU64,
}

impl Measured {
    fn add(&self, time: Duration) {
        let time = nanoseconds(time);
        self.total.fetch_add(time, Ordering::Relaxed);
        self.max.fetch_max(time, Ordering::Relaxed);
    }

    /// The sum of all that was added, in seconds.
    pub(crate) fn total(&self) -> f64 {
        Duration::from_nanos(self.total.load(Ordering::Relaxed)).as_secs_f64()
    }

    /// The longest of it, in seconds.
    pub(crate) fn max(&self) -> f64 {
        Duration::from_nanos(self.max.load(Ordering::Relaxed)).as_secs_f64()
    }
}

/// Measures the turns of a manager.
pub(crate) struct Stopwatch {
    timings: Arc<Timings>,
    /// How many nanoseconds make a callback slow.
    warning: u64,
    /// When the last callback returned, by the coarse clock, in nanoseconds.
    lap: u64,
}

impl Stopwatch {
    pub(crate) fn new(timings: Arc<Timings>, warning: Option<Duration>) -> Self {
        let warning = warning.map_or(u64::MAX, nanoseconds);
        Self { timings, warning, lap: 0 }
    }

    /// Runs `callbacks` as those of a turn; it asked for the interpreter at `asked`.
    pub(crate) fn turn(&mut self, asked: Instant, callbacks: impl FnOnce(&mut Self)) {
        let begun = Instant::now();
        self.timings.gil_wait.add(begun - asked);
        self.lap = coarse_now();
        callbacks(self);
        self.timings.callbacks.add(begun.elapsed());
    }

    /// Notes that something else than a callback was done.
    pub(crate) fn skip(&mut self) {
        self.lap = coarse_now();
    }

    /// Notes that a callback has returned. If it was slow, that is counted and logged.
    pub(crate) fn lap(&mut self, py: Python<'_>, name: &str, connection: u64) {
        let before = std::mem::replace(&mut self.lap, coarse_now());
        let time = self.lap.saturating_sub(before);
        if time >= self.warning {
            self.note_slow(py, name, connection, time);
        }
    }

    #[cold]
    fn note_slow(&mut self, py: Python<'_>, name: &str, connection: u64, time: u64) {
        let time = Duration::from_nanos(time).as_secs_f64();
        self.timings.slow_callbacks.fetch_add(1, Ordering::Relaxed);
        let arguments = ("%s took %.2f s for connection %d", name, time, connection);
        if let Err(error) = names::log(py, "warning", arguments, None) {
            error.write_unraisable(py, None);
        }
        self.lap = coarse_now(); // logging is nobody's fault
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A monotonic clock, in nanoseconds, that is read in a few of them and steps every few milliseconds.
#[cfg(target_os = "linux")]
fn coarse_now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is there to be written to. The clock exists since Linux 2.6.32.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) };
    (time.tv_sec * 1_000_000_000 + time.tv_nsec).cast_unsigned() // since the start of the system
}

#[cfg(not(target_os = "linux"))]
fn coarse_now() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    nanoseconds(START.get_or_init(Instant::now).elapsed())
}

/// The time that Python means by so many seconds.
pub(crate) fn seconds(seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|error| PyValueError::new_err(format!("{seconds} seconds: {error}")))
}
