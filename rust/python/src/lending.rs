//! Payloads that the core sends from where Python has them.
//!
//! The core drops them on its thread, which is not attached then. Such references are kept until
//! anybody attaches; and here is noted how much that is, so that it never gets to be much.

use std::sync::atomic::{AtomicUsize, Ordering};

use handy_ws_core::manager::Lent;
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

/// Whether a payload of so many bytes is lent. An object of a subclass may run code when it goes,
/// and is copied.
#[inline]
pub(crate) fn is_lent<T: PyTypeInfo>(payload: &Bound<'_, T>, size: usize) -> bool {
    size >= LENT_SIZE && payload.as_any().is_exact_instance_of::<T>()
}

pub(crate) fn lend_bytes(payload: &Bound<'_, PyBytes>) -> Lent {
    Box::new(Loan(PyBackedBytes::from(payload.clone())))
}

pub(crate) fn lend_text(payload: &Bound<'_, PyString>) -> PyResult<Lent> {
    Ok(Box::new(Loan(PyBackedStr::try_from(payload.clone())?)))
}

/// Whether it is time that somebody attaches, and lets go of what was returned.
pub(crate) fn is_much_returned() -> bool {
    RETURNED.load(Ordering::Relaxed) > MAX_RETURNED
}

/// Notes that the thread has attached.
pub(crate) fn note_attached() {
    RETURNED.store(0, Ordering::Relaxed);
}
