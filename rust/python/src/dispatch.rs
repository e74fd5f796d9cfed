//! From a batch of events to calls of Python: all of a turn under one attach.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use handy_ws_core::manager::{self, Batch, Connection, Event, Handler, bytes};
use handy_ws_core::proto::Payload;
use pyo3::PyClass;
use pyo3::exceptions::PyBaseException;
use pyo3::panic::PanicException;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::callbacks::{Callback, Callbacks};
use crate::calls;
use crate::connection::{Context, WebSocketConnection};
use crate::crew::Crew;
use crate::fork::Forked;
use crate::job::Job;
use crate::messages::{
    Maker, Message, WebSocketBinaryMessage, WebSocketCloseMessage, WebSocketTextMessage,
};
use crate::roster::{Roster, Slots};
use crate::strand;
use crate::timing::Stopwatch;
use crate::{away, logging, names};

/// Calls the callbacks.
pub(crate) struct Dispatcher {
    roster: Roster,
    /// The same, for this thread: to look a connection up takes no lock.
    slots: Slots,
    /// Of the connections whose callbacks an executor runs.
    crew: Arc<Crew>,
    stopwatch: Stopwatch,
}

impl Handler for Dispatcher {
    type Context = Context;

    fn dispatch(&mut self, batch: &mut Batch<Context>) {
        let asked = Instant::now();
        let Self { roster, slots, crew, stopwatch } = self;
        let mut forked = None;
        // The thread is Python's own, so that this re-attaches the thread state it has. Once the
        // interpreter finalizes there is nobody left to call.
        Python::try_attach(|py| {
            away::let_go(py);
            stopwatch.turn(asked, |stopwatch| {
                if logging::is_pending() {
                    logging::deliver(py);
                }
                if crew.has_orphans() {
                    crew.take_over_orphans(py);
                    stopwatch.skip();
                }
                let (events, arena) = batch.drain();
                let mut delivery = Delivery {
                    py,
                    roster,
                    slots,
                    crew,
                    stopwatch,
                    texts: Maker::default(),
                    binaries: Maker::default(),
                    generation: manager::generation(),
                    error: None,
                };
                for event in events {
                    delivery.deliver(event, arena);
                    if delivery.is_elsewhere() {
                        forked = Some(Forked { error: delivery.error });
                        return;
                    }
                }
            });
        });
        if let Some(forked) = forked {
            forked.unwind();
        }
    }

    fn is_owed(&self) -> bool {
        logging::is_pending() || self.crew.has_orphans() || away::is_much_returned()
    }
}

/// A callback that is to be called.
pub(crate) struct Call<'a> {
    pub(crate) name: &'static str,
    pub(crate) callback: Option<&'a Callback>,
}

impl Dispatcher {
    pub(crate) fn new(roster: Roster, stopwatch: Stopwatch, crew: Arc<Crew>) -> Self {
        Self { roster, slots: Slots::default(), crew, stopwatch }
    }
}

