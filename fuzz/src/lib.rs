//! What must hold for any bytes that a peer may send.
//!
//! Each target is an ordinary function of an input. `fuzz/run` lets libFuzzer look for inputs that
//! break it; what that found worth keeping lies in `corpus` and is replayed by `cargo test`. Only
//! the public part of the core is used.
//!
//! | target | |
//! |---|---|
//! | [`decoder`] | frames and messages, against a simple reader of RFC 6455 |
//! | [`closing`] | the closing handshake, in any order of events |
//! | [`extensions`] | the header and the negotiation of RFC 7692, against a simple reader |
//! | [`inflate`] | compressed messages, hostile ones and our own |
//! | [`connection`] | a whole connection, fed in pieces of any size |
//! | [`head`] | request heads, read and written down anew |

mod client;
mod closing;
mod connection;
mod decoder;
mod deflate;
mod extensions;
mod head;
mod heap;
mod hearing;
mod inflate;
mod model;
mod script;

pub use closing::closing;
pub use connection::connection;
pub use decoder::decoder;
pub use extensions::extensions;
pub use head::head;
pub use inflate::inflate;
