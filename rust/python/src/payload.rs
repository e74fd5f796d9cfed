//! Payloads that come from Python: a `str`, or anything that is bytes-like.

use handy_ws_core::manager::Compress;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PyString};

/// The bytes of a bytes-like object: itself if it is `bytes`, else a copy.
pub(crate) fn to_bytes<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    match object.cast::<PyBytes>() {
        Ok(bytes) => Ok(bytes.clone()),
        // Any format, also one that is not contiguous; a `TypeError` if it is no buffer.
        Err(_) => Ok(PyMemoryView::from(object)?.call_method0("tobytes")?.cast_into()?),
    }
}

/// Gives `act` the bytes of a bytes-like object, without a reference of its own to `bytes`.
pub(crate) fn with_bytes<'py, R>(
    object: &Bound<'py, PyAny>,
    act: impl FnOnce(&Bound<'py, PyBytes>) -> R,
) -> PyResult<R> {
    match object.cast::<PyBytes>() {
        Ok(bytes) => Ok(act(bytes)),
        Err(_) => Ok(act(&to_bytes(object)?)),
    }
}

/// What the keyword argument `compress` of the sending methods says.
pub(crate) fn compression(allowed: bool) -> Compress {
    if allowed { Compress::Allow } else { Compress::Never }
}

/// A message for a broadcast: text if it is a `str`, else binary.
pub(crate) enum Message<'py> {
    Text(Bound<'py, PyString>),
    Binary(Bound<'py, PyBytes>),
}

impl<'py> FromPyObject<'_, 'py> for Message<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        match object.cast::<PyString>() {
            Ok(text) => Ok(Self::Text(text.to_owned())),
            Err(_) => to_bytes(&object).map(Self::Binary),
        }
    }
}
