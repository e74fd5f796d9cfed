//! What the benchmarks need that Python is too slow for.
//!
//! Each program does one thing, takes its arguments in a fixed order, and prints one line of JSON,
//! or its port if it is a server: `benchmarks/handshakes.py` starts them and makes sense of it.

/// The opening handshake that a client sends; its key is the one in RFC 6455 section 1.3.
pub const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

/// The least that accepts that handshake.
pub const RESPONSE: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// What a good answer to it contains.
pub const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A masked CLOSE frame with the code 1000; the masking key is 0.
pub const CLOSE: &[u8] = b"\x88\x82\0\0\0\0\x03\xe8";

/// Whether `part` is somewhere in `bytes`.
#[must_use]
pub fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
