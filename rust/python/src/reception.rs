//! `Reception`: clients that have come, until each has said what it wants.

use std::io;
use std::mem::ManuallyDrop;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::{FromRawFd, IntoRawFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use handy_ws_core::manager::generation;
use handy_ws_core::reception::{self, Guest, Limits, Listener, Parts, Reason};
use handy_ws_core::tls::Session;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::logging;
use crate::tls::{TlsContext, TlsStream, take_descriptor};

/// The object that came with a client, if somebody else has accepted it.
type Owner = Option<Py<PyAny>>;

/// Accepts clients, makes their TLS sessions, and reads the heads of their first requests, of many at
/// a time and without the interpreter. One thread uses it. `now` is always by the same clock, in
/// seconds.
#[pyclass(frozen, module = "handy_ws._core")]
pub(crate) struct Reception {
    /// `None`: closed.
    reception: ManuallyDrop<Mutex<Option<reception::Reception<Owner>>>>,
    tls: Option<Py<TlsContext>>,
    descriptor: RawFd,
    /// See [`generation`].
    process: u32,
}

impl Reception {
    fn lock(&self) -> MutexGuard<'_, Option<reception::Reception<Owner>>> {
        self.reception.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something without the interpreter, unless it is closed.
    fn detached<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut reception::Reception<Owner>) -> io::Result<T> + Send,
    ) -> PyResult<T> {
        let result = py.detach(|| self.lock().as_mut().map(work));
        result.unwrap_or_else(|| Err(io::Error::from_raw_os_error(libc::EBADF))).map_err(os_error)
    }
}

impl Drop for Reception {
    fn drop(&mut self) {
        // In a forked child, what there is of it may be half of something.
        if self.process == generation() {
            // SAFETY: nothing uses it after this.
            unsafe { ManuallyDrop::drop(&mut self.reception) };
        }
    }
}

#[pymethods]
impl Reception {
    /// Without clients. A head may take `head_timeout` seconds and have `max_head_size` bytes. With
    /// `tls` the clients have to speak TLS.
    ///
    /// Raises `OSError` if the system has no descriptors left, `ValueError` if the files of `tls` have
    /// to be read again, as in a forked child, and are of no use.
    #[new]
    #[pyo3(signature = (head_timeout, max_head_size, tls = None))]
    fn new(
        head_timeout: f64,
        max_head_size: usize,
        tls: Option<Bound<'_, TlsContext>>,
    ) -> PyResult<Self> {
        if let Some(tls) = &tls {
            tls.get().settings()?;
        }
        let head_timeout = seconds(head_timeout)?;
        let reception = reception::Reception::new(Limits { head_timeout, max_head_size })?;
        let descriptor = reception.descriptor();
        let reception = ManuallyDrop::new(Mutex::new(Some(reception)));
        Ok(Self { reception, tls: tls.map(Bound::unbind), descriptor, process: generation() })
    }

    /// A descriptor that is readable while `turn` has something to do. All that wait here are
    /// registered with it.
    fn fileno(&self) -> RawFd {
        self.descriptor
    }

    /// Accept those who wait at a socket that listens, not too many.
    ///
    /// Raises `OSError` if the system cannot give more at the moment.
    fn accept(&self, py: Python<'_>, now: f64, listener: RawFd, is_unix: bool) -> PyResult<()> {
        let now = seconds(now)?;
        logging::follow_python_level(py)?;
        let listener = borrowed(listener, is_unix);
        let settings = self.tls.as_ref().map(|tls| tls.get().settings()).transpose()?;
        self.detached(py, |reception| reception.accept(now, &listener, settings.as_ref(), || None))
    }

    /// Take care of a client that somebody else has accepted; `address` is its host and port. The
    /// socket belongs to it from now on, also if this raises, and `owner` comes back with the client.
    ///
    /// Raises `OSError` if the system refuses.
    fn add(
        &self,
        py: Python<'_>,
        now: f64,
        socket: RawFd,
        address: (String, u16),
        owner: Py<PyAny>,
    ) -> PyResult<()> {
        let socket = mio::net::TcpStream::from_std(take_descriptor(socket)?);
        let settings = self.tls.as_ref().map(|tls| tls.get().settings()).transpose()?;
        let session = settings.as_ref().map(Session::new).transpose()?.map(Box::new);
        let host: Option<IpAddr> = address.0.parse().ok();
        let address = host.map(|host| SocketAddr::new(host, address.1));
        let guest = Guest::new(socket, session, address, Some(owner));
        let now = seconds(now)?;
        self.detached(py, |reception| reception.add(now, guest))
    }

    /// Go on with all of them. Returns those that are to be answered, each once.
    fn turn(&self, py: Python<'_>, now: f64) -> PyResult<Vec<Arrival>> {
        let now = seconds(now)?;
        let arrivals = self.detached(py, |reception| reception.turn(now))?;
        if logging::is_pending() {
            logging::deliver(py);
        }
        arrivals.into_iter().map(|arrival| Arrival::new(py, arrival)).collect()
    }

    /// When `turn` has to let go of somebody who is late; `None` if nobody is here.
    fn next_due(&self) -> Option<f64> {
        self.lock().as_mut()?.next_due().map(|due| due.as_secs_f64())
    }

    /// Close the connections of all clients.
    fn let_go(&self, py: Python<'_>) {
        py.detach(|| self.lock().as_mut().map(reception::Reception::let_go));
    }

    /// The same, and the descriptor; nothing else can be done then.
    fn close(&self, py: Python<'_>) {
        self.let_go(py);
        py.detach(|| drop(self.lock().take()));
    }
}

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
    owner: Owner,
}

impl Arrival {
    fn new(py: Python<'_>, arrival: reception::Arrival<Owner>) -> PyResult<Self> {
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
        let received = PyBytes::new(py, &received).unbind();
        Ok(Self { stream, address: host_and_port(address), received, reason, owner })
    }
}

/// A listening socket that stays its owner's.
fn borrowed(listener: RawFd, is_unix: bool) -> ManuallyDrop<Listener> {
    // SAFETY: the owner does not close it while it is used here, and nobody does afterwards.
    ManuallyDrop::new(unsafe {
        if is_unix {
            Listener::Unix(mio::net::UnixListener::from_raw_fd(listener))
        } else {
            Listener::Tcp(mio::net::TcpListener::from_raw_fd(listener))
        }
    })
}

/// With its number, which tells what the system is out of.
fn os_error(error: io::Error) -> PyErr {
    let Some(number) = error.raw_os_error() else { return error.into() };
    let message = error.to_string();
    let end = message.find(" (os error").unwrap_or(message.len());
    PyOSError::new_err((number, message[..end].to_owned()))
}

fn seconds(seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|error| PyValueError::new_err(format!("{seconds} seconds: {error}")))
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
