//! TLS for the server's end of a nonblocking socket, with rustls.
//!
//! A [`Settings`] is made of files, once and again when they have changed. A [`Session`] is one
//! connection's: it reads and writes like the socket that it is given, in the clear on this side. It
//! is driven by whoever owns the socket: the reception, those who answer requests, who have it as a
//! [`Secured`] socket, the loop.

#[cfg(not(loom))]
mod secured;
mod session;
mod settings;
#[cfg(not(loom))] // nor is their cryptography compiled then
#[cfg(test)]
pub(crate) mod testing;
#[cfg(not(loom))]
#[cfg(test)]
mod tests;

#[cfg(not(loom))]
pub use secured::Secured;
#[cfg(not(loom))]
pub(crate) use session::is_not_tls;
pub use session::{Arrival, Session};
pub use settings::{Crypto, Files, LoadError, Settings, Version};
