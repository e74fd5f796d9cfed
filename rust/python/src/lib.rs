//! `handy_ws._core`: the core for Python. It converts, detaches and maps errors; nothing else.

mod admission;
mod arrival;
mod away;
mod callbacks;
mod calls;
mod connection;
mod crew;
mod dispatch;
mod fork;
mod gate;
mod head;
mod heap;
mod job;
mod lending;
mod logging;
mod manager;
mod messages;
mod names;
mod payload;
mod reception;
mod roster;
mod source;
mod strand;
mod terms;
mod text;
mod timing;
mod tls;
mod turnstile;
mod visit;

/// The compiled part of `handy_ws`. Its names are public as `handy_ws.WebSocketManager` and so on.
#[pyo3::pymodule]
mod _core {
    #[pymodule_export]
    use crate::admission::Permit;
    #[pymodule_export]
    use crate::arrival::Arrival;
    #[pymodule_export]
    use crate::callbacks::Callbacks;
    #[pymodule_export]
    use crate::connection::WebSocketConnection;
    #[pymodule_export]
    use crate::fork::{after_fork_in_child, before_fork};
    #[pymodule_export]
    use crate::gate::Gate;
    #[pymodule_export]
    use crate::head::{
        RequestHead, empty_lines, find_head_end, is_authority, parse_head, render_head,
    };
    #[pymodule_export]
    use crate::manager::WebSocketManager;
    #[pymodule_export]
    use crate::messages::{WebSocketBinaryMessage, WebSocketCloseMessage, WebSocketTextMessage};
    #[pymodule_export]
    use crate::reception::Reception;
    #[pymodule_export]
    use crate::terms::{Accepted, Refusal, Terms};
    #[pymodule_export]
    use crate::tls::{TlsContext, TlsStream};

    use pyo3::panic::PanicException;
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::logging::install();
        // All classes exist by now, but this one, which nobody may make: PyO3 holds a lock while it
        // makes one, and a child that was forked then would wait for it for ever.
        module.py().get_type::<crate::strand::Run>();
        // What `on_error` gets when Rust code under a callback has panicked.
        module.add("PanicException", module.py().get_type::<PanicException>())
    }
}
