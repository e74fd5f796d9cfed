//! Frame headers (RFC 6455, section 5.2): the ones clients send, and the ones we do.
//!
//! ```text
//!  byte 0            byte 1           0, 2 or 8 bytes     4 bytes
//! +-+-+-+-+-------+ +-+-------------+ +-----------------+ +-----------------------+
//! |F|R|R|R| opcode| |M| length      | | extended length | | mask key, if M is set | payload
//! +-+-+-+-+-------+ +-+-------------+ +-----------------+ +-----------------------+
//! ```
//!
//! A length below 126 stands in byte 1; 126 and 127 announce 16 or 64 bits in network order, and
//! only the shortest form is legal. A client must mask and a server must not (section 5.1). The
//! parts of a header are read one by one, so each is judged as soon as its bytes are there.

use std::fmt;
use std::ops::Range;

use super::ProtocolError;

/// The longest frame header: two bytes, 64 bits of length and the mask key.
pub const MAX_HEADER_SIZE: usize = 2 + 8 + MASK_KEY_SIZE;
/// The longest payload of a control frame, in bytes (RFC 6455, section 5.5).
pub const MAX_CONTROL_PAYLOAD: usize = 125;

pub(crate) const MASK_KEY_SIZE: usize = 4;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const RSV1: u8 = 0x40;
const OPCODE: u8 = 0x0F;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7F;
/// The value of the seven length bits that announces a length of 16 bits.
const LENGTH_16: u8 = 126;
/// The value of the seven length bits that announces a length of 64 bits.
const LENGTH_64: u8 = 127;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// A further fragment of the message that has begun.
    Continuation = 0,
    /// The first or only fragment of a text.
    Text = 1,
    /// The first or only fragment of binary data.
    Binary = 2,
    /// One half of the closing handshake.
    Close = 8,
    /// Asks for a pong with the same payload.
    Ping = 9,
    /// The answer to a ping, or a sign of life that nobody asked for.
    Pong = 10,
}

impl Opcode {
    /// Whether frames of this kind may come between the fragments of a message.
    #[must_use]
    pub const fn is_control(self) -> bool {
        match self {
            Self::Continuation | Self::Text | Self::Binary => false,
            Self::Close | Self::Ping | Self::Pong => true,
        }
    }

    /// The opcode with this number, `None` if RFC 6455 knows none.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::Continuation),
            1 => Some(Self::Text),
            2 => Some(Self::Binary),
            8 => Some(Self::Close),
            9 => Some(Self::Ping),
            10 => Some(Self::Pong),
            _unknown => None,
        }
    }
}

impl fmt::Display for Opcode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Continuation => "continuation",
            Self::Text => "text",
            Self::Binary => "binary",
            Self::Close => "close",
            Self::Ping => "ping",
            Self::Pong => "pong",
        })
    }
}

