//! Extensions of the opening handshake (RFC 6455 section 9.1): permessage-deflate, or none.

use handy_ws_core::proto::deflate::{self, DeflateParameters, DeflatePolicy};
use handy_ws_core::proto::{MalformedExtensions, parse_extensions};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Answers what clients offer in `Sec-WebSocket-Extensions`.
#[pyclass(frozen, module = "handy_ws._core")]
pub(crate) struct Negotiator {
    /// `None`: everything is declined.
    compression: Option<Compression>,
}

/// A `CompressionConfig`.
#[derive(Clone, Copy)]
struct Compression {
    policy: DeflatePolicy,
    level: u8,
    threshold: usize,
}

/// What was agreed on with one client.
#[pyclass(frozen, module = "handy_ws._core")]
pub(crate) struct Agreement {
    deflate: deflate::Agreement,
}

impl Agreement {
    pub(crate) fn deflate(&self) -> deflate::Agreement {
        self.deflate
    }
}

#[pymethods]
impl Negotiator {
    /// One that agrees to what a `CompressionConfig` allows; to nothing if that is `None`.
    #[new]
    pub(crate) fn new(compression: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let Some(config) = compression else { return Ok(Self { compression: None }) };
        let policy = DeflatePolicy {
            context_takeover: config.getattr("context_takeover")?.extract()?,
            window_bits: config.getattr("window_bits")?.extract()?,
        };
        let level = config.getattr("level")?.extract()?;
        let threshold = config.getattr("threshold")?.extract()?;
        Ok(Self { compression: Some(Compression { policy, level, threshold }) })
    }

    /// Take the first offer that can be satisfied; `None` if there is none. `header` is the whole
    /// field, its lines joined with commas.
    ///
    /// Raises `ValueError` if it is not what RFC 6455 section 9.1 says.
    fn negotiate(&self, header: &str) -> PyResult<Option<Agreement>> {
        let malformed = |error: MalformedExtensions| PyValueError::new_err(error.to_string());
        let Some(Compression { policy, level, threshold }) = self.compression else {
            parse_extensions(header).map_err(malformed)?;
            return Ok(None);
        };
        let parameters = DeflateParameters::negotiate(header, policy).map_err(malformed)?;
        Ok(parameters.map(|parameters| Agreement {
            deflate: deflate::Agreement { parameters, level, threshold },
        }))
    }
}

#[pymethods]
impl Agreement {
    /// The value of the answer's `Sec-WebSocket-Extensions`.
    #[getter]
    fn extensions(&self) -> String {
        self.deflate.parameters.to_string()
    }
}
