//! `Reception`: clients that have come, until each has said what it wants.

use std::io;
use std::mem::ManuallyDrop;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::{FromRawFd, IntoRawFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use handy_ws_core::entrance::Entrance;
use handy_ws_core::manager::{Handle, generation};
use handy_ws_core::reception::{self, Guest, Limits, Listener, Parts, Reason};
use handy_ws_core::tls::{Session, Settings};
use pyo3::exceptions::{PyOSError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::connection::Context;
use crate::gate::{self, Gate, Guide};
use crate::logging;
use crate::manager::WebSocketManager;
use crate::timing::seconds;
use crate::tls::{TlsContext, TlsStream, take_descriptor};
use crate::turnstile::{Inside, Turnstile};

/// The object that came with a client, if somebody else has accepted it.
type Owner = Option<Py<PyAny>>;

/// Accepts clients, makes their TLS sessions, and reads the heads of their first requests, of many at
/// a time and without the interpreter. One thread uses it. `now` is always by the same clock, in
/// seconds.
#[pyclass(frozen, module = "handy_ws._core")]
pub(crate) struct Reception {
    /// Whoever is through has clients in hand.
    turnstile: Turnstile,
    /// `None`: closed.
    state: ManuallyDrop<Mutex<Option<State>>>,
    manager: Handle<Context>,
    tls: Option<Py<TlsContext>>,
    local_address: Arc<(String, u16)>,
    /// See [`generation`].
    process: u32,
}

struct State {
    reception: reception::Reception<Owner>,
    entrance: Entrance<Guide, Owner>,
}

impl Reception {
    fn lock(&self) -> MutexGuard<'_, Option<State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What sessions begin with.
    fn settings(&self) -> PyResult<Option<Settings>> {
        self.tls.as_ref().map(|tls| tls.get().settings()).transpose()
    }

    fn is_due(&self, now: Duration) -> bool {
        self.lock().as_mut().is_some_and(|state| state.is_due(now))
    }

    /// Does something without the interpreter, unless it is closed. Somebody is inside meanwhile, and
    /// for as long as what is returned lives.
    fn detached<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut State) -> T + Send,
    ) -> (Inside<'_>, Option<T>) {
        py.detach(|| (self.turnstile.enter(), self.lock().as_mut().map(work)))
    }
}

/// What there is to do in a turn.
struct Turn<'a> {
    now: Duration,
    listener: Option<&'a Listener>,
    tls: Option<&'a Settings>,
    manager: &'a Handle<Context>,
    /// Whether those that come now may pass a gate.
    lets_in: bool,
}

/// What comes of it: those that are to be answered, and why no more were accepted.
struct Come {
    arrivals: Vec<reception::Arrival<Owner>>,
    error: Option<io::Error>,
}

impl State {
    fn take(&mut self, turn: &Turn<'_>) -> io::Result<Come> {
        let error = turn.listener.and_then(|listener| {
            self.reception.accept(turn.now, listener, turn.tls, || None).err()
        });
        let mut arrivals = self.reception.turn(turn.now)?;
        let candidates = if turn.lets_in { std::mem::take(&mut arrivals) } else { Vec::new() };
        arrivals.extend(self.entrance.let_in(turn.now, candidates, turn.manager, gate::context));
        Ok(Come { arrivals, error })
    }

    fn is_due(&mut self, now: Duration) -> bool {
        self.reception.is_due(now) || self.entrance.next_due().is_some_and(|due| due <= now)
    }

    fn next_due(&mut self) -> Option<Duration> {
        [self.reception.next_due(), self.entrance.next_due()].into_iter().flatten().min()
    }

    fn let_go(&mut self) {
        self.reception.let_go();
        self.entrance.let_go();
    }
}

impl Drop for Reception {
    fn drop(&mut self) {
        // In a forked child, what there is of it may be half of something.
        if self.process == generation() {
            // SAFETY: nothing uses it after this.
            unsafe { ManuallyDrop::drop(&mut self.state) };
        }
    }
}

#[pymethods]
impl Reception {
    /// Without clients, for a server with that manager, host and port, and `ServerConfig`. With `tls`
    /// the clients have to speak TLS.
    ///
    /// Raises `OSError` if the system has no descriptors left, `ValueError` if the files of `tls` have
    /// to be read again, as in a forked child, and are of no use.
    #[new]
    #[pyo3(signature = (manager, local_address, config, tls = None))]
    fn new(
        manager: &Bound<'_, WebSocketManager>,
        local_address: (String, u16),
        config: &Bound<'_, PyAny>,
        tls: Option<Bound<'_, TlsContext>>,
    ) -> PyResult<Self> {
        if let Some(tls) = &tls {
            tls.get().settings()?;
        }
        let manager = manager.get();
        let limits = Limits {
            head_timeout: seconds(config.getattr("head_timeout")?.extract()?)?,
            max_head_size: config.getattr("max_head_size")?.extract()?,
        };
        let max_fields = config.getattr("max_header_count")?.extract()?;
        let entrance = Entrance::new(*manager.negotiation(), max_fields);
        let reception = reception::Reception::new(limits)?;
        Ok(Self {
            turnstile: Turnstile::default(),
            state: ManuallyDrop::new(Mutex::new(Some(State { reception, entrance }))),
            manager: manager.handle().clone(),
            tls: tls.map(Bound::unbind),
            local_address: Arc::new(local_address),
            process: generation(),
        })
    }

