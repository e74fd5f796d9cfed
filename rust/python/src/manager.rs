//! `WebSocketManager`.

use std::os::fd::{FromRawFd, RawFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use handy_ws_core::manager::{Adoption, Config, Handle, Manager, SlowConsumer};
use handy_ws_core::proto::Limits;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::admission::{self, Admitted, Permit};
use crate::callbacks::Callbacks;
use crate::connection::{Context, WebSocketConnection};
use crate::crew::Crew;
use crate::dispatch::{Dispatcher, Roster};
use crate::extensions::{Agreement, Negotiator};
use crate::payload::{Message, compression};
use crate::timing::{Stopwatch, Timings};
use crate::{calls, logging, names};

/// How much longer than all else the last callbacks on an executor may take when a server stops.
const SHARE_OF_LAST_CALLBACKS: f64 = 0.05;

/// All the WebSocket connections of a server (handy-httpd's `WebSocketManager`).
///
/// There from the server's construction on; its thread runs while the server does.
#[pyclass(frozen, weakref, module = "handy_ws")]
pub(crate) struct WebSocketManager {
    handle: Handle<Context>,
    /// What to agree on where a `WebSocketHandler` says nothing about it.
    negotiator: Py<Negotiator>,
    roster: Roster,
    timings: Arc<Timings>,
    slow_callback_warning: Option<Duration>,
    /// The loop, between `open` and `run`.
    opened: Mutex<Option<Manager<Context>>>,
    run: Mutex<RunState>,
}

/// What belongs to one run of a manager.
#[derive(Default)]
struct RunState {
    /// The connections whose callbacks an executor runs.
    crew: Arc<Crew>,
    /// How long to wait for their last ones; set by a shutdown.
    until: Option<Instant>,
}

impl WebSocketManager {
    fn run_state(&self) -> std::sync::MutexGuard<'_, RunState> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened(&self) -> std::sync::MutexGuard<'_, Option<Manager<Context>>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl WebSocketManager {
    /// A manager with the limits of a `WebSocketConfig`.
    #[new]
    fn new(py: Python<'_>, config: &Bound<'_, PyAny>) -> PyResult<Self> {
        let compression: Option<Bound<'_, PyAny>> = config.getattr("compression")?.extract()?;
        let negotiator = Py::new(py, Negotiator::new(compression.as_ref())?)?;
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
            negotiator,
            roster: Roster::default(),
            timings: Arc::default(),
            slow_callback_warning,
            opened: Mutex::new(None),
            run: Mutex::default(),
        })
    }

    /// Make ready to adopt connections; `run` does the rest.
    ///
    /// Raises `RuntimeError` if the manager is open already, `OSError` if the system refuses.
    fn open(&self, py: Python<'_>) -> PyResult<()> {
        logging::follow_python_level(py)?;
        let manager = Manager::new(&self.handle).map_err(names::loop_error)?;
        *self.opened() = Some(manager);
        *self.run_state() = RunState::default();
        Ok(())
    }

    /// Run the loop on this thread until `shut_down`: the body of the manager thread.
    ///
    /// Raises `RuntimeError` unless the manager was opened, `OSError` if waiting fails.
    fn run(&self, py: Python<'_>) -> PyResult<()> {
        let Some(mut manager) = self.opened().take() else {
            return Err(PyRuntimeError::new_err("this WebSocketManager is not open"));
        };
        let stopwatch = Stopwatch::new(Arc::clone(&self.timings), self.slow_callback_warning);
        let crew = Arc::clone(&self.run_state().crew);
        let mut dispatcher = Dispatcher::new(self.roster.clone(), stopwatch, Arc::clone(&crew));
        let result = py.detach(|| {
            let result = manager.run(&mut dispatcher);
            drop(manager); // its other thread ends with it
            result
        });
        let until = self.run_state().until.filter(|_| result.is_ok());
        crew.finish(py, until);
        logging::deliver(py);
        self.roster.clear(); // of those that an error has left
        result.map_err(names::loop_error)
    }

    /// Close all connections with 1001, also those that are adopted from now on; what is not
    /// closed after `timeout` seconds is cut off. Returns at once; any thread may call it. `run`
    /// returns when all are closed and `finish` was called, or when the time is over. It waits a
    /// little longer for callbacks that an executor runs.
    fn shut_down(&self, timeout: f64) -> PyResult<()> {
        let timeout = seconds(timeout)?;
        // What is cut off at the end of that time still has its callbacks.
        let until = Instant::now().checked_add(timeout.mul_f64(1.0 + SHARE_OF_LAST_CALLBACKS));
        let mut run = self.run_state();
        run.until = [run.until, until].into_iter().flatten().min();
        drop(run);
        self.handle.shut_down(timeout);
        Ok(())
    }

    /// Whether this thread is in a callback that an executor runs for this manager: then it cannot
    /// wait for `run` to return.
    fn calls_back_here(&self) -> bool {
        self.run_state().crew.is_here()
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
    /// The descriptor belongs to the manager from now on, also if this raises, and so does the place
    /// of the `permit`; without one the connection is not counted. `source` makes the request; `agreement` is what `response`, the 101 to send, says about extensions; `received`
    /// is what came behind the handshake.
    ///
    /// Raises `RuntimeError` if the manager does not run.
    #[expect(clippy::too_many_arguments, reason = "one call from Python, with names there")]
    fn adopt(
        &self,
        fd: RawFd,
        callbacks: Py<Callbacks>,
        source: Py<PyAny>,
        subprotocol: Option<Py<PyString>>,
        agreement: Option<&Bound<'_, Agreement>>,
        permit: Option<&Bound<'_, Permit>>,
        response: Vec<u8>,
        received: Vec<u8>,
    ) -> PyResult<()> {
        let permit = permit.and_then(|permit| permit.get().take());
        if fd < 0 {
            return Err(PyValueError::new_err(format!("{fd} is no file descriptor")));
        }
        // SAFETY: the caller gives the descriptor away (it comes from `socket.detach()`), so
        // nothing else closes it.
        let stream = unsafe { std::net::TcpStream::from_raw_fd(fd) };
        let deflate = agreement.map(|agreement| agreement.get().deflate());
        let context = Context { callbacks, source, subprotocol, deflate };
        let deferred = context.is_deferred();
        self.handle
            .adopt(Adoption { stream, response, received, deflate, deferred, permit, context })
            .map_err(|error| PyRuntimeError::new_err(error.to_string()))
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

    /// What the server's `WebSocketConfig` allows to agree on, for handlers that leave it to that.
    #[getter]
    fn negotiator(&self, py: Python<'_>) -> Py<Negotiator> {
        self.negotiator.clone_ref(py)
    }

    /// The connections between `on_connection_established` and `on_connection_closed`: a new list.
    #[getter]
    fn connections(&self, py: Python<'_>) -> Vec<Py<WebSocketConnection>> {
        self.roster.snapshot(py)
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
        fields.set_item("queue_bytes", self.roster.queue_bytes())?;
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
        self.roster.len()
    }

    /// A manager is true, also while it has no connections.
    #[expect(clippy::unused_self, reason = "a slot method takes it")]
    fn __bool__(&self) -> bool {
        true
    }

    fn __repr__(&self) -> String {
        let state = if self.handle.is_running() { "running" } else { "stopped" };
        format!("<WebSocketManager {state}, {} connections>", self.roster.len())
    }
}

fn seconds(seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|error| PyValueError::new_err(format!("{seconds} seconds: {error}")))
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
