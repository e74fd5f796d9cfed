//! `Gate`: where WebSocket handshakes are accepted without the interpreter.

use std::sync::Arc;

use handy_ws_core::entrance::{self, Entrant};
use handy_ws_core::handshake;
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

use crate::away::Away;
use crate::callbacks::Callbacks;
use crate::connection::Context;
use crate::source::Source;
use crate::terms::Terms;

/// All that a `WebSocketHandler` does with a handshake, if that is no code of the program's: it checks
/// the terms, and its connections have these callbacks.
#[pyclass(frozen, module = "handy_ws._core")]
pub(crate) struct Gate {
    terms: Arc<handshake::Terms>,
    callbacks: Py<Callbacks>,
}

/// What the context of a connection is made of.
pub(crate) struct Guide {
    callbacks: Arc<Away<Py<Callbacks>>>,
    /// The server's host and port.
    local_address: Arc<(String, u16)>,
}

#[pymethods]
impl Gate {
    #[new]
    fn new(terms: &Bound<'_, Terms>, callbacks: Py<Callbacks>) -> Self {
        Self { terms: Arc::clone(terms.get().core()), callbacks }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.callbacks)
    }
}

impl Gate {
    /// The same for the core.
    pub(crate) fn core(
        &self,
        py: Python<'_>,
        local_address: &Arc<(String, u16)>,
    ) -> entrance::Gate<Guide> {
        entrance::Gate {
            terms: Arc::clone(&self.terms),
            deferred: self.callbacks.get().is_deferred(),
            guide: Guide {
                callbacks: Arc::new(Away::new(self.callbacks.clone_ref(py))),
                local_address: Arc::clone(local_address),
            },
        }
    }
}

/// The context of a connection that is let in.
pub(crate) fn context(entrant: Entrant<'_, Guide>) -> Context {
    let Entrant { guide, head, address, session, accepted } = entrant;
    Context {
        callbacks: Arc::clone(&guide.callbacks),
        source: Source::keep(head, address, &guide.local_address, session),
        subprotocol: accepted.subprotocol().cloned(),
        deflate: accepted.deflate(),
    }
}
