//! `TlsContext` and `TlsStream`: TLS as the HTTP side sees it.

use std::io;
use std::mem::ManuallyDrop;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, RawFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use handy_ws_core::manager::{PerProcess, generation};
use handy_ws_core::tls::{Crypto, Files, Secured, Session, Settings, Version};
use pyo3::exceptions::{PyConnectionError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rustls::crypto::aws_lc_rs;

use crate::payload::to_bytes;

/// In the place of a descriptor.
const CLOSED: RawFd = -1;

/// The certificate of a server, and whom it trusts: what its TLS sessions are made of.
#[pyclass(frozen, module = "handy_ws._core")]
pub(crate) struct TlsContext {
    files: Files,
    /// `None` in a forked child, where those of the parent may be locked for ever, until it needs
    /// its own.
    settings: PerProcess<Option<Settings>>,
}

impl TlsContext {
    pub(crate) fn settings(&self) -> PyResult<Settings> {
        let mut settings = self.settings.lock();
        match &*settings {
            Some(settings) => Ok(settings.clone()),
            None => Ok(settings.insert(load(&self.files)?).clone()),
        }
    }
}

#[pymethods]
impl TlsContext {
    /// Read PEM files: a chain of certificates, its private key, and, if only clients with a
    /// certificate may come in, those that theirs must lead to. `minimum_version` is `"1.2"` or
    /// `"1.3"`.
    ///
    /// Raises `ValueError`, which begins with the name of the argument, if one is of no use.
    #[new]
    #[pyo3(signature = (certificate, private_key, client_ca = None, minimum_version = "1.2"))]
    fn new(
        py: Python<'_>,
        certificate: PathBuf,
        private_key: PathBuf,
        client_ca: Option<PathBuf>,
        minimum_version: &str,
    ) -> PyResult<Self> {
        let minimum_version = match minimum_version {
            "1.2" => Version::Tls12,
            "1.3" => Version::Tls13,
            other => {
                let message = format!("minimum_version must be '1.2' or '1.3', not '{other}'");
                return Err(PyValueError::new_err(message));
            }
        };
        let files = Files { certificate, private_key, client_ca, minimum_version };
        let settings = py.detach(|| load(&files))?;
        Ok(Self { files, settings: PerProcess::new(Some(settings)) })
    }

    /// Read the same files again, for sessions that begin from now on.
    ///
    /// Raises `ValueError` if they are of no use; then those that were read before remain.
    fn reload(&self, py: Python<'_>) -> PyResult<()> {
        let settings = py.detach(|| load(&self.files))?;
        *self.settings.lock() = Some(settings);
        Ok(())
    }
}

fn load(files: &Files) -> PyResult<Settings> {
    let ticketer = aws_lc_rs::Ticketer::new()
        .map_err(|error| PyRuntimeError::new_err(format!("there is no randomness: {error}")))?;
    let crypto = Crypto { provider: Arc::new(aws_lc_rs::default_provider()), ticketer };
    Settings::load(files, crypto).map_err(|error| PyValueError::new_err(error.to_string()))
}

/// The server's end of a TLS session on a nonblocking socket: of the methods of `socket.socket`
/// those that serving HTTP takes. One thread at a time uses it.
#[pyclass(frozen, module = "handy_ws._core")]
pub(crate) struct TlsStream {
    /// `None`: closed, or given away.
    secured: ManuallyDrop<Mutex<Option<Secured>>>,
    /// Its descriptor, or -1: a forked child cannot ask `secured`, which may be locked there for ever.
    fd: AtomicI32,
    /// See [`generation`].
    process: u32,
}

impl TlsStream {
    /// That of a session whose handshake is over.
    pub(crate) fn new(socket: TcpStream, session: Box<Session>) -> Self {
        let fd = AtomicI32::new(socket.as_raw_fd());
        let secured = Mutex::new(Some(Secured::new(socket, session)));
        Self { secured: ManuallyDrop::new(secured), fd, process: generation() }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Secured>> {
        self.secured.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something without the interpreter.
    fn detached<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Secured) -> io::Result<T> + Send,
    ) -> PyResult<T> {
        py.detach(|| match &mut *self.lock() {
            Some(secured) => work(secured),
            None => Err(io::Error::from_raw_os_error(libc::EBADF)),
        })
        .map_err(as_of_socket)
    }

    fn ask<T>(&self, about: impl FnOnce(&Session) -> Option<T>) -> Option<T> {
        self.lock().as_ref().and_then(|secured| about(secured.session()))
    }

    /// Gives socket and session away.
    pub(crate) fn take(&self) -> Option<(TcpStream, Box<Session>)> {
        let secured = self.lock().take()?;
        self.fd.store(CLOSED, Ordering::Relaxed);
        Some(secured.into_parts())
    }
}

impl Drop for TlsStream {
    fn drop(&mut self) {
        // In a forked child it is the parent's. What there is of it here may be half of something.
        if self.process == generation() {
            // SAFETY: nothing uses it after this.
            unsafe { ManuallyDrop::drop(&mut self.secured) };
        }
    }
}

#[pymethods]
impl TlsStream {
    /// Read at most `size` bytes from the socket, and return all the plaintext that came of it;
    /// `b""` when the client has ended the session or the connection.
    ///
    /// Raises `BlockingIOError` if there is no plaintext yet, and `ConnectionError` if something is
    /// wrong with the session or the connection.
    fn recv<'py>(&self, py: Python<'py>, size: usize) -> PyResult<Bound<'py, PyBytes>> {
        let received = self.detached(py, |secured| secured.receive(size))?;
        Ok(PyBytes::new(py, &received.unwrap_or_default()))
    }

    /// Encrypt and send; returns how many bytes were taken. Of those a few may wait in `unsent`.
    ///
    /// Raises `BlockingIOError` if the socket takes nothing, `ConnectionError` if it is broken.
    #[pyo3(signature = (data, flags = 0))]
    fn send(&self, py: Python<'_>, data: &Bound<'_, PyAny>, flags: i32) -> PyResult<usize> {
        let _ = flags; // which say nothing that is not so anyway
        let data = to_bytes(data)?;
        let bytes = data.as_bytes();
        self.detached(py, |secured| secured.send(bytes))
    }

    /// Bytes that are encrypted, and wait for the socket to take them: see `flush`.
    #[getter]
    fn unsent(&self) -> usize {
        self.ask(|session| Some(session.unsent())).unwrap_or(0)
    }

    /// Whether the client has said that nothing more comes from it: `close_notify`. Without a FIN
    /// behind that the socket never tells.
    #[getter]
    fn has_ended(&self) -> bool {
        self.ask(|session| Some(session.has_ended())).unwrap_or(false)
    }

    /// Send what is `unsent`; returns how many bytes of it went out.
    ///
    /// Raises `ConnectionError` if the socket is broken.
    fn flush(&self, py: Python<'_>) -> PyResult<usize> {
        self.detached(py, |secured| {
            let before = secured.session().unsent();
            match secured.flush() {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
                _ => Ok(before.saturating_sub(secured.session().unsent())),
            }
        })
    }

    /// Say that nothing more comes from here, or, with `socket.SHUT_RD`, that nothing is read.
    fn shutdown(&self, py: Python<'_>, how: i32) -> PyResult<()> {
        let how = match how {
            libc::SHUT_RD => Shutdown::Read,
            libc::SHUT_WR => Shutdown::Write,
            libc::SHUT_RDWR => Shutdown::Both,
            other => return Err(PyValueError::new_err(format!("{other} is no way to shut down"))),
        };
        self.detached(py, |secured| secured.shutdown(how))
    }

    /// Say so, and close the socket. Twice is harmless.
    fn close(&self, py: Python<'_>) {
        py.detach(|| {
            let secured = self.lock().take();
            self.fd.store(CLOSED, Ordering::Relaxed);
            if let Some(secured) = secured {
                secured.close();
            }
        });
    }

    /// Return the descriptor, which belongs to the caller from now on, and forget the session,
    /// without a word to the client; also in a forked child, which must say nothing.
    fn detach(&self) -> RawFd {
        if self.process != generation() {
            return self.fd.swap(CLOSED, Ordering::Relaxed);
        }
        self.take().map_or(CLOSED, |(socket, _)| socket.into_raw_fd())
    }

    /// The descriptor; -1 if it is closed or given away.
    fn fileno(&self) -> RawFd {
        self.fd.load(Ordering::Relaxed)
    }

    /// The certificate that the client has proven to be its own, in DER; `None` without one.
    #[getter]
    fn client_certificate<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.ask(|session| session.client_certificate().map(|der| PyBytes::new(py, der)))
    }

    /// `"TLSv1.2"` or `"TLSv1.3"`; `None` before that is known.
    #[getter]
    fn version(&self) -> Option<&'static str> {
        self.ask(Session::version)
    }

    /// The cipher suite, by its registered name; `None` before that is known.
    #[getter]
    fn cipher(&self) -> Option<&'static str> {
        self.ask(Session::cipher)
    }

    /// The host that the client has named (RFC 6066 section 3), if it has.
    #[getter]
    fn server_name(&self) -> Option<String> {
        self.ask(|session| session.server_name().map(str::to_owned))
    }

    /// Whether the client has resumed an earlier session.
    #[getter]
    fn resumed(&self) -> bool {
        self.ask(|session| Some(session.is_resumed())).unwrap_or(false)
    }
}

/// Makes a socket of a descriptor that somebody gives away.
pub(crate) fn take_descriptor(fd: RawFd) -> PyResult<TcpStream> {
    if fd < 0 {
        return Err(PyValueError::new_err(format!("{fd} is no file descriptor")));
    }
    // SAFETY: the caller gives the descriptor away (it comes from `socket.detach()`), so nothing
    // else closes it.
    Ok(unsafe { TcpStream::from_raw_fd(fd) })
}

/// The exception for what has gone wrong with a socket or its session.
fn as_of_socket(error: io::Error) -> PyErr {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::NotConnected | io::ErrorKind::WriteZero => {
            PyConnectionError::new_err(error.to_string())
        }
        _ => error.into(),
    }
}
