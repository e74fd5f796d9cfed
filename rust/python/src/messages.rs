//! The three message classes, and how one object serves for many messages.
//!
//! They have no free list: `PyO3` does not track reused objects for the garbage collector, which
//! would then not see the cycle of a message that is kept in its connection's `user_data`. Instead
//! a message that nobody has kept when its callback returns becomes the next one of the batch. The
//! application cannot tell: it would have to look at an object that it has no reference to.

use std::ptr;

use handy_ws_core::proto::CloseFrame;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::types::{PyBytes, PyString};
use pyo3::{PyClass, PyClassInitializer, PyTraverseError, PyVisit, ffi};

use crate::connection::WebSocketConnection;
use crate::text;

/// A text message (RFC 6455 section 5.6; handy-httpd's `WebSocketTextMessage`).
#[pyclass(frozen, module = "handy_ws")]
pub(crate) struct WebSocketTextMessage {
    /// The connection that it came by.
    #[pyo3(get)]
    connection: Py<WebSocketConnection>,
    /// The text.
    #[pyo3(get)]
    payload: Py<PyString>,
}

/// A binary message (RFC 6455 section 5.6; handy-httpd's `WebSocketBinaryMessage`).
#[pyclass(frozen, module = "handy_ws")]
pub(crate) struct WebSocketBinaryMessage {
    /// The connection that it came by.
    #[pyo3(get)]
    connection: Py<WebSocketConnection>,
    /// The bytes.
    #[pyo3(get)]
    payload: Py<PyBytes>,
}

/// A CLOSE frame of the peer (RFC 6455 section 5.5.1; handy-httpd's `WebSocketCloseMessage`).
#[pyclass(frozen, module = "handy_ws")]
pub(crate) struct WebSocketCloseMessage {
    /// The connection that it came by.
    #[pyo3(get)]
    connection: Py<WebSocketConnection>,
    /// The close code; 1005 if the frame had none.
    #[pyo3(get)]
    code: u16,
    /// The reason; empty if the frame had none.
    #[pyo3(get)]
    reason: String,
}

/// Whether the count of references tells who has any. It does where an object begins with a count
/// and a class; where it has more, threads run without the interpreter's lock, or objects are
/// traced.
const COUNTS_TELL: bool = size_of::<ffi::PyObject>() == 2 * size_of::<usize>();

/// A class of messages with a payload.
pub(crate) trait Message:
    PyClass<Frozen = True> + Sync + Into<PyClassInitializer<Self>>
{
    /// That of an object for this payload.
    fn new(connection: &Bound<'_, WebSocketConnection>, payload: &[u8]) -> PyResult<Self>;

    /// Lets go of what it refers to: with the thread known to be attached, that is cheaper.
    fn release(self, py: Python<'_>);
}

impl Message for WebSocketTextMessage {
    fn new(connection: &Bound<'_, WebSocketConnection>, payload: &[u8]) -> PyResult<Self> {
        debug_assert!(std::str::from_utf8(payload).is_ok());
        // SAFETY: the payloads of text messages are valid UTF-8, as the core has proven.
        let payload = unsafe { std::str::from_utf8_unchecked(payload) };
        let payload = text::to_str(connection.py(), payload)?.unbind();
        Ok(Self { connection: connection.clone().unbind(), payload })
    }

    fn release(self, py: Python<'_>) {
        drop(self.connection.into_bound(py));
        drop(self.payload.into_bound(py));
    }
}

impl Message for WebSocketBinaryMessage {
    fn new(connection: &Bound<'_, WebSocketConnection>, payload: &[u8]) -> PyResult<Self> {
        let payload = PyBytes::new(connection.py(), payload).unbind();
        Ok(Self { connection: connection.clone().unbind(), payload })
    }

    fn release(self, py: Python<'_>) {
        drop(self.connection.into_bound(py));
        drop(self.payload.into_bound(py));
    }
}

/// Makes the messages of a batch, of one object if it can.
pub(crate) struct Maker<M>(Option<Py<M>>);

impl<M> Default for Maker<M> {
    fn default() -> Self {
        Self(None)
    }
}

impl<M: Message> Maker<M> {
    pub(crate) fn make<'py>(&mut self, py: Python<'py>, message: M) -> PyResult<Bound<'py, M>> {
        let last = self.0.take().map(|last| last.into_bound(py));
        let object = match last {
            Some(last) if is_unshared(&last) => {
                // SAFETY: nobody else has a reference.
                unsafe { exchange(&last, message) }.release(py);
                last
            }
            Some(_) | None => Bound::new(py, message)?,
        };
        self.0 = Some(object.clone().unbind());
        Ok(object)
    }
}

/// Whether this is the only reference. If so, nobody gets another one meanwhile but the garbage
/// collector's functions, which need the interpreter's lock.
fn is_unshared<T>(object: &Bound<'_, T>) -> bool {
    // SAFETY: it is an object, and the thread is attached.
    COUNTS_TELL && unsafe { ffi::Py_REFCNT(object.as_ptr()) } == 1
}

/// Puts another value into an object, and returns the one that it had.
///
/// # Safety
///
/// There is no other reference to the object, from Python or from Rust.
unsafe fn exchange<M: Message>(object: &Bound<'_, M>, value: M) -> M {
    let start = object.as_ptr().cast::<u8>();
    let offset = ptr::from_ref(object.get()).addr() - start.addr();
    // SAFETY: the value stands there in the object, and whoever could read it at the same time would
    // need a reference or the interpreter's lock, which this thread has. The pointer is that of the
    // object, so that it may be written through, and the reference above is not used any more.
    unsafe { ptr::replace(start.add(offset).cast::<M>(), value) }
}

impl WebSocketCloseMessage {
    pub(crate) fn new<'py>(
        connection: &Bound<'py, WebSocketConnection>,
        frame: &CloseFrame,
    ) -> PyResult<Bound<'py, Self>> {
        let (code, reason) = (frame.code().as_u16(), frame.reason().to_owned());
        let message = Self { connection: connection.clone().unbind(), code, reason };
        Bound::new(connection.py(), message)
    }
}

#[pymethods]
impl WebSocketTextMessage {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let payload = self.payload.bind(py).repr()?;
        Ok(format!("<WebSocketTextMessage {payload}>"))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.connection)
    }
}

#[pymethods]
impl WebSocketBinaryMessage {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let payload = self.payload.bind(py).repr()?;
        Ok(format!("<WebSocketBinaryMessage {payload}>"))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.connection)
    }
}

#[pymethods]
impl WebSocketCloseMessage {
    fn __repr__(&self) -> String {
        format!("<WebSocketCloseMessage {} {:?}>", self.code, self.reason)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.connection)
    }
}