/// Appends the header of a server's frame to `out`: fin set, not masked, the shortest length.
#[inline]
pub fn encode_header(out: &mut Vec<u8>, opcode: Opcode, length: usize) {
    push_header(out, FIN | opcode as u8, length);
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "each range fits its type")]
fn push_header(out: &mut Vec<u8>, first: u8, length: usize) {
    match length {
        0..=125 => out.extend_from_slice(&[first, length as u8]),
        126..=0xFFFF => {
            let [high, low] = (length as u16).to_be_bytes();
            out.extend_from_slice(&[first, LENGTH_16, high, low]);
        }
        0x1_0000.. => {
            out.extend_from_slice(&[first, LENGTH_64]);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// Appends a whole frame of a server to `out`.
#[inline]
pub fn encode_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    out.reserve(encoded_size(payload.len()));
    encode_header(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

/// Appends the frame of a compressed message (RFC 7692, section 7.2.1) to `out`.
pub(crate) fn encode_compressed_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    out.reserve(encoded_size(payload.len()));
    push_header(out, FIN | RSV1 | opcode as u8, payload.len());
    out.extend_from_slice(payload);
}

/// The size of a server's frame with a payload of so many bytes, header included.
#[inline]
#[must_use]
pub const fn encoded_size(payload_length: usize) -> usize {
    let header = match payload_length {
        0..=125 => 2,
        126..=0xFFFF => 4,
        0x1_0000.. => 10,
    };
    header + payload_length
}

/// The frame whose bytes stand on both sides of `offset`, in a buffer of our own whole frames.
///
/// At a boundary between frames that is an empty range, so `frame_around(frames, 0)` is `0..0`. It
/// lets a queue drop frames without ever sending half of one. The frames before `offset` are
/// walked, so it takes time in proportion to their number. A buffer that does not consist of whole
/// server frames gives what follows the last whole one.
#[must_use]
pub fn frame_around(frames: &[u8], offset: usize) -> Range<usize> {
    let (mut start, mut end) = (0, 0);
    while end < offset {
        start = end;
        let layout = frames.get(end..).and_then(server_frame_layout);
        let size = layout.and_then(|(header, length)| header.checked_add(length));
        match size.and_then(|size| end.checked_add(size)) {
            Some(next) if next <= frames.len() => end = next,
            Some(_) | None => return start..frames.len(),
        }
    }
    if end == offset { end..end } else { start..end }
}

/// One of our own frames, as it stands in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ServerFrame<'a> {
    pub(crate) opcode: Opcode,
    pub(crate) payload: &'a [u8],
    /// All of it, header included.
    pub(crate) bytes: &'a [u8],
}

/// The frames in a buffer of our own whole frames. Anything else ends it.
pub(crate) fn server_frames(mut frames: &[u8]) -> impl Iterator<Item = ServerFrame<'_>> {
    std::iter::from_fn(move || {
        let opcode = Opcode::from_bits(frames.first()? & OPCODE)?;
        let (header, length) = server_frame_layout(frames)?;
        let (bytes, rest) = frames.split_at_checked(header.checked_add(length)?)?;
        frames = rest;
        Some(ServerFrame { opcode, payload: &bytes[header..], bytes })
    })
}

/// The sizes of the header and the payload of the server's frame at the front of `bytes`, `None`
/// if its header is not whole.
fn server_frame_layout(bytes: &[u8]) -> Option<(usize, usize)> {
    let (&[_, second], rest) = bytes.split_first_chunk()?;
    let (header, length) = match second {
        0..LENGTH_16 => (2, u64::from(second)),
        LENGTH_16 => (4, u64::from(u16::from_be_bytes(*rest.first_chunk()?))),
        LENGTH_64 => (10, u64::from_be_bytes(*rest.first_chunk()?)),
        MASKED.. => return None,
    };
    Some((header, usize::try_from(length).ok()?))
}

/// The header of a client's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) fin: bool,
    /// RSV1: the payload is part of a compressed message that begins here (RFC 7692, section 6).
    pub(crate) compressed: bool,
    pub(crate) opcode: Opcode,
    pub(crate) key: [u8; MASK_KEY_SIZE],
    /// The length of the payload, in bytes; judged against the limits already.
    pub(crate) length: usize,
}

/// Reads the header of a short message in one frame that is not compressed: what is most common, of
/// which all checks are a comparison. `None`: it is something else, or it is not whole.
#[inline]
pub(crate) fn parse_short(bytes: &[u8]) -> Option<Short> {
    const TEXT: u8 = FIN | Opcode::Text as u8;
    const BINARY: u8 = FIN | Opcode::Binary as u8;
    let (&[first, second, a, b, c, d], _) = bytes.split_first_chunk()?;
    let opcode = match first {
        TEXT => Opcode::Text,
        BINARY => Opcode::Binary,
        _other => return None,
    };
    let length = usize::from(second.checked_sub(MASKED)?);
    (length < usize::from(LENGTH_16)).then_some(Short { opcode, key: [a, b, c, d], length })
}

