//! `WebSocketConnection`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use handy_ws_core::manager::{CloseCause, Closed, Connection, Sent, WaitError};
use handy_ws_core::proto::deflate::Agreement;
use handy_ws_core::proto::{CloseCode, CloseFrame, MAX_CLOSE_REASON, MAX_CONTROL_PAYLOAD};
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::PyString;
use pyo3::{PyTraverseError, PyVisit};

use crate::away::Away;
use crate::callbacks::Callbacks;
use crate::calls;
use crate::crew::Crew;
use crate::lending;
use crate::names;
use crate::payload::{compression, with_bytes};
use crate::source::Source;
use crate::strand::Strand;

/// How long a wait may go on before signals are looked at. Only the main thread gets them.
const SIGNAL_INTERVAL: Duration = Duration::from_secs(1);

/// What an adoption carries to the manager thread.
pub(crate) struct Context {
    /// Shared, since without the interpreter there is no other reference.
    pub(crate) callbacks: Arc<Away<Py<Callbacks>>>,
    pub(crate) source: Source,
    pub(crate) subprotocol: Option<Arc<str>>,
    pub(crate) deflate: Option<Agreement>,
}

/// One WebSocket connection (handy-httpd's `WebSocketConnection`).
///
/// Usable from any thread, hashable, compared by identity.
#[pyclass(frozen, weakref, module = "handy_ws")]
pub(crate) struct WebSocketConnection {
    core: Connection<Context>,
    callbacks: Py<Callbacks>,
    source: Source,
    subprotocol: Option<Arc<str>>,
    deflate: Option<Agreement>,
    /// There if an executor runs the callbacks.
    strand: Option<Strand>,
    /// Made when it is first asked for.
    request: Cell,
    user_data: Cell,
}

/// A Python object, or none yet, that can be exchanged and that the collector can see. Its lock is
/// never held while an object is dropped: that may run any code, which may come back here.
#[derive(Default)]
struct Cell(Mutex<Option<Py<PyAny>>>);

impl Cell {
    fn get(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.lock(py).as_ref().map(|object| object.clone_ref(py))
    }

    fn set(&self, py: Python<'_>, object: Option<Py<PyAny>>) {
        let previous = std::mem::replace(&mut *self.lock(py), object);
        drop(previous);
    }

    fn lock(&self, py: Python<'_>) -> MutexGuard<'_, Option<Py<PyAny>>> {
        self.0.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }

    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.0.try_lock() {
            Ok(object) => visit.call(&*object),
            Err(_) => Ok(()),
        }
    }

    fn clear(&self) {
        if let Ok(mut object) = self.0.try_lock() {
            let previous = object.take();
            drop(object);
            drop(previous);
        }
    }
}

impl WebSocketConnection {
    pub(crate) fn new(
        py: Python<'_>,
        core: Connection<Context>,
        context: Context,
        crew: &Arc<Crew>,
    ) -> Self {
        let Context { callbacks, source, subprotocol, deflate } = context;
        let callbacks = callbacks.clone_ref(py); // the collector has to see one of each connection
        let strand = callbacks.get().is_deferred().then(|| Strand::new(Arc::clone(crew)));
        Self {
            core,
            callbacks,
            source,
            subprotocol,
            deflate,
            strand,
            request: Cell::default(),
            user_data: Cell::default(),
        }
    }

    pub(crate) fn core(&self) -> &Connection<Context> {
        &self.core
    }

    pub(crate) fn strand(&self) -> Option<&Strand> {
        self.strand.as_ref()
    }

    pub(crate) fn callbacks(&self) -> &Callbacks {
        self.callbacks.get()
    }

    /// Closes with 1011 after a callback failed.
    pub(crate) fn close_after_error(&self) {
        let frame = CloseFrame::new(CloseCode::INTERNAL_ERROR, "handler error").unwrap_or_default();
        self.core.close(frame, CloseCause::HandlerError);
    }

    /// What a sender gets: a `SendResult`, or `ConnectionClosed`.
    fn result<'py>(
        &self,
        py: Python<'py>,
        sent: Result<Sent, Closed>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match sent {
            Ok(sent) => names::send_result(py, sent),
            Err(Closed) => Err(self.closed(py)),
        }
    }

    fn closed(&self, py: Python<'_>) -> PyErr {
        let (message, code, reason) = match self.core.end() {
            Some(end) => {
                let (code, reason) = (end.code.as_u16(), &*end.reason);
                let message = format!("the connection is closed, with {code} {reason:?}");
                (message, Some(code), reason)
            }
            None => ("the connection is closing".into(), None, ""),
        };
        // Made here, and not by PyErr when it is raised: its class is Python code.
        let made = names::connection_closed_class(py)
            .and_then(|class| calls::call(class, (message, code, reason), None));
        made.map_or_else(|error| error, PyErr::from_value)
    }
}

