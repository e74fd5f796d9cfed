//! `Arrival`: a client that is to be answered.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::IntoRawFd;

use handy_ws_core::reception::{self, Parts, Reason};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::away::Away;
use crate::tls::TlsStream;

/// The object that came with a client, if somebody else has accepted it.
pub(crate) type Owner = Option<Away<Py<PyAny>>>;

/// A client that is to be answered.
#[pyclass(frozen, get_all, module = "handy_ws._core")]
pub(crate) struct Arrival {
    /// A descriptor, or a `TlsStream`. It belongs to whoever takes it.
    stream: Py<PyAny>,
    /// Host and port of the client; an empty host and 0 if it came by a unix socket.
    address: (String, u16),
    /// What it has said.
    received: Py<PyBytes>,
    /// Why it is to be answered: `"head"`, `"late"` or `"no TLS"`.
    reason: &'static str,
    /// What came with the client.
    owner: Option<Py<PyAny>>,
}

impl Arrival {
    pub(crate) fn new(py: Python<'_>, arrival: reception::Arrival<Owner>) -> PyResult<Self> {
        let Parts { socket, session, address, received, owner } = arrival.guest.into_parts();
        let stream = match session {
            Some(session) => Py::new(py, TlsStream::new(socket, session))?.into_any(),
            None => socket.into_raw_fd().into_pyobject(py)?.unbind().into_any(),
        };
        let reason = match arrival.reason {
            Reason::Head => "head",
            Reason::Late => "late",
            Reason::NotTls => "no TLS",
        };
        let owner = owner.map(|owner| owner.clone_ref(py));
        let received = PyBytes::new(py, &received).unbind();
        Ok(Self { stream, address: host_and_port(address), received, reason, owner })
    }
}

/// As Python writes addresses: an IPv4 client has an IPv4 address, also where the listening socket is
/// one for both, and a link-local one has its zone.
pub(crate) fn host_and_port(address: Option<SocketAddr>) -> (String, u16) {
    let Some(address) = address else { return (String::new(), 0) };
    let host = match (address.ip().to_canonical(), address) {
        (IpAddr::V6(ip), SocketAddr::V6(v6)) if v6.scope_id() != 0 => format!("{ip}%{}", zone(&v6)),
        (ip, _) => ip.to_string(),
    };
    (host, address.port())
}

/// The name of the interface, or its number.
fn zone(address: &SocketAddrV6) -> String {
    let mut name = [0u8; libc::IF_NAMESIZE];
    // SAFETY: the buffer is as long as a name may be.
    let found = unsafe { libc::if_indextoname(address.scope_id(), name.as_mut_ptr().cast()) };
    let length = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    match std::str::from_utf8(&name[..length]) {
        Ok(name) if !found.is_null() => name.to_owned(),
        _ => address.scope_id().to_string(),
    }
}