/// The header of a short message: see [`parse_short`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Short {
    pub(crate) opcode: Opcode,
    pub(crate) key: [u8; MASK_KEY_SIZE],
    pub(crate) length: usize,
}

impl Short {
    pub(crate) const SIZE: usize = 2 + MASK_KEY_SIZE;
}

/// The first byte of a client's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct First {
    pub(crate) fin: bool,
    pub(crate) compressed: bool,
    pub(crate) opcode: Opcode,
}

/// Reads the first byte of a client's frame. RSV1 is allowed where a compressed message may begin.
#[inline]
pub(crate) fn parse_first(byte: u8, may_be_compressed: bool) -> Result<First, ProtocolError> {
    let reserved = byte & RESERVED;
    let bits = byte & OPCODE;
    let begins_message = matches!(Opcode::from_bits(bits), Some(Opcode::Text | Opcode::Binary));
    let compressed = may_be_compressed && reserved == RSV1 && begins_message;
    if reserved != 0 && !compressed {
        return Err(ProtocolError::ReservedBits { bits: reserved >> 4 });
    }
    let opcode = Opcode::from_bits(bits).ok_or(ProtocolError::UnknownOpcode { opcode: bits })?;
    let fin = byte & FIN != 0;
    if opcode.is_control() && !fin {
        return Err(ProtocolError::FragmentedControl);
    }
    Ok(First { fin, compressed, opcode })
}

