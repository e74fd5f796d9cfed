//! Heads of requests and responses. Python objects are made of the parts that somebody asks for.

use std::borrow::Cow;

use handy_ws_core::http::{self, BadHead};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PySequence, PyString};

use crate::calls;
use crate::names;
use crate::payload::with_bytes;

/// A request head, which never changes.
#[pyclass(frozen, module = "handy_ws._core")]
pub(crate) struct RequestHead {
    head: http::RequestHead,
}

impl RequestHead {
    pub(crate) const fn core(&self) -> &http::RequestHead {
        &self.head
    }
}

/// How many bytes at the start of `buffer` are empty lines, which may come before a request
/// (RFC 9112 section 2.2).
#[pyfunction]
pub(crate) fn empty_lines(buffer: &Bound<'_, PyAny>) -> PyResult<usize> {
    with_bytes(buffer, |bytes| http::empty_lines(bytes.as_bytes()))
}

/// The length of the head at the start of `buffer`, 0 while it is not all there. Of what an earlier
/// call has `scanned` nothing is looked at again.
///
/// Raises `BadRequest` if it has more than `limit` bytes (414, 431), and as soon as it is clear that
/// it will be none (400).
#[pyfunction]
pub(crate) fn find_head_end(
    buffer: &Bound<'_, PyAny>,
    scanned: usize,
    limit: usize,
) -> PyResult<usize> {
    match with_bytes(buffer, |bytes| http::find_end(bytes.as_bytes(), scanned, limit))? {
        Ok(end) => Ok(end.unwrap_or(0)),
        Err(error) => Err(bad_request(buffer.py(), error)),
    }
}

/// Parse a whole head, up to and with the empty line.
///
/// Raises `BadRequest` for what cannot be served.
#[pyfunction]
#[pyo3(signature = (head, max_header_count=None))]
pub(crate) fn parse_head(
    py: Python<'_>,
    head: &[u8],
    max_header_count: Option<u64>,
) -> PyResult<RequestHead> {
    match http::RequestHead::parse(head, max_header_count) {
        Ok(head) => Ok(RequestHead { head }),
        Err(error) => Err(bad_request(py, error)),
    }
}

/// Say whether `text` is a host with an optional port, as the Host field must be.
#[pyfunction]
pub(crate) fn is_authority(text: &str) -> bool {
    http::is_authority(text)
}

/// Write the head of a response down, and make sure that every field is one line and one field.
///
/// Raises `ValueError` for what cannot be sent.
#[pyfunction]
pub(crate) fn render_head<'py>(
    status: &Bound<'py, PyString>,
    fields: &Bound<'py, PySequence>,
) -> PyResult<Bound<'py, PyBytes>> {
    let fields: Vec<(Bound<'_, PyString>, Bound<'_, PyString>)> = fields.extract()?;
    let fields = fields.iter().map(|(name, value)| Ok((name.to_str()?, value.to_str()?)));
    let fields: Vec<_> = fields.collect::<PyResult<_>>()?;
    match http::render(status.to_str()?, fields) {
        Ok(head) => Ok(PyBytes::new(status.py(), &head)),
        Err(error) => Err(PyValueError::new_err(error.to_string())),
    }
}

#[pymethods]
impl RequestHead {
    /// As sent; methods are case-sensitive.
    #[getter]
    fn method(&self) -> &str {
        self.head.method()
    }

    /// The request-target as sent.
    #[getter]
    fn target(&self) -> &str {
        self.head.target()
    }

    /// The decoded path; bytes that are not UTF-8 become U+FFFD.
    #[getter]
    fn path(&self) -> Cow<'_, str> {
        self.head.path()
    }

    /// The path as sent.
    #[getter]
    fn raw_path(&self) -> &str {
        self.head.raw_path()
    }

    /// What followed the question mark, not decoded.
    #[getter]
    fn query(&self) -> &str {
        self.head.query()
    }

    /// `"1.1"` or `"1.0"`.
    #[getter]
    fn version(&self) -> &'static str {
        self.head.version().as_str()
    }

    /// Names in lower case and values, in order of arrival.
    #[getter]
    fn headers(&self) -> Vec<(&str, &str)> {
        self.head.fields().collect()
    }

    /// The first value of a field (lower case), or `None`.
    fn get(&self, name: &str) -> Option<&str> {
        self.head.get(name)
    }

    /// All values of a field (lower case), in order.
    fn get_all(&self, name: &str) -> Vec<&str> {
        self.head.get_all(name).collect()
    }

    /// The members of a list field (lower case), in order.
    fn members(&self, name: &str) -> Vec<&str> {
        self.head.members(name).collect()
    }

    /// Whether a token (lower case) is a member of a list field (lower case).
    fn has_token(&self, name: &str, token: &str) -> bool {
        self.head.has_token(name, token)
    }

    /// Whether all members of a list field (lower case) are tokens.
    fn is_token_list(&self, name: &str) -> bool {
        self.head.is_token_list(name)
    }

    /// Whether all members of a list field (lower case) may stand in Upgrade.
    fn is_protocol_list(&self, name: &str) -> bool {
        self.head.is_protocol_list(name)
    }

    /// The same head with another Host.
    fn with_host(&self, authority: String) -> Self {
        Self { head: self.head.with_host(authority) }
    }

    /// Whether the client wants the connection to persist.
    #[getter]
    fn keeps_alive(&self) -> bool {
        self.head.keeps_alive()
    }

    /// The fields as variables of a WSGI environment, for the caller to keep.
    fn variables<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let variables = PyDict::new(py);
        for (name, value) in self.head.variables() {
            variables.set_item(name, value)?;
        }
        Ok(variables)
    }
}

/// The exception that answers such a head.
fn bad_request(py: Python<'_>, error: BadHead) -> PyErr {
    let made = names::bad_request_class(py)
        .and_then(|class| calls::call(class, (error.status(), error.to_string()), None));
    match made {
        Ok(exception) => PyErr::from_value(exception),
        Err(error) => error,
    }
}
