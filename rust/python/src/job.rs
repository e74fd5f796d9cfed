//! What is to be done about an event of a connection whose callbacks an executor runs.

use handy_ws_core::manager;
use handy_ws_core::proto::CloseFrame;
use pyo3::PyClass;
use pyo3::prelude::*;

use crate::callbacks::Callbacks;
use crate::connection::WebSocketConnection;
use crate::dispatch::{
    Call, binary, call, close_message, closed, drained, established, fail, text,
};
use crate::messages::{
    Message, WebSocketBinaryMessage, WebSocketCloseMessage, WebSocketTextMessage,
};

/// Something that has happened to a connection, to be dealt with in its turn.
pub(crate) enum Job {
    Established,
    Text(Vec<u8>),
    Binary(Vec<u8>),
    CloseMessage(CloseFrame),
    Drained,
    /// The peer is owed a CLOSE.
    Answer,
    Closed,
}

impl Job {
    /// Whether Python code is to run.
    pub(crate) fn calls_back(&self, callbacks: &Callbacks) -> bool {
        match self {
            Self::Established => callbacks.on_connection_established.is_some(),
            Self::Text(_) => callbacks.on_text_message.is_some(),
            Self::Binary(_) => callbacks.on_binary_message.is_some(),
            Self::CloseMessage(_) => callbacks.on_close_message.is_some(),
            Self::Drained => callbacks.on_drain.is_some(),
            Self::Answer => false,
            Self::Closed => callbacks.on_connection_closed.is_some(),
        }
    }

    /// The length of a message; nothing else counts among what waits.
    pub(crate) fn payload(&self) -> Option<usize> {
        match self {
            Self::Text(payload) | Self::Binary(payload) => Some(payload.len()),
            Self::Established
            | Self::CloseMessage(_)
            | Self::Drained
            | Self::Answer
            | Self::Closed => None,
        }
    }

    /// Does what is to be done: on an executor's thread, or on the manager's if there is none.
    pub(crate) fn perform(self, connection: &Bound<'_, WebSocketConnection>) {
        let py = connection.py();
        let core = connection.get().core();
        match self {
            Self::Established => {
                core.greet();
                core.while_greeting(|| {
                    call_back(connection, established, || Ok(connection.clone()));
                });
                core.greeted();
            }
            Self::Text(payload) => {
                core.release(payload.len());
                if core.delivers() {
                    let message =
                        || Bound::new(py, WebSocketTextMessage::new(connection, &payload)?);
                    call_back(connection, text, message);
                }
            }
            Self::Binary(payload) => {
                core.release(payload.len());
                if core.delivers() {
                    let message =
                        || Bound::new(py, WebSocketBinaryMessage::new(connection, &payload)?);
                    call_back(connection, binary, message);
                }
            }
            Self::CloseMessage(frame) => {
                let message = || WebSocketCloseMessage::new(connection, &frame);
                call_back(connection, close_message, message);
            }
            Self::Drained => {
                if core.is_open() {
                    call_back(connection, drained, || Ok(connection.clone()));
                }
            }
            Self::Answer => core.answer(),
            Self::Closed => {
                call_back(connection, closed, || Ok(connection.clone()));
            }
        }
    }
}

fn call_back<'py, A: PyClass>(
    connection: &Bound<'py, WebSocketConnection>,
    which: impl for<'c> FnOnce(&'c Callbacks) -> Call<'c>,
    argument: impl FnOnce() -> PyResult<Bound<'py, A>>,
) {
    let Call { name, callback } = which(connection.get().callbacks());
    let Some(callback) = callback else { return };
    let py = connection.py();
    let generation = manager::generation();
    // In a child that the callback has forked there is nobody to tell: the executor has the thread.
    if let Err(error) = call(callback, argument)
        && generation == manager::generation()
    {
        fail(py, connection.as_unbound(), name, error);
    }
}
