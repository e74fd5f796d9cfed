//! The frames of a client, written without the core.

use handy_ws_core::proto::Opcode;

pub(crate) const FIN: u8 = 0x80;
pub(crate) const RSV1: u8 = 0x40;
const MASKED: u8 = 0x80;

/// Appends a header in its shortest form (RFC 6455, section 5.2), with the mask bit and this key.
#[expect(clippy::cast_possible_truncation, reason = "each range fits its type")]
pub(crate) fn write_header(out: &mut Vec<u8>, first: u8, length: usize, key: [u8; 4]) {
    out.push(first);
    match length {
        0..126 => out.push(MASKED | length as u8),
        126..0x1_0000 => {
            out.push(MASKED | 0x7E);
            out.extend((length as u16).to_be_bytes());
        }
        0x1_0000.. => {
            out.push(MASKED | 0x7F);
            out.extend((length as u64).to_be_bytes());
        }
    }
    out.extend(key);
}

/// Appends a payload from its first byte on.
pub(crate) fn write_masked(out: &mut Vec<u8>, payload: &[u8], key: [u8; 4]) {
    let mask = key.repeat(payload.len() / 4 + 1);
    out.extend(payload.iter().zip(&mask).map(|(byte, mask)| byte ^ mask));
}

/// Appends a frame whose mask changes nothing.
pub(crate) fn write_frame(out: &mut Vec<u8>, first: u8, payload: &[u8]) {
    write_header(out, first, payload.len(), [0; 4]);
    out.extend_from_slice(payload);
}

/// Appends a message in fragments with these payloads, and pings between them if it `pings`.
/// `first` is the opcode and the reserved bits.
pub(crate) fn write_message<'a>(
    out: &mut Vec<u8>,
    first: u8,
    fragments: impl Iterator<Item = &'a [u8]>,
    pings: bool,
) {
    let mut fragments = fragments.peekable();
    let mut first = first;
    loop {
        let fragment = fragments.next().unwrap_or_default();
        let is_last = fragments.peek().is_none();
        write_frame(out, if is_last { FIN | first } else { first }, fragment);
        if is_last {
            return;
        }
        first = Opcode::Continuation as u8;
        if pings {
            write_frame(out, FIN | Opcode::Ping as u8, b"between");
        }
    }
}