/// Where a message goes.
enum Receiver<'py> {
    /// To a callback on this thread.
    Here(Bound<'py, WebSocketConnection>),
    Strand(Bound<'py, WebSocketConnection>),
}

/// The payload of a message that is kept.
fn owned(payload: Payload, arena: &[u8]) -> Vec<u8> {
    match payload {
        Payload::InPlace(range) => arena[range].to_vec(),
        Payload::Assembled(bytes) => bytes,
    }
}

/// The events of a turn, on their way to their callbacks.
struct Delivery<'a, 'py> {
    py: Python<'py>,
    roster: &'a Roster,
    slots: &'a mut Slots,
    crew: &'a Arc<Crew>,
    stopwatch: &'a mut Stopwatch,
    texts: Maker<WebSocketTextMessage>,
    binaries: Maker<WebSocketBinaryMessage>,
    /// That of the process which the loop belongs to.
    generation: u32,
    /// What a callback that has forked raised in the child.
    error: Option<PyErr>,
}

impl<'py> Delivery<'_, 'py> {
    fn deliver(&mut self, event: Event<Context>, arena: &[u8]) {
        let py = self.py;
        match event {
            Event::Established { connection, context } => self.establish(connection, context),
            Event::Text { slot, payload } => match self.receiver(slot) {
                Some(Receiver::Here(connection)) => {
                    let mut maker = std::mem::take(&mut self.texts);
                    self.call(&connection, text, || {
                        let payload = bytes(&payload, arena);
                        maker.make(py, WebSocketTextMessage::new(&connection, payload)?)
                    });
                    self.texts = maker;
                }
                Some(Receiver::Strand(connection)) => {
                    self.defer(&connection, Job::Text(owned(payload, arena)));
                }
                None => {}
            },
            Event::Binary { slot, payload } => match self.receiver(slot) {
                Some(Receiver::Here(connection)) => {
                    let mut maker = std::mem::take(&mut self.binaries);
                    self.call(&connection, binary, || {
                        let payload = bytes(&payload, arena);
                        maker.make(py, WebSocketBinaryMessage::new(&connection, payload)?)
                    });
                    self.binaries = maker;
                }
                Some(Receiver::Strand(connection)) => {
                    self.defer(&connection, Job::Binary(owned(payload, arena)));
                }
                None => {}
            },
            Event::CloseMessage { slot, frame } => {
                let Some(connection) = self.slots.get(py, slot) else { return };
                if connection.get().strand().is_some() {
                    self.defer(&connection, Job::CloseMessage(frame));
                    return;
                }
                self.call(&connection, close_message, || {
                    WebSocketCloseMessage::new(&connection, &frame)
                });
            }
            Event::Answer { slot } => {
                let Some(connection) = self.slots.get(py, slot) else { return };
                self.defer(&connection, Job::Answer);
            }
            Event::Drained { slot } => {
                let Some(connection) = self.slots.get(py, slot) else { return };
                // Nobody is asked for more behind a `close()`.
                let core = connection.get().core();
                if core.is_open() && connection.get().callbacks().on_drain.is_some() {
                    self.call_or_defer(&connection, drained, Job::Drained);
                }
            }
            Event::Closed { slot } => {
                let Some(connection) = self.slots.remove(slot) else { return };
                self.roster.remove(slot);
                self.call_or_defer(connection.bind(py), closed, Job::Closed);
            }
        }
    }

    fn establish(&mut self, connection: Connection<Context>, context: Context) {
        let slot = connection.slot();
        let connection = WebSocketConnection::new(self.py, connection, context, self.crew);
        match Py::new(self.py, connection) {
            Ok(connection) => {
                self.slots.insert(slot, connection.clone_ref(self.py));
                self.roster.insert(slot, connection.clone_ref(self.py));
                self.call_or_defer(connection.bind(self.py), established, Job::Established);
            }
            // Out of memory: without its object the connection has no callbacks.
            Err(error) => error.write_unraisable(self.py, None),
        }
    }

    /// Who gets a message. No message is delivered behind a `close()`, not even one that has come
    /// before it.
    fn receiver(&self, slot: usize) -> Option<Receiver<'py>> {
        let connection = self.slots.get(self.py, slot)?;
        if connection.get().strand().is_some() {
            Some(Receiver::Strand(connection)) // which looks again when it is its turn
        } else {
            connection.get().core().delivers().then_some(Receiver::Here(connection))
        }
    }

    fn call_or_defer(
        &mut self,
        connection: &Bound<'py, WebSocketConnection>,
        which: impl for<'c> FnOnce(&'c Callbacks) -> Call<'c>,
        job: Job,
    ) {
        if connection.get().strand().is_some() {
            self.defer(connection, job);
        } else {
            self.call(connection, which, || Ok(connection.clone()));
        }
    }

    fn defer(&mut self, connection: &Bound<'py, WebSocketConnection>, job: Job) {
        strand::push(self.py, connection.as_unbound(), job);
        self.stopwatch.skip();
    }

    /// Calls one callback, if it is overridden, with what `argument` makes.
    fn call<A: PyClass>(
        &mut self,
        connection: &Bound<'py, WebSocketConnection>,
        which: impl for<'c> FnOnce(&'c Callbacks) -> Call<'c>,
        argument: impl FnOnce() -> PyResult<Bound<'py, A>>,
    ) {
        let Call { name, callback } = which(connection.get().callbacks());
        let Some(callback) = callback else { return };
        let result = call(callback, argument);
        if self.is_elsewhere() {
            self.error = result.err();
            return;
        }
        if let Err(error) = result {
            fail(self.py, connection.as_unbound(), name, error);
        }
        self.stopwatch.lap(self.py, name, connection.get().core().id());
    }

    /// Whether a callback has forked, and this is the child.
    fn is_elsewhere(&self) -> bool {
        self.generation != manager::generation()
    }
}

