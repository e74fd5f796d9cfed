//! What a connection knows of its handshake.

use std::net::SocketAddr;
use std::sync::Arc;

use handy_ws_core::tls::Session;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use pyo3::{PyTraverseError, PyVisit};

use crate::arrival::host_and_port;
use crate::away::Away;
use crate::{calls, names};

/// What makes `WebSocketConnection.request`, when somebody asks for it.
pub(crate) enum Source {
    /// A `RequestSource`.
    Made(Away<Py<PyAny>>),
    /// What a `RequestSource` is made of: few programs ask.
    Kept(Box<Kept>),
}

/// The parts of a handshake that Python has not seen.
pub(crate) struct Kept {
    head: Box<[u8]>,
    address: Option<SocketAddr>,
    /// The server's host and port.
    local_address: Arc<(String, u16)>,
    tls: Option<Tls>,
}

/// A `TlsSession`.
struct Tls {
    version: Option<&'static str>,
    cipher: Option<&'static str>,
    client_certificate: Option<Box<[u8]>>,
}

impl Source {
    pub(crate) fn keep(
        head: Vec<u8>,
        address: Option<SocketAddr>,
        local_address: &Arc<(String, u16)>,
        session: Option<&Session>,
    ) -> Self {
        let tls = session.map(|session| Tls {
            version: session.version(),
            cipher: session.cipher(),
            client_certificate: session.client_certificate().map(Box::from),
        });
        let (head, local_address) = (head.into_boxed_slice(), Arc::clone(local_address));
        Self::Kept(Box::new(Kept { head, address, local_address, tls }))
    }

    /// The peer's host and port.
    pub(crate) fn remote_address<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Self::Made(source) => source.bind(py).getattr("remote_address"),
            Self::Kept(kept) => Ok(host_and_port(kept.address).into_pyobject(py)?.into_any()),
        }
    }

    /// A new `HttpRequest`.
    pub(crate) fn request<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let source = match self {
            Self::Made(source) => source.bind(py).clone(),
            Self::Kept(kept) => kept.make(py)?,
        };
        calls::call(&source.getattr("request")?, (), None)
    }

    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::Made(source) => visit.call(&**source),
            Self::Kept(_) => Ok(()),
        }
    }
}

impl Kept {
    /// The `RequestSource`.
    fn make<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let tls = self.tls.as_ref().map(|tls| tls.make(py)).transpose()?;
        let (host, port) = &*self.local_address;
        let parts = (PyBytes::new(py, &self.head), host_and_port(self.address), (host, *port), tls);
        calls::call(names::request_source_class(py)?, parts, None)
    }
}

impl Tls {
    fn make<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let certificate = self.client_certificate.as_ref().map(|der| PyBytes::new(py, der));
        let parts = (self.version, self.cipher, certificate);
        calls::call(names::tls_session_class(py)?, parts, None)
    }
}