    /// A descriptor that is readable while `turn` has something to do.
    ///
    /// Raises `RuntimeError` if it is closed.
    fn fileno(&self) -> PyResult<RawFd> {
        self.lock().as_ref().map(|state| state.reception.descriptor()).ok_or_else(closed)
    }

    /// All descriptors that are open here, that one included: for a forked child, which has copies of
    /// them. It must do nothing else with this object.
    fn descriptors(&self) -> Vec<RawFd> {
        let state = self.lock();
        let Some(state) = &*state else { return Vec::new() };
        state.reception.descriptors().chain(state.entrance.descriptors()).collect()
    }

    /// Have handshakes at that path, as it is sent, go through a gate: `turn` may let them in.
    fn open(&self, py: Python<'_>, path: &str, gate: &Bound<'_, Gate>) {
        if let Some(state) = &mut *self.lock() {
            state.entrance.open(path, || gate.get().core(py, &self.local_address));
        }
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
        address: (&str, u16),
        owner: Py<PyAny>,
    ) -> PyResult<()> {
        let socket = mio::net::TcpStream::from_std(take_descriptor(socket)?);
        let session = self.settings()?.as_ref().map(Session::new).transpose()?.map(Box::new);
        let host: Option<IpAddr> = address.0.parse().ok();
        let address = host.map(|host| SocketAddr::new(host, address.1));
        let guest = Guest::new(socket, session, address, Some(owner));
        let now = seconds(now)?;
        let (_inside, added) = self.detached(py, |state| state.reception.add(now, guest));
        added.ok_or_else(closed)?.map_err(os_error)
    }

    /// Accept those who wait at the `listener`, if there is one: a descriptor, and whether it is that
    /// of a unix socket. Go on with all that are here, if the descriptor `stirs`, or somebody is late.
    /// Adds those that are to be answered to `arrivals`, each once. If `lets_in`, what may pass a gate
    /// is a connection of the manager by then, and is not added.
    ///
    /// Returns the `OSError` that tells why no more can be accepted at the moment, or `None`.
    fn turn(
        &self,
        py: Python<'_>,
        now: f64,
        listener: Option<(RawFd, bool)>,
        stirs: bool,
        lets_in: bool,
        arrivals: &Bound<'_, PyList>,
    ) -> PyResult<Option<PyErr>> {
        let now = seconds(now)?;
        let listener = listener.map(|(descriptor, is_unix)| borrowed(descriptor, is_unix));
        if listener.is_none() && !stirs && !self.is_due(now) {
            return Ok(None); // whoever lets go of the interpreter may wait for it
        }
        logging::follow_python_level(py)?;
        let tls = self.settings()?;
        let turn = Turn {
            now,
            listener: listener.as_deref(),
            tls: tls.as_ref(),
            manager: &self.manager,
            lets_in,
        };
        // Somebody is inside until all that have come are Python's.
        let (_inside, come) = self.detached(py, |state| state.take(&turn));
        if logging::is_pending() {
            logging::deliver(py);
        }
        let Come { arrivals: come, error } = come.ok_or_else(closed)?.map_err(os_error)?;
        for arrival in come {
            // Nothing that is made once is made here: a fork in between would find it half made.
            arrivals.append(Arrival::new(py, arrival)?)?;
        }
        Ok(error.map(os_error))
    }

    /// Wait until no client is in the hands of `turn`, and keep it so until `release`: for
    /// a fork.
    fn hold(&self, py: Python<'_>) {
        py.detach(|| self.turnstile.hold());
    }

    /// Go on.
    fn release(&self) {
        self.turnstile.release();
    }

    /// When `turn` has to let go of somebody who is late; `None` if nobody is here.
    fn next_due(&self) -> Option<f64> {
        self.lock().as_mut()?.next_due().map(|due| due.as_secs_f64())
    }

    /// Close the connections of all clients.
    fn let_go(&self, py: Python<'_>) {
        self.detached(py, State::let_go);
    }

    /// The same, and the descriptor; nothing else can be done then.
    fn close(&self, py: Python<'_>) {
        self.let_go(py);
        let state = self.lock().take();
        drop(state); // the lock is free: dropping an object may run any code
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

/// A socket that listens, and stays its owner's.
fn borrowed(descriptor: RawFd, is_unix: bool) -> ManuallyDrop<Listener> {
    // SAFETY: the owner does not close it while it is used here, and nobody does afterwards.
    ManuallyDrop::new(unsafe {
        if is_unix {
            Listener::Unix(mio::net::UnixListener::from_raw_fd(descriptor))
        } else {
            Listener::Tcp(mio::net::TcpListener::from_raw_fd(descriptor))
        }
    })
}

fn closed() -> PyErr {
    PyRuntimeError::new_err("this Reception is closed")
}

/// With its number, which tells what the system is out of.
fn os_error(error: io::Error) -> PyErr {
    let Some(number) = error.raw_os_error() else { return error.into() };
    let message = error.to_string();
    let end = message.find(" (os error").unwrap_or(message.len());
    PyOSError::new_err((number, message[..end].to_owned()))
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
