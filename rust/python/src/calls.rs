//! Calls of Python code, by which a thread may meet the end of the interpreter.
//!
//! A program may end while a callback still runs. Before version 3.14, `CPython` then has every
//! daemon thread that wants the interpreter's lock call `pthread_exit`, and that unwinds the stack.
//! It comes by our frames, and Rust aborts the process when something that is no panic of its own
//! reaches a `catch_unwind` or a function that may not unwind. All that such a thread should do is
//! never wake up again: the process is about to end, with a status that is not ours to change. So
//! there is a guard around each call of Python code, which the unwinding meets first, and which
//! sleeps for ever. `CPython` does the same from 3.14 on, and `PyO3` where it takes the lock itself.

use std::ptr::null_mut;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::callbacks::Callback;

// As in `pyo3::ffi`, but for the ABI: without it the compiler takes it that nothing unwinds here.
unsafe extern "C-unwind" {
    fn PyObject_Vectorcall(
        callable: *mut ffi::PyObject,
        arguments: *const *mut ffi::PyObject,
        count: usize,
        names: *mut ffi::PyObject,
    ) -> *mut ffi::PyObject;
    fn PyObject_Call(
        callable: *mut ffi::PyObject,
        arguments: *mut ffi::PyObject,
        keywords: *mut ffi::PyObject,
    ) -> *mut ffi::PyObject;
}

/// Never lets go of a thread that is being unwound.
struct SleepForEver;

impl Drop for SleepForEver {
    fn drop(&mut self) {
        loop {
            std::thread::park();
        }
    }
}

/// A tuple, as Rust writes it or as Python has it.
pub(crate) trait Arguments<'py>:
    IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>, Error: Into<PyErr>>
{
}

impl<'py, T> Arguments<'py> for T where
    T: IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>, Error: Into<PyErr>>
{
}

/// `callback(argument)`.
pub(crate) fn call_back<'py>(
    callback: &Callback,
    argument: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let receiver = callback.receiver.as_ref().map_or(null_mut(), Py::as_ptr);
    // The first one is the place where the called may put another argument, and so is the second one
    // if there is no receiver.
    let mut arguments = [null_mut(), receiver, argument.as_ptr()];
    let first = if receiver.is_null() { 2 } else { 1 };
    let count = (arguments.len() - first) | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
    let guard = SleepForEver;
    // SAFETY: a callable and so many objects behind a place that may be written to; the thread is
    // attached, since there is a `Bound`.
    let result = unsafe {
        let arguments = arguments.as_mut_ptr().add(first);
        PyObject_Vectorcall(callback.function.as_ptr(), arguments, count, null_mut())
    };
    std::mem::forget(guard);
    outcome(argument.py(), result)
}

/// `callable(*arguments, **keywords)`.
pub(crate) fn call<'py>(
    callable: &Bound<'py, PyAny>,
    arguments: impl Arguments<'py>,
    keywords: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = callable.py();
    let arguments = arguments.into_pyobject(py).map_err(Into::into)?;
    let keywords = keywords.map_or(null_mut(), Bound::as_ptr);
    let guard = SleepForEver;
    // SAFETY: a callable, a tuple, and a dict or nothing; the thread is attached.
    let result = unsafe { PyObject_Call(callable.as_ptr(), arguments.as_ptr(), keywords) };
    std::mem::forget(guard);
    outcome(py, result)
}

/// What a call has returned, or raised.
fn outcome(py: Python<'_>, result: *mut ffi::PyObject) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, result) }
}
