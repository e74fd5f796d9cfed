//! Heads of HTTP/1.1 (RFC 9112), read strictly, and written so that nothing else can be read in
//! them; without any I/O.
//!
//! A head is the request line and the header fields, up to the first empty line. Whoever owns the
//! socket finds where it ends and gives it to [`RequestHead::parse`] whole. httparse knows the
//! grammar of fields, and what it is lenient about is checked here.
//!
//! Reading is strict, because whatever two programs read differently can be used to smuggle a
//! request past one of them: no bare CR or LF, no folded lines, no space before the colon, no
//! control characters, no field twice that frames the message. Bytes 0x80 to 0xFF in values are
//! taken as latin-1.
//!
//! What a head says is found where it stands, and nothing is made of it that nobody asks for: of
//! the fifteen fields that a browser sends, a WebSocket handshake needs six.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod authority;
mod beginning;
mod error;
mod fields;
mod head;
mod request_line;
mod response;
mod syntax;
#[cfg(test)]
mod tests;

pub use authority::is_authority;
pub use beginning::{empty_lines, find_end};
pub use error::BadHead;
pub use head::RequestHead;
pub use request_line::Version;
pub use response::{BadField, render};
pub(crate) use syntax::{is_token, is_token_byte};
