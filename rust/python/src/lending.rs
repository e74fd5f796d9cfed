//! Payloads that the core sends from where Python has them.

use handy_ws_core::manager::{Closed, Compress, Connection, Lent, Sent};
use pyo3::PyTypeInfo;
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::{PyBytes, PyString};

use crate::away::{Away, Object};
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
    let loan = lend(PyBackedStr::try_from(payload.clone())?);
    Ok(connection.lend_text(loan, compress))
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
    connection.lend_binary(lend(PyBackedBytes::from(payload.clone())), compress)
}

fn lend<T>(payload: T) -> Lent
where
    T: Into<Object> + AsRef<[u8]> + Send + Sync + 'static,
{
    keep_free_memory();
    Box::new(Away::new(payload))
}

/// Whether a payload of so many bytes is lent. An object of a subclass may run code when it goes,
/// and is copied.
#[inline]
fn is_lent<T: PyTypeInfo>(payload: &Bound<'_, T>, size: usize) -> bool {
    size >= LENT_SIZE && payload.as_any().is_exact_instance_of::<T>()
}
