//! Python objects that the core has, and may drop on a thread that is not attached.
//!
//! These are kept until somebody attaches who lets go of them. `PyO3` would keep them, too, but behind
//! a lock that a forked child may find locked for ever.

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};

use handy_ws_core::manager::PerProcess;
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};

/// More than this many bytes do not wait for somebody who attaches for another reason.
const MAX_RETURNED: usize = 1 << 20;

/// What was dropped.
static RETURNED: PerProcess<Vec<Object>> = PerProcess::of_first_process(Vec::new());

/// How many bytes these are; at times a moment behind.
static RETURNED_BYTES: AtomicUsize = AtomicUsize::new(0);

/// An object that any thread may drop.
pub(crate) struct Away<T: Into<Object>>(ManuallyDrop<T>);

/// All that can be away.
pub(crate) enum Object {
    #[expect(dead_code, reason = "it is there to be dropped")]
    Any(Py<PyAny>),
    Text(PyBackedStr),
    Binary(PyBackedBytes),
}

impl<T: Into<Object>> Away<T> {
    pub(crate) fn new(object: T) -> Self {
        Self(ManuallyDrop::new(object))
    }
}

impl<T: Into<Object>> Deref for Away<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Into<Object> + AsRef<[u8]>> AsRef<[u8]> for Away<T> {
    fn as_ref(&self) -> &[u8] {
        (**self).as_ref()
    }
}

impl<T: Into<Object>> Drop for Away<T> {
    fn drop(&mut self) {
        // SAFETY: nothing uses it after this.
        let object = unsafe { ManuallyDrop::take(&mut self.0) };
        // SAFETY: any thread may ask that at any time.
        if unsafe { pyo3::ffi::PyGILState_Check() } == 0 {
            let object = object.into();
            let size = object.size();
            RETURNED.lock().push(object);
            RETURNED_BYTES.fetch_add(size, Ordering::Relaxed);
        }
    }
}

impl Object {
    /// How many bytes it has, if they may be many; else one, so that it is noticed.
    fn size(&self) -> usize {
        match self {
            Self::Any(_) => 1,
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }
}

impl<T> From<Py<T>> for Object {
    fn from(object: Py<T>) -> Self {
        Self::Any(object.into_any())
    }
}

impl From<PyBackedStr> for Object {
    fn from(text: PyBackedStr) -> Self {
        Self::Text(text)
    }
}

impl From<PyBackedBytes> for Object {
    fn from(bytes: PyBackedBytes) -> Self {
        Self::Binary(bytes)
    }
}

/// Whether it is time that somebody attaches, and lets go of what was dropped.
pub(crate) fn is_much_returned() -> bool {
    RETURNED_BYTES.load(Ordering::Relaxed) > MAX_RETURNED
}

/// Lets go of what was dropped.
pub(crate) fn let_go(_: Python<'_>) {
    if RETURNED_BYTES.load(Ordering::Relaxed) > 0 {
        RETURNED_BYTES.store(0, Ordering::Relaxed);
        let returned = std::mem::take(&mut *RETURNED.lock());
        drop(returned); // the lock is free: dropping an object may run any code
    }
}