pub(crate) fn established(callbacks: &Callbacks) -> Call<'_> {
    let callback = callbacks.on_connection_established.as_ref();
    Call { name: "on_connection_established", callback }
}

pub(crate) fn text(callbacks: &Callbacks) -> Call<'_> {
    Call { name: "on_text_message", callback: callbacks.on_text_message.as_ref() }
}

pub(crate) fn binary(callbacks: &Callbacks) -> Call<'_> {
    Call { name: "on_binary_message", callback: callbacks.on_binary_message.as_ref() }
}

pub(crate) fn close_message(callbacks: &Callbacks) -> Call<'_> {
    Call { name: "on_close_message", callback: callbacks.on_close_message.as_ref() }
}

pub(crate) fn drained(callbacks: &Callbacks) -> Call<'_> {
    Call { name: "on_drain", callback: callbacks.on_drain.as_ref() }
}

pub(crate) fn closed(callbacks: &Callbacks) -> Call<'_> {
    Call { name: "on_connection_closed", callback: callbacks.on_connection_closed.as_ref() }
}

/// Calls a callback.
pub(crate) fn call<'py, A: PyClass>(
    callback: &Callback,
    argument: impl FnOnce() -> PyResult<Bound<'py, A>>,
) -> PyResult<()> {
    // PyO3 turns a panic of Rust code under the callback into an exception and back into a panic.
    let called =
        catch_unwind(AssertUnwindSafe(|| calls::call_back(callback, argument()?.as_any())));
    match called {
        Ok(result) => result.map(drop),
        Err(panic) => Err(PanicException::new_err(panic_message(&*panic))),
    }
}

/// Whatever goes wrong in a callback ends this connection with 1011 and nothing else.
pub(crate) fn fail(py: Python<'_>, connection: &Py<WebSocketConnection>, name: &str, error: PyErr) {
    connection.get().close_after_error();
    if let Err(error) = report(py, connection, name, error) {
        error.write_unraisable(py, Some(connection.bind(py)));
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic".into())
}

/// Logs an exception with its traceback, and gives it to `on_error`.
fn report(
    py: Python<'_>,
    connection: &Py<WebSocketConnection>,
    name: &str,
    error: PyErr,
) -> PyResult<()> {
    let exception = error.into_value(py);
    log_exception(py, connection, name, &exception)?;
    if let Some(on_error) = &connection.get().callbacks().on_error
        && let Err(error) = calls::call(on_error.bind(py), (connection, &exception), None)
    {
        log_exception(py, connection, "on_error", &error.into_value(py))?;
    }
    Ok(())
}

fn log_exception(
    py: Python<'_>,
    connection: &Py<WebSocketConnection>,
    name: &str,
    exception: &Py<PyBaseException>,
) -> PyResult<()> {
    let options = PyDict::new(py);
    options.set_item("exc_info", exception)?;
    let arguments = ("%s failed for connection %d", name, connection.get().core().id());
    names::log(py, "error", arguments, Some(&options))
}
