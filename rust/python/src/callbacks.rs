//! The callbacks of a message handler, looked up once.

use pyo3::prelude::*;
use pyo3::types::PyString;
use pyo3::{PyTraverseError, PyVisit, intern};

use crate::names;

/// The bound methods of a `WebSocketMessageHandler`, `None` where a subclass overrides nothing: a
/// callback that nobody wrote costs nothing, not even the message object.
#[pyclass(frozen, module = "handy_ws._core")]
pub(crate) struct Callbacks {
    pub(crate) on_connection_established: Option<Py<PyAny>>,
    pub(crate) on_text_message: Option<Py<PyAny>>,
    pub(crate) on_binary_message: Option<Py<PyAny>>,
    pub(crate) on_close_message: Option<Py<PyAny>>,
    pub(crate) on_drain: Option<Py<PyAny>>,
    pub(crate) on_connection_closed: Option<Py<PyAny>>,
    pub(crate) on_error: Option<Py<PyAny>>,
    /// An executor's `submit`, if the callbacks are not for the manager's thread.
    pub(crate) submit: Option<Py<PyAny>>,
}

#[pymethods]
impl Callbacks {
    /// Looks the callbacks of `handler` up. They are not looked up again. With `submit`, they are
    /// called by what that is given.
    #[new]
    #[pyo3(signature = (handler, submit = None))]
    fn new(
        py: Python<'_>,
        handler: &Bound<'_, PyAny>,
        submit: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let base = names::message_handler_class(py)?;
        let overridden = |name: &Bound<'_, PyString>| -> PyResult<Option<Py<PyAny>>> {
            let method = handler.getattr(name)?;
            let inherited = match method.getattr_opt(intern!(py, "__func__"))? {
                Some(function) => function.is(&base.getattr(name)?),
                None => false,
            };
            Ok((!inherited).then(|| method.unbind()))
        };
        Ok(Self {
            on_connection_established: overridden(intern!(py, "on_connection_established"))?,
            on_text_message: overridden(intern!(py, "on_text_message"))?,
            on_binary_message: overridden(intern!(py, "on_binary_message"))?,
            on_close_message: overridden(intern!(py, "on_close_message"))?,
            on_drain: overridden(intern!(py, "on_drain"))?,
            on_connection_closed: overridden(intern!(py, "on_connection_closed"))?,
            on_error: overridden(intern!(py, "on_error"))?,
            submit,
        })
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.on_connection_established)?;
        visit.call(&self.on_text_message)?;
        visit.call(&self.on_binary_message)?;
        visit.call(&self.on_close_message)?;
        visit.call(&self.on_drain)?;
        visit.call(&self.on_connection_closed)?;
        visit.call(&self.on_error)?;
        visit.call(&self.submit)
    }
}
