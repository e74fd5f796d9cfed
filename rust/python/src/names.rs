//! The Python objects that the binding uses, each imported once.

use handy_ws_core::manager::{CloseCause, Sent};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use crate::calls::{self, Arguments};

/// An object of a Python module, by its dotted path there; imported when it is first needed.
struct Name {
    module: &'static str,
    path: &'static str,
    object: PyOnceLock<Py<PyAny>>,
}

impl Name {
    const fn new(module: &'static str, path: &'static str) -> Self {
        Self { module, path, object: PyOnceLock::new() }
    }

    /// The object. No lock is held while it is looked up: that may let other threads run, and if
    /// one of them forked, the child would wait for the end for ever. `PyOnceLock::get_or_init` and
    /// `pyo3::intern` hold one.
    fn get<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        loop {
            if let Some(object) = self.object.get(py) {
                return Ok(object.bind(py));
            }
            // If another thread was faster, it has found the same.
            let _ = self.object.set(py, self.look_up(py)?.unbind());
        }
    }

    #[cold]
    fn look_up<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let module = py.import(self.module)?.into_any();
        self.path.split('.').try_fold(module, |object, part| object.getattr(part))
    }
}

macro_rules! names {
    ($($function:ident = $module:literal, $name:literal;)+) => {
        $(pub(crate) fn $function(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
            static NAME: Name = Name::new($module, $name);
            NAME.get(py)
        })+
    };
}

names! {
    bad_request_class = "handy_ws.http.head", "BadRequest";
    message_handler_class = "handy_ws.websocket.message_handler", "WebSocketMessageHandler";
    manager_stats_class = "handy_ws.websocket.stats", "ManagerStats";
    request_source_class = "handy_ws.http.head", "RequestSource";
    tls_session_class = "handy_ws.http.tls", "TlsSession";
    method_class = "types", "MethodType";
    get_logger = "logging", "getLogger";
    queued = "handy_ws.websocket.enums", "SendResult.QUEUED";
    backpressure = "handy_ws.websocket.enums", "SendResult.BACKPRESSURE";
    dropped = "handy_ws.websocket.enums", "SendResult.DROPPED";
    connection_closed_class = "handy_ws.errors", "ConnectionClosed";
    peer = "handy_ws.websocket.enums", "CloseCause.PEER";
    local = "handy_ws.websocket.enums", "CloseCause.LOCAL";
    protocol_error = "handy_ws.websocket.enums", "CloseCause.PROTOCOL_ERROR";
    slow_consumer = "handy_ws.websocket.enums", "CloseCause.SLOW_CONSUMER";
    handler_error = "handy_ws.websocket.enums", "CloseCause.HANDLER_ERROR";
    server_stop = "handy_ws.websocket.enums", "CloseCause.SERVER_STOP";
    ping_timeout = "handy_ws.websocket.enums", "CloseCause.PING_TIMEOUT";
    idle_timeout = "handy_ws.websocket.enums", "CloseCause.IDLE_TIMEOUT";
    network_error = "handy_ws.websocket.enums", "CloseCause.NETWORK_ERROR";
}

/// The logger that everything in `handy_ws` logs on.
pub(crate) fn logger(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    calls::call(get_logger(py)?, ("handy_ws",), None)
}

/// Calls a method of that logger.
pub(crate) fn log<'py>(
    py: Python<'py>,
    method: &str,
    arguments: impl Arguments<'py>,
    keywords: Option<&Bound<'py, PyDict>>,
) -> PyResult<()> {
    calls::call(&logger(py)?.getattr(method)?, arguments, keywords).map(drop)
}

/// `SendResult`, as Python knows it.
pub(crate) fn send_result(py: Python<'_>, sent: Sent) -> PyResult<Bound<'_, PyAny>> {
    let member = match sent {
        Sent::Queued => queued(py),
        Sent::Backpressure => backpressure(py),
        Sent::Dropped => dropped(py),
    };
    member.cloned()
}

/// `CloseCause`, as Python knows it.
pub(crate) fn close_cause(py: Python<'_>, cause: CloseCause) -> PyResult<Bound<'_, PyAny>> {
    let member = match cause {
        CloseCause::Peer => peer(py),
        CloseCause::Local => local(py),
        CloseCause::ProtocolError => protocol_error(py),
        CloseCause::SlowConsumer => slow_consumer(py),
        CloseCause::HandlerError => handler_error(py),
        CloseCause::ServerStop => server_stop(py),
        CloseCause::PingTimeout => ping_timeout(py),
        CloseCause::IdleTimeout => idle_timeout(py),
        CloseCause::NetworkError => network_error(py),
    };
    member.cloned()
}

/// The error for what the core reports about the loop itself.
pub(crate) fn loop_error(error: std::io::Error) -> PyErr {
    if error.kind() == std::io::ErrorKind::AlreadyExists {
        PyRuntimeError::new_err("this WebSocketManager is running already")
    } else {
        error.into()
    }
}
