//! TLS for the server's end of a nonblocking socket, with rustls.
//!
//! A [`Settings`] is made of files, once and again when they have changed. A [`Session`] is one
//! connection's: it reads and writes like the socket that it is given, in the clear on this side. It
//! is driven by whoever owns the socket: first by those who read the request, then by the loop.

mod session;
mod settings;
#[cfg(not(loom))] // nor is their cryptography compiled then
#[cfg(test)]
mod tests;

pub use session::{Arrival, Session};
pub use settings::{Crypto, Files, LoadError, Settings, Version};
