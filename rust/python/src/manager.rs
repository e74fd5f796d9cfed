//! `WebSocketManager`.

use std::net::TcpStream;
use std::os::fd::RawFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use handy_ws_core::handshake::Negotiation;
use handy_ws_core::manager::{Adoption, Config, Handle, Manager, SlowConsumer};
use handy_ws_core::proto::Limits;
use handy_ws_core::tls::Session;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::admission::{self, Admitted, Permit};
use crate::away::Away;
use crate::callbacks::Callbacks;
use crate::connection::{Context, WebSocketConnection};
use crate::dispatch::Dispatcher;
use crate::fork::{self, Forked, Life};
use crate::payload::{Message, compression};
use crate::roster::Roster;
use crate::source::Source;
use crate::terms::{self, Accepted};
use crate::timing::{Stopwatch, Timings, seconds};
use crate::tls::{TlsStream, take_descriptor};
use crate::{away, calls, logging, names};

/// How much longer than all else the last callbacks on an executor may take when a server stops.
const SHARE_OF_LAST_CALLBACKS: f64 = 0.05;

/// All the WebSocket connections of a server (handy-httpd's `WebSocketManager`).
///
/// There from the server's construction on; its thread runs while the server does.
#[pyclass(frozen, weakref, module = "handy_ws")]
pub(crate) struct WebSocketManager {
    handle: Handle<Context>,
    /// What to agree on where a `WebSocketHandler` says nothing about it.
    negotiation: Negotiation,
    timings: Arc<Timings>,
    slow_callback_warning: Option<Duration>,
    /// Since the last `open`.
    life: Mutex<Option<Arc<Life>>>,
}

impl WebSocketManager {
    pub(crate) const fn handle(&self) -> &Handle<Context> {
        &self.handle
    }

    pub(crate) const fn negotiation(&self) -> &Negotiation {
        &self.negotiation
    }

    fn current(&self) -> Option<Arc<Life>> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn roster(&self) -> Roster {
        self.current().map(|life| life.roster.clone()).unwrap_or_default()
    }

    /// Fails in a forked child, until the manager is opened there.
    fn check_process(&self) -> PyResult<()> {
        let Some(process) = self.current().and_then(|life| life.elsewhere()) else { return Ok(()) };
        let message = format!("this server was started in another process (pid {process})");
        Err(PyRuntimeError::new_err(message))
    }
}

#[pymethods]
impl WebSocketManager {
    /// A manager with the limits of a `WebSocketConfig`.
    #[new]
    fn new(config: &Bound<'_, PyAny>) -> PyResult<Self> {
        let negotiation = terms::negotiation(&config.getattr("compression")?)?;
        let close_timeout: f64 = config.getattr("close_timeout")?.extract()?;
        let slow_callback_warning = optional_seconds(config, "slow_callback_warning")?;
        let config = Config {
            limits: Limits {
                max_message_size: config.getattr("max_message_size")?.extract()?,
                max_fragments: config.getattr("max_fragments")?.extract()?,
            },
            send_queue_limit: config.getattr("send_queue_limit")?.extract()?,
            slow_consumer: slow_consumer(&config.getattr("slow_consumer")?)?,
            broadcast_queue_limit: config.getattr("broadcast_queue_limit")?.extract()?,
            receive_queue_limit: config.getattr("receive_queue_limit")?.extract()?,
            close_timeout: seconds(close_timeout)?,
            ping_interval: optional_seconds(config, "ping_interval")?,
            ping_timeout: optional_seconds(config, "ping_timeout")?,
            idle_timeout: optional_seconds(config, "idle_timeout")?,
            write_timeout: optional_seconds(config, "write_timeout")?,
            max_connections: config.getattr("max_connections")?.extract()?,
            max_connections_per_address: config
                .getattr("max_connections_per_address")?
                .extract()?,
            max_pending_handshakes: config.getattr("max_pending_handshakes")?.extract()?,
            max_message_rate: config.getattr("max_message_rate")?.extract()?,
        };
        Ok(Self {
            handle: Handle::new(config),
            negotiation,
            timings: Arc::default(),
            slow_callback_warning,
            life: Mutex::new(None),
        })
    }

    /// Make ready to adopt connections; `run` does the rest.
    ///
    /// Raises `RuntimeError` if the manager is open already, `OSError` if the system refuses.
    fn open(&self, py: Python<'_>) -> PyResult<()> {
        logging::follow_python_level(py)?;
        let manager = Manager::new(&self.handle).map_err(names::loop_error)?;
        let life = Some(Life::new(manager));
        *self.life.lock().unwrap_or_else(PoisonError::into_inner) = life;
        Ok(())
    }

