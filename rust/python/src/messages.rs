//! The three message classes.
//!
//! They have no free list: `PyO3` does not track reused objects for the garbage collector, which
//! would then not see the cycle of a message that is kept in its connection's `user_data`.

use handy_ws_core::proto::CloseFrame;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use pyo3::{PyTraverseError, PyVisit};

use crate::connection::WebSocketConnection;

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

impl WebSocketTextMessage {
    /// `payload` is valid UTF-8.
    pub(crate) fn new<'py>(
        py: Python<'py>,
        connection: &Py<WebSocketConnection>,
        payload: &[u8],
    ) -> PyResult<Bound<'py, Self>> {
        let payload = PyString::from_bytes(py, payload)?.unbind();
        Bound::new(py, Self { connection: connection.clone_ref(py), payload })
    }
}

impl WebSocketBinaryMessage {
    pub(crate) fn new<'py>(
        py: Python<'py>,
        connection: &Py<WebSocketConnection>,
        payload: &[u8],
    ) -> PyResult<Bound<'py, Self>> {
        let payload = PyBytes::new(py, payload).unbind();
        Bound::new(py, Self { connection: connection.clone_ref(py), payload })
    }
}

impl WebSocketCloseMessage {
    pub(crate) fn new<'py>(
        py: Python<'py>,
        connection: &Py<WebSocketConnection>,
        frame: &CloseFrame,
    ) -> PyResult<Bound<'py, Self>> {
        let (code, reason) = (frame.code().as_u16(), frame.reason().to_owned());
        Bound::new(py, Self { connection: connection.clone_ref(py), code, reason })
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
