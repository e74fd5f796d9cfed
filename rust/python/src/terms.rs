//! `Terms`, and what comes of checking a handshake against them.

use std::borrow::Cow;
use std::sync::Arc;

use handy_ws_core::handshake::{self, Negotiation, Origins};
use handy_ws_core::proto::deflate::DeflatePolicy;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::head::RequestHead;
use crate::manager::WebSocketManager;

/// The terms of a `WebSocketHandler`, which never change.
#[pyclass(frozen, module = "handy_ws._core")]
pub(crate) struct Terms {
    core: Arc<handshake::Terms>,
}

/// A handshake that is accepted, for `WebSocketManager.adopt`.
#[pyclass(frozen, module = "handy_ws._core")]
pub(crate) struct Accepted {
    core: handshake::Accepted,
}

/// A handshake that is not.
#[pyclass(frozen, module = "handy_ws._core")]
pub(crate) struct Refusal {
    core: handshake::Refusal,
}

/// What `Terms.check` returns.
#[derive(IntoPyObject)]
pub(crate) enum Checked {
    Accepted(Accepted),
    Refusal(Refusal),
}

impl Terms {
    /// What is checked without the interpreter, and may be kept for longer than this.
    pub(crate) const fn core(&self) -> &Arc<handshake::Terms> {
        &self.core
    }
}

#[pymethods]
impl Terms {
    /// Those of the arguments of a `WebSocketHandler`: a `str` or an iterable of them, the same,
    /// and a `CompressionConfig`, `"server"` or `None`.
    ///
    /// Raises `ValueError` if a subprotocol is no token, or an allowed origin no origin.
    #[new]
    fn new(
        subprotocols: &Bound<'_, PyAny>,
        allowed_origins: &Bound<'_, PyAny>,
        compression: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let negotiation =
            if compression.eq("server")? { None } else { Some(negotiation(compression)?) };
        let origins = match &*texts("allowed_origins", allowed_origins)? {
            [one] if allowed_origins.is_instance_of::<PyString>() => Origins::parse(one),
            list => Origins::listed(list.iter().map(|text| &**text)),
        };
        let origins = origins.map_err(|error| PyValueError::new_err(error.to_string()))?;
        let names = texts("subprotocols", subprotocols)?;
        let names = names.iter().map(|name| &**name);
        let terms = handshake::Terms::new(names, origins, negotiation)
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(Self { core: Arc::new(terms) })
    }

    /// Check a handshake of a client that speaks `"http"` or `"https"`, for the manager that gets
    /// its connection, which counts it if it is refused.
    fn check(
        &self,
        head: &Bound<'_, RequestHead>,
        scheme: &str,
        manager: &Bound<'_, WebSocketManager>,
    ) -> Checked {
        let (head, manager) = (head.get().core(), manager.get());
        match self.core().check(head, scheme == "https", manager.negotiation()) {
            Ok(core) => Checked::Accepted(Accepted { core }),
            Err(core) => {
                manager.handle().count_refusal(core.check());
                Checked::Refusal(Refusal { core })
            }
        }
    }
}

impl Accepted {
    pub(crate) const fn core(&self) -> &handshake::Accepted {
        &self.core
    }
}

#[pymethods]
impl Accepted {
    /// The header fields of the 101.
    #[getter]
    fn fields(&self) -> Vec<(&'static str, Cow<'_, str>)> {
        self.core.fields().collect()
    }
}

#[pymethods]
impl Refusal {
    /// The status code of the answer.
    #[getter]
    fn status(&self) -> u16 {
        self.core.status()
    }

    /// One readable line for its body.
    #[getter]
    fn reason(&self) -> String {
        self.core.to_string()
    }

    /// The header fields that it must have, beside those of any response.
    #[getter]
    fn fields(&self) -> Vec<(&'static str, &'static str)> {
        self.core.fields().to_vec()
    }
}

/// What a `CompressionConfig` allows to agree on; nothing if that is `None`.
pub(crate) fn negotiation(compression: &Bound<'_, PyAny>) -> PyResult<Negotiation> {
    if compression.is_none() {
        return Ok(Negotiation::Decline);
    }
    let policy = DeflatePolicy {
        context_takeover: compression.getattr("context_takeover")?.extract()?,
        window_bits: compression.getattr("window_bits")?.extract()?,
    };
    let level = compression.getattr("level")?.extract()?;
    let threshold = compression.getattr("threshold")?.extract()?;
    Ok(Negotiation::Deflate { policy, level, threshold })
}

/// One text, or all of an iterable.
fn texts(argument: &str, texts: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    if let Ok(text) = texts.cast::<PyString>() {
        return Ok(vec![text.to_str()?.to_owned()]);
    }
    let mut list = Vec::new();
    for item in texts.try_iter()? {
        let item = item?;
        let Ok(text) = item.cast::<PyString>() else {
            let message = format!("{argument}: {} is no str", item.repr()?);
            return Err(PyValueError::new_err(message));
        };
        list.push(text.to_str()?.to_owned());
    }
    Ok(list)
}
