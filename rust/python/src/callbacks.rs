//! The callbacks of a message handler, looked up once.

use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

use crate::names;

/// A callback, as it is called: a bound method is taken apart, since going through it takes time.
pub(crate) struct Callback {
    pub(crate) function: Py<PyAny>,
    /// What it is bound to.
    pub(crate) receiver: Option<Py<PyAny>>,
}

impl Callback {
    fn new(method: Bound<'_, PyAny>) -> PyResult<Self> {
        let py = method.py();
        let (function, receiver) = if method.get_type().is(names::method_class(py)?) {
            let function = method.getattr("__func__")?;
            (function, Some(method.getattr("__self__")?.unbind()))
        } else {
            (method, None)
        };
        Ok(Self { function: function.unbind(), receiver })
    }

    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.function)?;
        visit.call(&self.receiver)
    }
}

/// The methods of a `WebSocketMessageHandler`, `None` where a subclass overrides nothing: a
/// callback that nobody wrote costs nothing, not even the message object.
#[pyclass(frozen, module = "handy_ws._core")]
pub(crate) struct Callbacks {
    pub(crate) on_connection_established: Option<Callback>,
    pub(crate) on_text_message: Option<Callback>,
    pub(crate) on_binary_message: Option<Callback>,
    pub(crate) on_close_message: Option<Callback>,
    pub(crate) on_drain: Option<Callback>,
    pub(crate) on_connection_closed: Option<Callback>,
    pub(crate) on_error: Option<Py<PyAny>>,
    /// An executor's `submit`, if the callbacks are not for the manager's thread.
    pub(crate) submit: Option<Py<PyAny>>,
}

impl Callbacks {
    /// Whether an executor runs them.
    pub(crate) fn is_deferred(&self) -> bool {
        self.submit.is_some()
    }
}

#[pymethods]
impl Callbacks {
    /// Looks the callbacks of `handler` up. They are not looked up again. With `submit`, they are
    /// called by what that is given.
    #[new]
    #[pyo3(signature = (handler, submit = None))]
    fn new<'py>(
        py: Python<'py>,
        handler: &Bound<'py, PyAny>,
        submit: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let base = names::message_handler_class(py)?;
        let overridden = |name: &str| -> PyResult<Option<Bound<'py, PyAny>>> {
            let method = handler.getattr(name)?;
            let inherited = match method.getattr_opt("__func__")? {
                Some(function) => function.is(&base.getattr(name)?),
                None => false,
            };
            Ok((!inherited).then_some(method))
        };
        let callback = |name| overridden(name)?.map(|method| Callback::new(method)).transpose();
        Ok(Self {
            on_connection_established: callback("on_connection_established")?,
            on_text_message: callback("on_text_message")?,
            on_binary_message: callback("on_binary_message")?,
            on_close_message: callback("on_close_message")?,
            on_drain: callback("on_drain")?,
            on_connection_closed: callback("on_connection_closed")?,
            on_error: overridden("on_error")?.map(Bound::unbind),
            submit,
        })
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let callbacks = [
            &self.on_connection_established,
            &self.on_text_message,
            &self.on_binary_message,
            &self.on_close_message,
            &self.on_drain,
            &self.on_connection_closed,
        ];
        for callback in callbacks.into_iter().flatten() {
            callback.traverse(&visit)?;
        }
        visit.call(&self.on_error)?;
        visit.call(&self.submit)
    }
}
