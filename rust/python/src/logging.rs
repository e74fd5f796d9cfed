//! The core's log records, on Python's logger `handy_ws`.
//!
//! The core must never wait for the interpreter: it logs while a callback holds that for seconds.
//! So a record is put aside, and the manager's thread hands it to Python when it is attached anyway,
//! or soon. The core logs rarely (a panic, a socket that cannot be adopted; at DEBUG, protocol and
//! network errors); of a flood the latest records are counted and left out.

use std::collections::VecDeque;
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicBool, Ordering};

use handy_ws_core::manager::PerProcess;
use log::{Level, LevelFilter, Log, Metadata, Record};
use pyo3::prelude::*;

use crate::{calls, names};

/// Records that wait for the interpreter, at most.
const CAPACITY: usize = 1024;

struct PythonLogger {
    records: PerProcess<Records>,
    /// Whether there are any, to be asked without the lock.
    pending: AtomicBool,
}

#[derive(Default)]
struct Records {
    waiting: VecDeque<(Level, String)>,
    left_out: usize,
}

static LOGGER: PythonLogger = PythonLogger {
    records: PerProcess::of_first_process(Records { waiting: VecDeque::new(), left_out: 0 }),
    pending: AtomicBool::new(false),
};

impl PythonLogger {
    fn lock(&self) -> MutexGuard<'_, Records> {
        self.records.lock()
    }
}

impl Log for PythonLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level() && metadata.target().starts_with("handy_ws")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let message = record.args().to_string();
        let mut records = self.lock();
        if records.waiting.len() < CAPACITY {
            records.waiting.push_back((record.level(), message));
        } else {
            records.left_out += 1;
        }
        self.pending.store(true, Ordering::Release);
    }

    fn flush(&self) {}
}

/// Makes Python's logging the target of the `log` crate in this module.
pub(crate) fn install() {
    // It fails only if the module is made twice, and then the first one goes on.
    let _ = log::set_logger(&LOGGER);
    log::set_max_level(LevelFilter::Warn);
}

/// Whether records wait for [`deliver`].
pub(crate) fn is_pending() -> bool {
    LOGGER.pending.load(Ordering::Acquire)
}

/// Hands to Python what has been logged.
pub(crate) fn deliver(py: Python<'_>) {
    let Records { waiting, left_out } = {
        let mut records = LOGGER.lock();
        LOGGER.pending.store(false, Ordering::Release);
        std::mem::take(&mut *records)
    };
    for (level, message) in waiting {
        pass_on(py, level, &message);
    }
    if left_out > 0 {
        pass_on(py, Level::Warn, &format!("{left_out} more log records were left out"));
    }
}

fn pass_on(py: Python<'_>, level: Level, message: &str) {
    let method = match level {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "info",
        Level::Debug | Level::Trace => "debug",
    };
    if let Err(error) = names::log(py, method, ("%s", message), None) {
        error.write_unraisable(py, None);
    }
}

/// Lets the core make DEBUG records only if somebody wants them.
pub(crate) fn follow_python_level(py: Python<'_>) -> PyResult<()> {
    const DEBUG: i32 = 10;
    let is_enabled = names::logger(py)?.getattr("isEnabledFor")?;
    let debug = calls::call(&is_enabled, (DEBUG,), None)?.is_truthy()?;
    log::set_max_level(if debug { LevelFilter::Debug } else { LevelFilter::Warn });
    Ok(())
}
