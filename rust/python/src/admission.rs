//! `Permit`, and what has been refused.

use std::sync::{Mutex, PoisonError};

use handy_ws_core::manager::{self, Check, Refusals, Refused};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// A place among the connections, on its way from the handshake to `WebSocketManager.adopt`. It is
/// given back with the object, or with the connection.
#[pyclass(frozen, module = "handy_ws._core")]
pub(crate) struct Permit {
    /// There until it is used or given back.
    permit: Mutex<Option<manager::Permit>>,
}

impl Permit {
    /// What the connection takes along.
    pub(crate) fn take(&self) -> Option<manager::Permit> {
        self.permit.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[pymethods]
impl Permit {
    /// Give the place back now. Does nothing once it is used.
    fn release(&self) {
        drop(self.take());
    }
}

/// What `WebSocketManager.admit` returns: a permit, or the field of the limit.
#[derive(IntoPyObject)]
pub(crate) enum Admitted {
    Permit(Permit),
    Refused(&'static str),
}

impl From<Result<manager::Permit, Refused>> for Admitted {
    fn from(result: Result<manager::Permit, Refused>) -> Self {
        match result {
            Ok(permit) => Self::Permit(Permit { permit: Mutex::new(Some(permit)) }),
            Err(Refused::MaxConnections) => Self::Refused("max_connections"),
            Err(Refused::MaxConnectionsPerAddress) => Self::Refused("max_connections_per_address"),
            Err(Refused::MaxPendingHandshakes) => Self::Refused("max_pending_handshakes"),
        }
    }
}

/// The check of that name, as in `ManagerStats.connections_refused`.
pub(crate) fn check(name: &str) -> PyResult<Check> {
    match name {
        "handshake" => Ok(Check::Handshake),
        "origin" => Ok(Check::Origin),
        "authorize" => Ok(Check::Authorize),
        _ => Err(PyValueError::new_err(format!("no such check: {name:?}"))),
    }
}

/// `ManagerStats.connections_refused`.
pub(crate) fn connections_refused(
    py: Python<'_>,
    refusals: Refusals,
) -> PyResult<Bound<'_, PyDict>> {
    let counts = PyDict::new(py);
    counts.set_item("max_connections", refusals.max_connections)?;
    counts.set_item("max_connections_per_address", refusals.max_connections_per_address)?;
    counts.set_item("max_pending_handshakes", refusals.max_pending_handshakes)?;
    counts.set_item("handshake", refusals.handshake)?;
    counts.set_item("origin", refusals.origin)?;
    counts.set_item("authorize", refusals.authorize)?;
    Ok(counts)
}
