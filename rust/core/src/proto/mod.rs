//! The WebSocket protocol (RFC 6455) as seen by a server, without any I/O.
//!
//! Bytes come in as arguments, events and bytes go out; no socket, clock or thread is known here.
//! Whoever owns the socket reads into a buffer, wraps it in an [`Input`] and asks the
//! [`Connection`] for one [`Received`] after the other. Payloads are unmasked in place, so a frame
//! that arrived whole is never copied; what is incomplete at the end of the input is taken over,
//! so the buffer is free again afterwards.
//!
//! Three rules hold everywhere. Every limit is checked at the frame header, before anything is
//! allocated; memory grows with the bytes that have really come, not with those announced. An
//! error is the first one in the stream, however that was cut into reads, and is reported as soon
//! as it is proven; only a compressed message without context takeover is judged when it is whole, or
//! 48 KiB of it have come. And nothing that a peer sends can panic.
//!
//! From the bottom up: [`mask`] and [`utf8`] work on bytes, `frame` on headers, `message` joins
//! fragments, [`deflate`] compresses messages and inflates them, [`Decoder`] makes events of bytes
//! and [`Connection`] adds the closing handshake. permessage-deflate is the one extension that is
//! known: any other reserved bit is a protocol error.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod close;
mod connection;
mod decoder;
pub mod deflate;
mod error;
mod extension;
mod frame;
mod input;
pub mod mask;
mod message;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod testing;
pub mod utf8;

pub use close::{CloseCode, CloseFrame, MAX_CLOSE_REASON};
pub use connection::{Connection, Received};
pub use decoder::{Decoder, Limits};
pub use deflate::{Inflation, SharedInflater};
pub use error::ProtocolError;
pub use extension::{Extension, MalformedExtensions, Parameter, parse_extensions};
pub(crate) use frame::server_frames;
pub use frame::{
    MAX_CONTROL_PAYLOAD, MAX_HEADER_SIZE, Opcode, encode_frame, encode_header, encoded_size,
    frame_around,
};
pub use input::Input;
pub use mask::{apply_mask, apply_mask_from};
pub use message::{Event, Payload};
