//! `Reception`: clients that have come, until each has said what it wants.

use std::io;
use std::mem::ManuallyDrop;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use handy_ws_core::entrance::Entrance;
use handy_ws_core::manager::{Handle, generation};
use handy_ws_core::reception::{self, Come, Door, Guest, Limits, Listener, Poll};
use handy_ws_core::tls::{Session, Settings};
use pyo3::exceptions::{PyOSError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::arrival::{Arrival, Owner};
use crate::away::{self, Away};
use crate::connection::Context;
use crate::gate::{self, Gate, Guide};
use crate::logging;
use crate::manager::WebSocketManager;
use crate::timing::seconds;
use crate::tls::{TlsContext, take_descriptor};
use crate::turnstile::{Inside, Turnstile};
use crate::visit::Visit;

/// Waits for sockets. It accepts clients, makes their TLS sessions, and reads the heads of their first
/// requests, of many at a time and without the interpreter, for which it waits only if there is
/// something for it. One thread uses it, but for what is said of others. `now` is always by the same
/// clock, in seconds.
#[pyclass(frozen, module = "handy_ws._core")]
pub(crate) struct Reception {
    /// Whoever is through has clients in hand.
    turnstile: Turnstile,
    /// `None`: closed. It is locked with the interpreter only, so that it is free in a forked child.
    poll: ManuallyDrop<Mutex<Option<Arc<Poll>>>>,
    /// `None`: closed. It is locked with the interpreter, or through the turnstile.
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
    /// Where clients are accepted. It stays its owner's.
    listener: Option<ManuallyDrop<Listener>>,
}

/// Why the interpreter is needed.
enum Needed<'a> {
    /// It has to be asked before clients are seen to.
    Asked,
    /// There is something for it, or the time is over. Somebody is inside until all that have come
    /// are Python's.
    Back(Option<(Inside<'a>, Come<Owner>)>),
}

impl Reception {
    fn lock(&self) -> MutexGuard<'_, Option<State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_poll(&self) -> MutexGuard<'_, Option<Arc<Poll>>> {
        self.poll.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll(&self) -> PyResult<Arc<Poll>> {
        self.lock_poll().clone().ok_or_else(closed)
    }

    /// What sessions begin with.
    fn settings(&self) -> PyResult<Option<Settings>> {
        self.tls.as_ref().map(|tls| tls.get().settings()).transpose()
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

    /// Waits, and sees to clients, until the interpreter is needed.
    fn stay(&self, visit: &mut Visit) -> PyResult<Needed<'_>> {
        loop {
            visit.wait().map_err(os_error)?;
            let now = visit.now();
            if visit.concerns_reception(now) {
                let Some(lets_in) = visit.answer(now) else { return Ok(Needed::Asked) };
                let inside = self.turnstile.enter();
                let come = self.see_to(now, visit, lets_in)?;
                if !come.arrivals.is_empty() || come.shortage.is_some() || logging::is_pending() {
                    return Ok(Needed::Back(Some((inside, come))));
                }
            }
            if visit.is_over(now) {
                return Ok(Needed::Back(None));
            }
            visit.happened.clear();
        }
    }

    fn see_to(&self, now: Duration, visit: &mut Visit, lets_in: bool) -> PyResult<Come<Owner>> {
        let mut state = self.lock();
        let state = state.as_mut().ok_or_else(closed)?;
        let State { reception, entrance, listener } = state;
        let tls = || self.settings().map_err(io::Error::other);
        let door = listener.as_deref().map(|listener| Door { listener, tls: &tls });
        let clock = visit.clock();
        let mut come = reception.turn(clock, &mut visit.happened, door).map_err(os_error)?;
        let candidates = if lets_in { std::mem::take(&mut come.arrivals) } else { Vec::new() };
        come.arrivals.extend(entrance.let_in(now, candidates, &self.manager, gate::context));
        visit.due = state.next_due();
        Ok(come)
    }
}

impl State {
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
            // SAFETY: nothing uses them after this.
            unsafe {
                ManuallyDrop::drop(&mut self.state);
                ManuallyDrop::drop(&mut self.poll);
            }
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
        let poll = Arc::new(Poll::new()?);
        let reception = reception::Reception::new(limits, Arc::clone(&poll));
        let state = State { reception, entrance, listener: None };
        Ok(Self {
            turnstile: Turnstile::default(),
            poll: ManuallyDrop::new(Mutex::new(Some(poll))),
            state: ManuallyDrop::new(Mutex::new(Some(state))),
            manager: manager.handle().clone(),
            tls: tls.map(Bound::unbind),
            local_address: Arc::new(local_address),
            process: generation(),
        })
    }

    /// All descriptors that are open here, that of the epoll included: for a forked child, which has
    /// copies of them. It must do nothing else with this object.
    fn descriptors(&self) -> Vec<RawFd> {
        let (poll, state) = (self.lock_poll(), self.lock());
        let (Some(poll), Some(state)) = (&*poll, &*state) else { return Vec::new() };
        let clients = state.reception.descriptors().chain(state.entrance.descriptors());
        clients.chain([poll.as_raw_fd()]).collect()
    }

    /// Accept clients at a listener, from now on: a descriptor, and whether it is that of a unix
    /// socket. It must not be closed before `ignore`.
    ///
    /// Raises `OSError` if the system refuses.
    fn listen(&self, descriptor: RawFd, is_unix: bool) -> PyResult<()> {
        let listener = borrowed(descriptor, is_unix);
        self.poll()?.listen(&listener)?;
        self.lock().as_mut().ok_or_else(closed)?.listener = Some(listener);
        Ok(())
    }

    /// Accept no more clients, for now.
    fn ignore(&self) -> PyResult<()> {
        if let Some(listener) = self.lock().as_mut().and_then(|state| state.listener.take()) {
            self.poll()?.unregister(listener.as_fd())?;
        }
        Ok(())
    }

    /// Wait for a descriptor, too, as `select.epoll` does.
    ///
    /// Raises `OSError` if the system refuses.
    fn register(&self, descriptor: RawFd, events: u32) -> PyResult<()> {
        Ok(self.poll()?.register(known(descriptor)?, events)?)
    }

    /// Wait for other events.
    fn modify(&self, descriptor: RawFd, events: u32) -> PyResult<()> {
        Ok(self.poll()?.modify(known(descriptor)?, events)?)
    }

    /// Wait for it no longer. Any thread may call this.
    fn unregister(&self, descriptor: RawFd) -> PyResult<()> {
        Ok(self.poll()?.unregister(known(descriptor)?)?)
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
        let guest = Guest::new(socket, session, address, Some(Away::new(owner)));
        let now = seconds(now)?;
        let (_inside, added) = self.detached(py, |state| state.reception.add(now, guest));
        added.ok_or_else(closed)?.map_err(os_error)
    }

    /// Wait until there is something for the interpreter, or for `timeout` seconds, and accept and go on
    /// with clients meanwhile. Adds registered descriptors that are ready to `ready`, and those who are
    /// to be answered to `arrivals`, each once. If `lets_in()` says so, who may pass a gate is a
    /// connection of the manager by then, and not added.
    ///
    /// Returns the `OSError` that tells why no more can be accepted at the moment, or `None`.
    fn turn(
        &self,
        py: Python<'_>,
        now: f64,
        timeout: Option<f64>,
        lets_in: &Bound<'_, PyAny>,
        ready: &Bound<'_, PyList>,
        arrivals: &Bound<'_, PyList>,
    ) -> PyResult<Option<PyErr>> {
        let timeout = timeout.map(seconds).transpose()?;
        let mut visit = Visit::new(seconds(now)?, timeout, self.poll()?);
        visit.due = self.lock().as_mut().and_then(State::next_due);
        let come = loop {
            match py.detach(|| self.stay(&mut visit))? {
                Needed::Asked => {
                    logging::follow_python_level(py)?;
                    visit.set_answer(lets_in.call0()?.is_truthy()?);
                }
                Needed::Back(come) => break come,
            }
        };
        away::let_go(py);
        if logging::is_pending() {
            logging::deliver(py);
        }
        for descriptor in visit.happened.others() {
            ready.append(descriptor)?;
        }
        let Some((_inside, come)) = come else { return Ok(None) };
        for arrival in come.arrivals {
            // Nothing that is made once is made here: a fork in between would find it half made.
            arrivals.append(Arrival::new(py, arrival)?)?;
        }
        Ok(come.shortage.map(os_error))
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
        away::let_go(py);
    }

    /// The same, and the descriptor; nothing else can be done then.
    fn close(&self, py: Python<'_>) {
        self.let_go(py);
        let open = (self.lock().take(), self.lock_poll().take());
        drop(open); // the locks are free: dropping an object may run any code
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

/// What somebody else has, and closes after it is no longer registered.
fn known<'a>(descriptor: RawFd) -> PyResult<BorrowedFd<'a>> {
    if descriptor < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF).into());
    }
    // SAFETY: it is that of an open file, as the owner has to see to, and only borrowed for a call.
    Ok(unsafe { BorrowedFd::borrow_raw(descriptor) })
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
