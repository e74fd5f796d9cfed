//! The core's log records, on Python's logger `handy_ws`.
//!
//! The core logs rarely (a panic, a socket that cannot be adopted; at DEBUG, protocol and network
//! errors) and never while it holds a lock, so that a record may wait for the interpreter.

use log::{Level, LevelFilter, Log, Metadata, Record};
use pyo3::prelude::*;

use crate::names;

struct PythonLogger;

impl Log for PythonLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level() && metadata.target().starts_with("handy_ws")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        Python::try_attach(|py| {
            let method = match record.level() {
                Level::Error => "error",
                Level::Warn => "warning",
                Level::Info => "info",
                Level::Debug | Level::Trace => "debug",
            };
            let message = record.args().to_string();
            let result =
                names::logger(py).and_then(|logger| logger.call_method1(method, ("%s", message)));
            if let Err(error) = result {
                error.write_unraisable(py, None);
            }
        });
    }

    fn flush(&self) {}
}

/// Makes Python's logging the target of the `log` crate in this module.
pub(crate) fn install() {
    // It fails only if the module is made twice, and then the first one goes on.
    let _ = log::set_logger(&PythonLogger);
    log::set_max_level(LevelFilter::Warn);
}

/// Lets the core make DEBUG records only if somebody wants them.
pub(crate) fn follow_python_level(py: Python<'_>) -> PyResult<()> {
    const DEBUG: i32 = 10;
    let debug = names::logger(py)?.call_method1("isEnabledFor", (DEBUG,))?.is_truthy()?;
    log::set_max_level(if debug { LevelFilter::Debug } else { LevelFilter::Warn });
    Ok(())
}
