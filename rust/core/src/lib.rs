//! The core of `handy_ws`: a sans-I/O WebSocket codec and the nonblocking loop around it.
//!
//! * [`proto`] turns bytes into messages and back. It knows no socket, no clock and no thread.
//! * [`http`] reads the request heads that come before. It knows none of these either.
//! * [`handshake`] says what a request head is answered with that asks for a WebSocket.
//! * [`tls`] is what may stand between a socket and `proto`.
//! * [`manager`] owns the sockets, drives `proto` and hands whole batches of events to a
//!   [`manager::Handler`].
//!
//! Dependencies point one way, `handshake` to all that it speaks of, `manager` to `proto` and
//! `tls`, `proto` to `http` for its alphabet, and nothing here knows Python.
#![forbid(unsafe_code)]

pub mod handshake;
pub mod http;
pub mod manager;
pub mod proto;
pub mod tls;