    /// Life the loop on this thread until `shut_down`: the body of the manager thread.
    ///
    /// Raises `RuntimeError` unless the manager was opened, `OSError` if waiting fails.
    fn run(&self, py: Python<'_>) -> PyResult<()> {
        let opened = self.current().and_then(|life| Some((life.take()?, life)));
        let Some((manager, life)) = opened else {
            return Err(PyRuntimeError::new_err("this WebSocketManager is not open"));
        };
        let stopwatch = Stopwatch::new(Arc::clone(&self.timings), self.slow_callback_warning);
        let crew = &life.crew;
        let mut dispatcher = Dispatcher::new(life.roster.clone(), stopwatch, Arc::clone(crew));
        match py.detach(|| fork::run(&life, manager, &mut dispatcher)) {
            Ok(result) => {
                crew.finish(py, life.until().filter(|_| result.is_ok()));
                logging::deliver(py);
                away::let_go(py);
                life.roster.clear(); // of those that an error has left
                result.map_err(names::loop_error)
            }
            Err(Forked { error }) => {
                std::mem::forget(dispatcher); // its objects are not the child's to finalize
                error.map_or(Ok(()), Err)
            }
        }
    }

    /// Go on without a loop that was shut down and does not end, because a callback does not
    /// return: its connections are cut off, and the manager can be opened again. The callback and
    /// those that follow to the end of each connection are still called, when it does return.
    fn leave_behind(&self) {
        self.handle.leave_behind();
    }

    /// Close all connections with 1001, also those that are adopted from now on; what is not
    /// closed after `timeout` seconds is cut off. Returns at once; any thread may call it. `run`
    /// returns when all are closed and `finish` was called, or when the time is over. It waits a
    /// little longer for callbacks that an executor runs.
    fn shut_down(&self, timeout: f64) -> PyResult<()> {
        let timeout = seconds(timeout)?;
        // What is cut off at the end of that time still has its callbacks.
        let until = Instant::now().checked_add(timeout.mul_f64(1.0 + SHARE_OF_LAST_CALLBACKS));
        if let Some(life) = self.current() {
            life.end_by(until);
        }
        self.handle.shut_down(timeout);
        Ok(())
    }

    /// Whether this thread is in a callback that an executor runs for this manager: then it cannot
    /// wait for `run` to return.
    fn calls_back_here(&self) -> bool {
        self.current().is_some_and(|life| life.crew.is_here())
    }

    /// Say that no socket will be adopted any more, so that `run` may return.
    fn finish(&self) {
        self.handle.finish();
    }

    /// Ask whether a client of that address may become a connection. Returns the `Permit` that
    /// `adopt` needs, or the name of the limit that stands against it. A host that is no IP
    /// address, such as a path, does not count for any.
    fn admit(&self, host: &str) -> Admitted {
        // A link-local address comes with its zone.
        let host = host.split('%').next().and_then(|host| host.parse().ok());
        self.handle.admit(host).into()
    }

    /// Count a handshake that was refused: by `"handshake"`, `"origin"` or `"authorize"`.
    fn count_refused(&self, check: &str) -> PyResult<()> {
        self.handle.count_refusal(admission::check(check)?);
        Ok(())
    }

    /// Take over a socket whose handshake was accepted.
    ///
    /// It is a file descriptor or a `TlsStream`, and belongs to the manager from now on, also if this
    /// raises, and so does the place of the `permit`; without one the connection is not counted.
    /// `source` makes the request; `accepted` is what `response`, the 101 to send, says; `received`
    /// is what came behind the handshake.
    ///
    /// Raises `RuntimeError` if the manager does not run.
    #[expect(clippy::too_many_arguments, reason = "one call from Python, with names there")]
    fn adopt(
        &self,
        socket: Given<'_>,
        callbacks: Py<Callbacks>,
        source: Py<PyAny>,
        accepted: &Bound<'_, Accepted>,
        permit: Option<&Bound<'_, Permit>>,
        response: Vec<u8>,
        received: Vec<u8>,
    ) -> PyResult<()> {
        let permit = permit.and_then(|permit| permit.get().take());
        let (stream, session) = socket.take()?;
        let accepted = accepted.get().core();
        let (subprotocol, deflate) = (accepted.subprotocol().cloned(), accepted.deflate());
        let deferred = callbacks.get().is_deferred();
        let (callbacks, source) = (Arc::new(Away::new(callbacks)), Source::Made(Away::new(source)));
        let context = Context { callbacks, source, subprotocol, deflate };
        self.check_process()?;
        self.handle
            .adopt(Adoption {
                stream,
                session,
                response,
                received,
                deflate,
                deferred,
                permit,
                context,
            })
            .map_err(|error| PyRuntimeError::new_err(error.to_string()))
    }

    /// Call `work`, which may adopt many sockets and must not wait: the loop is woken for all of them
    /// together.
    fn adopting_many(&self, work: &Bound<'_, PyAny>) -> PyResult<()> {
        self.handle.adopting_many(|| calls::call(work, (), None).map(drop))
    }

