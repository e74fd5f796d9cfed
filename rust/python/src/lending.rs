//! Payloads that the core sends from where Python has them.
//!
//! The core drops them on its thread, which is not attached then. Such references are kept until
//! anybody attaches; and here is noted how much that is, so that it never gets to be much.

use std::sync::atomic::{AtomicUsize, Ordering};

use handy_ws_core::manager::{Closed, Compress, Connection, Sent};
use pyo3::PyTypeInfo;
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::{PyBytes, PyString};

/// From this size on payloads are lent: to copy a short one costs less than to keep it.
const LENT_SIZE: usize = 8 << 10;

/// More than this many bytes do not wait for somebody who attaches for another reason.
const MAX_RETURNED: usize = 1 << 20;

/// Bytes that the core has given back since the dispatcher has last been attached.
static RETURNED: AtomicUsize = AtomicUsize::new(0);

struct Loan<T: AsRef<[u8]>>(T);

impl<T: AsRef<[u8]>> AsRef<[u8]> for Loan<T> {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref()
    }
}

impl<T: AsRef<[u8]>> Drop for Loan<T> {
    fn drop(&mut self) {
        RETURNED.fetch_add(self.as_ref().len(), Ordering::Relaxed);
    }
}

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
    let loan = Loan(PyBackedStr::try_from(payload.clone())?);
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
    let loan = Loan(PyBackedBytes::from(payload.clone()));
    connection.lend_binary(Box::new(loan), compress)
}

/// Whether a payload of so many bytes is lent. An object of a subclass may run code when it goes,
/// and is copied.
#[inline]
fn is_lent<T: PyTypeInfo>(payload: &Bound<'_, T>, size: usize) -> bool {
    size >= LENT_SIZE && payload.as_any().is_exact_instance_of::<T>()
}

/// Whether it is time that somebody attaches, and lets go of what was returned.
pub(crate) fn is_much_returned() -> bool {
    RETURNED.load(Ordering::Relaxed) > MAX_RETURNED
}

/// Notes that the thread has attached.
pub(crate) fn note_attached() {
    RETURNED.store(0, Ordering::Relaxed);
}
