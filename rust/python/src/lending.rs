//! Payloads that the core sends from where Python has them.

use handy_ws_core::manager::{Closed, Compress, Connection, Sent};
use pyo3::PyTypeInfo;
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::{PyBytes, PyString};

use crate::away::Away;
use crate::heap::keep_free_memory;

/// From this size on payloads are lent: to copy a short one costs less than to keep it.
const LENT_SIZE: usize = 8 << 10;

/// Sends a text message, whose payload is lent if it is long.
pub(crate) fn send_text<C>(
    connection: &Connection<C>,
    payload: &Bound<'_, PyString>,
    compress: Compress,
) -> PyResult<Result<Sent, Closed>> {
    let text = payload.to_str()?;
    if !is_lent(payload, text.len()) {
        return Ok(connection.send_text(text, compress));
    }
    keep_free_memory();
    let loan = Away::new(PyBackedStr::try_from(payload.clone())?);
    Ok(connection.lend_text(Box::new(loan), compress))
}

/// Sends a binary message, whose payload is lent if it is long.
pub(crate) fn send_binary<C>(
    connection: &Connection<C>,
    payload: &Bound<'_, PyBytes>,
    compress: Compress,
) -> Result<Sent, Closed> {
    let bytes = payload.as_bytes();
    if !is_lent(payload, bytes.len()) {
        return connection.send_binary(bytes, compress);
    }
    keep_free_memory();
    let loan = Away::new(PyBackedBytes::from(payload.clone()));
    connection.lend_binary(Box::new(loan), compress)
}

/// Whether a payload of so many bytes is lent. An object of a subclass may run code when it goes,
/// and is copied.
#[inline]
fn is_lent<T: PyTypeInfo>(payload: &Bound<'_, T>, size: usize) -> bool {
    size >= LENT_SIZE && payload.as_any().is_exact_instance_of::<T>()
}
