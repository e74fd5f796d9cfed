//! The core of `handy_ws`: a sans-I/O WebSocket codec and the nonblocking loop around it.
//!
//! * [`proto`] turns bytes into messages and back. It knows no socket, no clock and no thread.
//! * [`http`] reads the request heads that come before. It knows none of these either.
//! * [`handshake`] says what a request head is answered with that asks for a WebSocket.
//! * [`tls`] is what may stand between a socket and `proto`.
//! * [`reception`] accepts clients, and knows them until each has said what it wants.
//! * [`entrance`] leads WebSocket handshakes from there to the manager.
//! * [`manager`] owns the sockets, drives `proto` and hands whole batches of events to a
//!   [`manager::Handler`].
//!
//! Dependencies point one way, `handshake` to all that it speaks of, `manager` to `proto` and `tls`,
//! `reception` to `http` and `tls`, `proto` to `http` for its alphabet, and nothing here knows Python.
#![forbid(unsafe_code)]

#[cfg(not(loom))]
pub mod entrance;
pub mod handshake;
pub mod http;
pub mod manager;
pub mod proto;
#[cfg(not(loom))] // it has nothing to do with other threads
pub mod reception;
mod stream;
pub mod tls;