    /// Send a message to every open connection but `exclude`: a `str` as text, a bytes-like object
    /// as binary (handy-httpd's `broadcast`). Any thread may call this, also in a callback; it
    /// never blocks. It is compressed once for all connections that have agreed on the same
    /// compression, unless `compress` is false.
    ///
    /// Returns `SendResult.QUEUED`, `BACKPRESSURE` (queued, and more than half of
    /// `broadcast_queue_limit` waits for the loop) or `DROPPED` (over that limit: nobody gets it).
    /// Whether each connection gets what is queued is up to its own queue and `slow_consumer`.
    /// Without a running server nobody is there who could miss it, and so it is `QUEUED`.
    ///
    /// Raises `TypeError` if the message is neither.
    #[pyo3(signature = (message, *, exclude = None, compress = true))]
    fn broadcast<'py>(
        &self,
        py: Python<'py>,
        message: Message<'_>,
        exclude: Option<&Bound<'_, WebSocketConnection>>,
        compress: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.check_process()?;
        let except = exclude.map(|connection| connection.get().core());
        let compress = compression(compress);
        let sent = match message {
            Message::Text(text) => self.handle.broadcast_text(text.to_str()?, except, compress),
            Message::Binary(bytes) => {
                self.handle.broadcast_binary(bytes.as_bytes(), except, compress)
            }
        };
        names::send_result(py, sent)
    }

    /// The connections between `on_connection_established` and `on_connection_closed`: a new list.
    #[getter]
    fn connections(&self, py: Python<'_>) -> Vec<Py<WebSocketConnection>> {
        self.roster().snapshot(py)
    }

    /// What the manager has counted, as a `ManagerStats`.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let counters = self.handle.counters();
        let fields = PyDict::new(py);
        fields.set_item("connections", counters.connections)?;
        fields.set_item("connections_total", counters.connections_total)?;
        let refused = admission::connections_refused(py, self.handle.refusals())?;
        fields.set_item("connections_refused", refused)?;
        fields.set_item("messages_received", counters.messages_received)?;
        fields.set_item("messages_sent", counters.messages_sent)?;
        fields.set_item("bytes_received", counters.bytes_received)?;
        fields.set_item("bytes_sent", counters.bytes_sent)?;
        fields.set_item("messages_dropped", counters.messages_dropped)?;
        fields.set_item("bytes_dropped", counters.bytes_dropped)?;
        fields.set_item("broadcasts_dropped", counters.broadcasts_dropped)?;
        fields.set_item("queue_bytes", self.roster().queue_bytes())?;
        fields.set_item("gil_wait_total", self.timings.gil_wait.total())?;
        fields.set_item("gil_wait_max", self.timings.gil_wait.max())?;
        fields.set_item("callback_time_total", self.timings.callbacks.total())?;
        fields.set_item("callback_time_max", self.timings.callbacks.max())?;
        let slow_callbacks = self.timings.slow_callbacks.load(Ordering::Relaxed);
        fields.set_item("slow_callbacks", slow_callbacks)?;
        fields.set_item("takeovers", counters.takeovers)?;
        fields.set_item("turns", counters.turns)?;
        calls::call(names::manager_stats_class(py)?, (), Some(&fields))
    }

    fn __len__(&self) -> usize {
        self.roster().len()
    }

    /// A manager is true, also while it has no connections.
    #[expect(clippy::unused_self, reason = "a slot method takes it")]
    fn __bool__(&self) -> bool {
        true
    }

    fn __repr__(&self) -> String {
        let state = if self.handle.is_running() { "running" } else { "stopped" };
        format!("<WebSocketManager {state}, {} connections>", self.roster().len())
    }
}

/// A connected socket that its owner gives away.
#[derive(FromPyObject)]
enum Given<'py> {
    Descriptor(RawFd),
    Tls(Bound<'py, TlsStream>),
}

impl Given<'_> {
    fn take(self) -> PyResult<(TcpStream, Option<Box<Session>>)> {
        match self {
            Self::Descriptor(fd) => Ok((take_descriptor(fd)?, None)),
            Self::Tls(stream) => match stream.get().take() {
                Some((socket, session)) => Ok((socket, Some(session))),
                None => Err(PyValueError::new_err("this TlsStream is closed")),
            },
        }
    }
}

/// A field of the config that may be `None`.
fn optional_seconds(config: &Bound<'_, PyAny>, name: &str) -> PyResult<Option<Duration>> {
    let value: Option<f64> = config.getattr(name)?.extract()?;
    value.map(seconds).transpose()
}

/// What the configuration calls a policy.
fn slow_consumer(name: &Bound<'_, PyAny>) -> PyResult<SlowConsumer> {
    match name.extract()? {
        "close" => Ok(SlowConsumer::Close),
        "drop_newest" => Ok(SlowConsumer::DropNewest),
        "drop_oldest" => Ok(SlowConsumer::DropOldest),
        other => Err(PyValueError::new_err(format!("{other:?} is no policy for slow consumers"))),
    }
}