#[pymethods]
impl WebSocketConnection {
    /// A number that no other connection of this process has.
    #[getter]
    fn id(&self) -> u64 {
        self.core.id()
    }

    /// The request of the opening handshake, an `HttpRequest` without a body.
    #[getter]
    fn request(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        if let Some(request) = self.request.get(py) {
            return Ok(request);
        }
        let made = self.source.request(py)?.unbind();
        let mut request = self.request.lock(py);
        if let Some(first) = &*request {
            return Ok(first.clone_ref(py)); // another thread was faster: all get the same one
        }
        *request = Some(made.clone_ref(py));
        Ok(made)
    }

    /// The peer's `(host, port)`.
    #[getter]
    fn remote_address<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.source.remote_address(py)
    }

    /// The subprotocol that was agreed on (RFC 6455 section 1.9), or `None`.
    #[getter]
    fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// The extensions that were agreed on (RFC 6455 section 9.1), as the answer to the handshake
    /// named them: permessage-deflate with its parameters (RFC 7692), or "".
    #[getter]
    fn extensions(&self) -> String {
        let deflate = self.deflate.as_ref();
        deflate.map(|agreed| agreed.parameters.to_string()).unwrap_or_default()
    }

    /// Whether messages can be sent: until our CLOSE frame, or the end of the TCP connection.
    #[getter]
    fn is_open(&self) -> bool {
        self.core.is_open()
    }

    /// Bytes of frames that wait to be taken by the kernel.
    #[getter]
    fn buffered_bytes(&self) -> usize {
        self.core.buffered_bytes()
    }

    /// The round trip time in seconds, as the last keepalive PING that was answered has measured
    /// it (RFC 6455 section 5.5.3). `None` before the first answer.
    #[getter]
    fn latency(&self) -> Option<f64> {
        self.core.latency().map(|latency| latency.as_secs_f64())
    }

    /// Any object of the application's; `None` at first.
    #[getter]
    fn user_data(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.user_data.get(py)
    }

    #[setter]
    fn set_user_data(&self, py: Python<'_>, object: Option<Py<PyAny>>) {
        self.user_data.set(py, object);
    }

    /// The code of the first CLOSE frame of the closing handshake, whoever sent it: 1005 if it
    /// had none, 1006 if there was no such frame. `None` while the connection lasts.
    #[getter]
    fn close_code(&self) -> Option<u16> {
        self.core.end().map(|end| end.code.as_u16())
    }

    /// The reason beside `close_code`. `None` while the connection lasts.
    #[getter]
    fn close_reason(&self) -> Option<&str> {
        self.core.end().map(|end| &*end.reason)
    }

    /// The `CloseCause`. `None` while the connection lasts.
    #[getter]
    fn close_cause<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.core.end().map(|end| names::close_cause(py, end.cause)).transpose()
    }

    /// Queue a text message (handy-httpd's `sendTextMessage`). Any thread may call this; it never
    /// blocks. Where compression was agreed on and the message is long enough, it is compressed,
    /// unless `compress` is false.
    ///
    /// Returns `SendResult.QUEUED`, `BACKPRESSURE` (queued, and more than half of
    /// `send_queue_limit` waits) or `DROPPED` (over the limit: what then happens to the connection
    /// is up to `slow_consumer`). After the last two `on_drain` follows, or `on_connection_closed`.
    ///
    /// Raises `ConnectionClosed` when the connection is closed or closing, `TypeError` if payload
    /// is no `str`, and `UnicodeEncodeError` if it has lone surrogates.
    #[pyo3(signature = (payload, *, compress = true))]
    fn send_text<'py>(
        &self,
        py: Python<'py>,
        payload: &Bound<'py, PyString>,
        compress: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.result(py, lending::send_text(&self.core, payload, compression(compress))?)
    }

    /// Queue a binary message of any bytes-like object (handy-httpd's `sendBinaryMessage`), as it is
    /// now: of long `bytes` a reference is kept until they are sent, all else is copied. As
    /// `send_text` otherwise.
    #[pyo3(signature = (payload, *, compress = true))]
    fn send_binary<'py>(
        &self,
        py: Python<'py>,
        payload: &Bound<'py, PyAny>,
        compress: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let compress = compression(compress);
        let send = |payload: &_| lending::send_binary(&self.core, payload, compress);
        self.result(py, with_bytes(payload, send)?)
    }

    /// Queue a PING with up to 125 bytes (RFC 6455 section 5.5.2). As `send_text` otherwise.
    ///
    /// Raises `ValueError` if payload is longer.
    #[pyo3(signature = (payload = None), text_signature = "($self, payload=b'')")]
    fn ping<'py>(
        &self,
        py: Python<'py>,
        payload: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let ping = |payload: &[u8]| match payload.len() {
            0..=MAX_CONTROL_PAYLOAD => Ok(self.core.ping(payload)),
            length => Err(PyValueError::new_err(format!(
                "payload has {length} bytes, at most {MAX_CONTROL_PAYLOAD} fit"
            ))),
        };
        let sent = match payload {
            Some(payload) => with_bytes(payload, |payload| ping(payload.as_bytes()))??,
            None => ping(&[])?,
        };
        self.result(py, sent)
    }

    /// Wait until nothing waits to be sent (`buffered_bytes` is 0): for a thread that streams, and
    /// is to do so no faster than the client reads. Other threads, signal handlers and callbacks
    /// run meanwhile.
    ///
    /// Returns whether it came to that within `timeout` seconds; `None` waits for ever.
    ///
    /// Raises `ConnectionClosed` when the connection is closed or closing, `ValueError` if timeout
    /// is negative or no number of seconds, and `RuntimeError` in a callback on the manager thread
    /// and in `on_connection_established` on any thread: these would wait for themselves.
    #[pyo3(signature = (timeout = None))]
    fn wait_drained(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let deadline = timeout.map(deadline_after).transpose()?.flatten();
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let slice = left.map_or(SIGNAL_INTERVAL, |left| left.min(SIGNAL_INTERVAL));
            match py.detach(|| self.core.wait_drained(Some(slice))) {
                Ok(true) => return Ok(true),
                Ok(false) if left == Some(slice) => return Ok(false),
                Ok(false) => py.check_signals()?,
                Err(WaitError::Closed) => return Err(self.closed(py)),
                Err(error @ WaitError::OnItsThread) => {
                    return Err(PyRuntimeError::new_err(error.to_string()));
                }
            }
        }
    }

    /// Start the closing handshake (RFC 6455 section 7.1.2; handy-httpd's `close`), behind all that
    /// was sent before. Any thread may call this, at any time; only the first call counts. No
    /// message is delivered after it; `on_connection_closed` follows.
    ///
    /// Raises `ValueError` for a code that may not be sent (RFC 6455 section 7.4) and for a reason
    /// of more than 123 bytes in UTF-8.
    #[pyo3(signature = (code = None, reason = ""), text_signature = "($self, code=1000, reason='')")]
    fn close(&self, code: Option<&Bound<'_, PyAny>>, reason: &str) -> PyResult<()> {
        let code = code.map_or(Ok(CloseCode::NORMAL), sendable_code)?;
        let frame = CloseFrame::new(code, reason).ok_or_else(|| {
            let length = reason.len();
            PyValueError::new_err(format!(
                "reason has {length} bytes in UTF-8, at most {MAX_CLOSE_REASON} fit"
            ))
        })?;
        self.core.close(frame, CloseCause::Local);
        Ok(())
    }

    fn __repr__(&self) -> String {
        let state = match self.core.end() {
            Some(end) => format!("closed {}", end.code.as_u16()),
            None if self.core.is_open() => "open".into(),
            None => "closing".into(),
        };
        format!("<WebSocketConnection {} {state}>", self.core.id())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.callbacks)?;
        self.source.traverse(&visit)?;
        self.request.traverse(&visit)?;
        self.user_data.traverse(&visit)
    }

    fn __clear__(&self) {
        self.request.clear();
        self.user_data.clear();
    }
}

/// The end of a timeout in seconds; `None` if nobody lives to see it.
fn deadline_after(seconds: f64) -> PyResult<Option<Instant>> {
    if seconds.is_nan() || seconds < 0.0 {
        return Err(PyValueError::new_err(format!("timeout must not be {seconds}")));
    }
    let timeout = Duration::try_from_secs_f64(seconds).ok();
    Ok(timeout.and_then(|timeout| Instant::now().checked_add(timeout)))
}

/// The close code that an `int` stands for.
fn sendable_code(code: &Bound<'_, PyAny>) -> PyResult<CloseCode> {
    let number: i64 = code
        .extract()
        .map_err(|_| PyTypeError::new_err("code must be an int that may stand in a CLOSE frame"))?;
    u16::try_from(number).ok().and_then(CloseCode::new).ok_or_else(|| {
        PyValueError::new_err(format!("code {number} may not be sent in a CLOSE frame"))
    })
}