/// Reads the length of a client's frame, from `bytes` that begin with the second byte.
///
/// Returns the length of the payload and the number of bytes read, or `None` if they are not all
/// there. The mask bit is checked here too, because it stands in the same byte.
#[inline]
pub(crate) fn parse_length(
    opcode: Opcode,
    bytes: &[u8],
) -> Result<Option<(u64, usize)>, ProtocolError> {
    let Some((&second, rest)) = bytes.split_first() else { return Ok(None) };
    if second & MASKED == 0 {
        return Err(ProtocolError::NotMasked);
    }
    let length = second & LENGTH;
    if opcode.is_control() && length >= LENGTH_16 {
        return Err(ProtocolError::ControlTooLong { length });
    }
    let (length, minimum, size) = match length {
        LENGTH_16 => {
            let Some(&extended) = rest.first_chunk() else { return Ok(None) };
            (u64::from(u16::from_be_bytes(extended)), 126, 1 + 2)
        }
        LENGTH_64 => {
            let Some(&extended) = rest.first_chunk() else { return Ok(None) };
            (u64::from_be_bytes(extended), 0x1_0000, 1 + 8)
        }
        short => (u64::from(short), 0, 1),
    };
    if length > u64::MAX >> 1 {
        return Err(ProtocolError::LengthTooLong);
    }
    if length < minimum {
        return Err(ProtocolError::LengthNotMinimal);
    }
    Ok(Some((length, size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPCODES: [Opcode; 6] = [
        Opcode::Continuation,
        Opcode::Text,
        Opcode::Binary,
        Opcode::Close,
        Opcode::Ping,
        Opcode::Pong,
    ];

    #[test]
    fn opcodes_are_the_numbers_of_rfc_6455() {
        for bits in 0..=u8::MAX {
            let expected = OPCODES.into_iter().find(|opcode| *opcode as u8 == bits);
            assert_eq!(Opcode::from_bits(bits), expected, "{bits}");
        }
        assert_eq!(OPCODES.map(|opcode| opcode as u8), [0, 1, 2, 8, 9, 10]);
        assert_eq!(OPCODES.map(Opcode::is_control), [false, false, false, true, true, true]);
        let names = ["continuation", "text", "binary", "close", "ping", "pong"];
        assert_eq!(OPCODES.map(|opcode| opcode.to_string()), names);
    }

    #[test]
    fn headers_of_every_length_class() {
        for (length, expected) in [
            (0, &[0x82, 0][..]),
            (1, &[0x82, 1]),
            (125, &[0x82, 125]),
            (126, &[0x82, 126, 0, 126]),
            (127, &[0x82, 126, 0, 127]),
            (0x1234, &[0x82, 126, 0x12, 0x34]),
            (65535, &[0x82, 126, 0xFF, 0xFF]),
            (65536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
            (0x12_3456_789A, &[0x82, 127, 0, 0, 0, 0x12, 0x34, 0x56, 0x78, 0x9A]),
        ] {
            let mut out = b"before".to_vec();
            encode_header(&mut out, Opcode::Binary, length);
            assert_eq!(out[6..], *expected, "{length}");
            assert_eq!(encoded_size(length), expected.len() + length);
        }
    }

    #[test]
    fn the_examples_of_rfc_6455_section_5_7() {
        let mut out = Vec::new();
        encode_frame(&mut out, Opcode::Text, b"Hello");
        assert_eq!(out, [0x81, 0x05, 0x48, 0x65, 0x6C, 0x6C, 0x6F]);
        out.clear();
        encode_frame(&mut out, Opcode::Ping, b"Hello");
        assert_eq!(out, [0x89, 0x05, 0x48, 0x65, 0x6C, 0x6C, 0x6F]);
        out.clear();
        encode_frame(&mut out, Opcode::Binary, &[7; 256]);
        assert_eq!(out[..5], [0x82, 0x7E, 0x01, 0x00, 7]);
        out.clear();
        encode_frame(&mut out, Opcode::Binary, &vec![7; 65536]);
        assert_eq!(out[..11], [0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0, 7]);
        assert_eq!(out.len(), encoded_size(65536));
    }

    #[test]
    fn the_frame_around_any_offset() {
        let mut frames = Vec::new();
        let mut ends = vec![0];
        for length in [0, 5, 125, 126, 0, 300, 1, 70_000, 2] {
            encode_frame(&mut frames, Opcode::Text, &vec![0xFF; length]);
            ends.push(frames.len());
        }
        for offset in 0..=frames.len() {
            // Every 97th is enough in the middle of the long frame.
            if offset < 1000 || offset % 97 == 0 || frames.len() - offset < 100 {
                let start = *ends.iter().rfind(|end| **end <= offset).unwrap();
                let end = *ends.iter().find(|end| **end >= offset).unwrap();
                assert_eq!(frame_around(&frames, offset), start..end, "{offset}");
            }
        }
        assert_eq!(frame_around(&frames, frames.len() + 1), frames.len()..frames.len());
        assert_eq!(frame_around(&[], 0), 0..0);
        assert_eq!(frame_around(&[], 1), 0..0);
    }

    #[test]
    fn the_frame_in_a_malformed_buffer_ends_with_the_buffer() {
        for frames in [
            &[0x81][..],
            &[0x81, 5, 1, 2],
            &[0x81, 126, 0],
            &[0x81, 127, 0, 0, 0, 0, 0, 0, 0],
            &[0x81, 127, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
            &[0x81, 0x80, 1, 2, 3, 4],
        ] {
            assert_eq!(frame_around(frames, 1), 0..frames.len(), "{frames:02X?}");
        }
        // What is well formed before it still counts.
        let frames = [0x81, 1, b'a', 0x81, 0xFF];
        assert_eq!(frame_around(&frames, 2), 0..3);
        assert_eq!(frame_around(&frames, 3), 3..3);
        assert_eq!(frame_around(&frames, 4), 3..5);
    }

    #[test]
    fn every_first_byte() {
        for (byte, deflate) in (0..=u8::MAX).flat_map(|byte| [(byte, false), (byte, true)]) {
            let (fin, reserved, bits) = (byte >> 7 == 1, byte >> 4 & 7, byte & 15);
            let expected = match (reserved, Opcode::from_bits(bits)) {
                (4, Some(opcode)) if deflate && (bits == 1 || bits == 2) => {
                    Ok(First { fin, compressed: true, opcode })
                }
                (1.., _) => Err(ProtocolError::ReservedBits { bits: reserved }),
                (0, None) => Err(ProtocolError::UnknownOpcode { opcode: bits }),
                (0, Some(opcode)) if bits >= 8 && !fin => {
                    assert!(opcode.is_control());
                    Err(ProtocolError::FragmentedControl)
                }
                (0, Some(opcode)) => Ok(First { fin, compressed: false, opcode }),
            };
            assert_eq!(parse_first(byte, deflate), expected, "{byte:#04x}, {deflate}");
        }
    }

    #[test]
    fn the_frames_in_a_buffer() {
        let mut buffer = Vec::new();
        let payloads = [0, 1, 125, 126, 65535, 65536].map(|length| vec![7; length]);
        for payload in &payloads {
            encode_frame(&mut buffer, Opcode::Binary, payload);
        }
        encode_frame(&mut buffer, Opcode::Ping, b"ping");
        let frames: Vec<_> = server_frames(&buffer).collect();
        for (frame, payload) in frames.iter().zip(&payloads) {
            assert_eq!((frame.opcode, frame.payload), (Opcode::Binary, payload.as_slice()));
        }
        assert_eq!((frames[6].opcode, frames[6].payload), (Opcode::Ping, &b"ping"[..]));
        assert_eq!(frames.iter().flat_map(|frame| frame.bytes).count(), buffer.len());
        for malformed in [&[0x83, 0][..], &[0x81], &[0x81, 2, 0], &[0x81, 126, 0], &[0x81, 0x80]] {
            assert_eq!(server_frames(malformed).count(), 0, "{malformed:02X?}");
        }
    }

    #[test]
    fn every_second_byte() {
        for byte in 0..=u8::MAX {
            for opcode in OPCODES {
                let expected = match (byte, opcode.is_control()) {
                    (0..=127, _) => Err(ProtocolError::NotMasked),
                    (128..=253, _) => Ok(Some((u64::from(byte - 128), 1))),
                    (254.., false) => Ok(None),
                    (254.., true) => Err(ProtocolError::ControlTooLong { length: byte - 128 }),
                };
                assert_eq!(parse_length(opcode, &[byte]), expected, "{byte:#04x}");
            }
        }
        assert_eq!(parse_length(Opcode::Ping, &[]), Ok(None));
    }

    #[test]
    fn extended_lengths() {
        let parse = |bytes: &[u8]| parse_length(Opcode::Text, bytes);
        for length in 126..=u16::MAX {
            let [high, low] = length.to_be_bytes();
            let expected = Ok(Some((u64::from(length), 3)));
            assert_eq!(parse(&[0xFE, high, low, 9, 9]), expected);
            assert_eq!(parse(&[0xFE, high]), Ok(None));
        }
        for length in 0..126 {
            assert_eq!(parse(&[0xFE, 0, length]), Err(ProtocolError::LengthNotMinimal));
        }
        for (length, expected) in [
            (0, Err(ProtocolError::LengthNotMinimal)),
            (65535, Err(ProtocolError::LengthNotMinimal)),
            (65536, Ok(Some((65536, 9)))),
            (1 << 32, Ok(Some((1 << 32, 9)))),
            (u64::MAX >> 1, Ok(Some((u64::MAX >> 1, 9)))),
            (1 << 63, Err(ProtocolError::LengthTooLong)),
            (u64::MAX, Err(ProtocolError::LengthTooLong)),
        ] {
            let bytes = [&[0xFF], &length.to_be_bytes()[..], &KEY].concat();
            assert_eq!(parse(&bytes), expected, "{length:#x}");
            assert_eq!(parse(&bytes[..8]), Ok(None));
        }
    }

    const KEY: [u8; 4] = [1, 2, 3, 4];
}
