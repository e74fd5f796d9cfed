//! The Python objects that the binding uses, each imported once.

use handy_ws_core::manager::{CloseCause, Sent};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

pyo3::import_exception!(handy_ws.errors, ConnectionClosed);

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

    fn get<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        let object = self.object.get_or_try_init(py, || {
            let mut object = py.import(self.module)?.into_any();
            for part in self.path.split('.') {
                object = object.getattr(part)?;
            }
            PyResult::Ok(object.unbind())
        })?;
        Ok(object.bind(py))
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
    message_handler_class = "handy_ws.websocket.message_handler", "WebSocketMessageHandler";
    manager_stats_class = "handy_ws.websocket.stats", "ManagerStats";
    get_logger = "logging", "getLogger";
    queued = "handy_ws.websocket.enums", "SendResult.QUEUED";
    backpressure = "handy_ws.websocket.enums", "SendResult.BACKPRESSURE";
    dropped = "handy_ws.websocket.enums", "SendResult.DROPPED";
    close_cause_class = "handy_ws.websocket.enums", "CloseCause";
}

/// The logger that everything in `handy_ws` logs on.
pub(crate) fn logger(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    get_logger(py)?.call1(("handy_ws",))
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
    let name = match cause {
        CloseCause::Peer => "PEER",
        CloseCause::Local => "LOCAL",
        CloseCause::ProtocolError => "PROTOCOL_ERROR",
        CloseCause::SlowConsumer => "SLOW_CONSUMER",
        CloseCause::HandlerError => "HANDLER_ERROR",
        CloseCause::ServerStop => "SERVER_STOP",
        CloseCause::PingTimeout => "PING_TIMEOUT",
        CloseCause::IdleTimeout => "IDLE_TIMEOUT",
        CloseCause::NetworkError => "NETWORK_ERROR",
    };
    close_cause_class(py)?.getattr(name)
}

/// The error for what the core reports about the loop itself.
pub(crate) fn loop_error(error: std::io::Error) -> PyErr {
    if error.kind() == std::io::ErrorKind::AlreadyExists {
        PyRuntimeError::new_err("this WebSocketManager is running already")
    } else {
        error.into()
    }
}
