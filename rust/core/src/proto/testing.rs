//! What the tests of this module share: a client's frames, and one way to check a stream.

use super::deflate::{DeflateSettings, OutboundDeflate, SharedDeflaters};
use super::frame::server_frames;
use super::{
    CloseFrame, Decoder, Event, Inflation, Input, Limits, Opcode, Payload, ProtocolError,
    SharedInflater, encode_frame, mask,
};

/// The mask key of the examples in RFC 6455, section 5.7.
pub(crate) const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
pub(crate) const FIN: u8 = 0x80;
pub(crate) const RSV1: u8 = 0x40;

/// An event with its payload taken out of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(CloseFrame),
}

/// What a stream ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The end of a frame: another one may follow.
    Frame,
    /// Somewhere inside a frame.
    Inside,
    /// A CLOSE frame.
    Close,
    /// An error, proven when so many bytes have come.
    Error(ProtocolError, usize),
}

/// All that a decoder said about a stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Outcome {
    pub(crate) events: Vec<Seen>,
    /// The error, and how many bytes had been fed when it came.
    pub(crate) error: Option<(ProtocolError, usize)>,
}

/// A masked frame whose first byte is fin, the reserved bits and the opcode.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = header(first, payload.len() as u64);
    let start = out.len();
    out.extend_from_slice(payload);
    mask::apply_mask(&mut out[start..], KEY);
    out
}

/// The header of such a frame, for a payload of any length.
pub(crate) fn header(first: u8, length: u64) -> Vec<u8> {
    let mut out = vec![first];
    if let Ok(short @ 0..=125) = u8::try_from(length) {
        out.push(0x80 | short);
    } else if let Ok(medium) = u16::try_from(length) {
        out.push(0xFE);
        out.extend_from_slice(&medium.to_be_bytes());
    } else {
        out.push(0xFF);
        out.extend_from_slice(&length.to_be_bytes());
    }
    out.extend_from_slice(&KEY);
    out
}

pub(crate) fn text(payload: &[u8]) -> Vec<u8> {
    frame(FIN | Opcode::Text as u8, payload)
}

pub(crate) fn binary(payload: &[u8]) -> Vec<u8> {
    frame(FIN | Opcode::Binary as u8, payload)
}

pub(crate) fn ping(payload: &[u8]) -> Vec<u8> {
    frame(FIN | Opcode::Ping as u8, payload)
}

pub(crate) fn pong(payload: &[u8]) -> Vec<u8> {
    frame(FIN | Opcode::Pong as u8, payload)
}

pub(crate) fn close(payload: &[u8]) -> Vec<u8> {
    frame(FIN | Opcode::Close as u8, payload)
}

/// A text frame without fin.
pub(crate) fn text_begin(payload: &[u8]) -> Vec<u8> {
    frame(Opcode::Text as u8, payload)
}

/// A binary frame without fin.
pub(crate) fn binary_begin(payload: &[u8]) -> Vec<u8> {
    frame(Opcode::Binary as u8, payload)
}

/// A continuation frame without fin.
pub(crate) fn more(payload: &[u8]) -> Vec<u8> {
    frame(Opcode::Continuation as u8, payload)
}

/// A continuation frame with fin.
pub(crate) fn last(payload: &[u8]) -> Vec<u8> {
    frame(FIN | Opcode::Continuation as u8, payload)
}

/// The payload of a message, compressed without reference to others.
pub(crate) fn deflated_with(settings: DeflateSettings, message: &[u8]) -> Vec<u8> {
    let mut frames = Vec::new();
    encode_frame(&mut frames, Opcode::Binary, message);
    let mut out = Vec::new();
    // With takeover it is compressed even if that makes it longer.
    OutboundDeflate::new(settings, true).compress(&frames, &mut SharedDeflaters::new(), &mut out);
    server_frames(&out).map(|frame| frame.payload.to_vec()).next().unwrap_or_default()
}

/// Feeds a new decoder with a stream in pieces, up to its CLOSE frame or its first error.
pub(crate) fn decode<'a>(limits: &Limits, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    decode_compressed(Inflation::Off, limits, pieces)
}

/// The same, with compression as it was agreed on.
pub(crate) fn decode_compressed<'a>(
    inflation: Inflation,
    limits: &Limits,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Outcome {
    let pieces: Vec<_> = pieces.into_iter().collect();
    let outcome = feed(inflation, limits, &pieces, |_, _| None);
    let filled = feed(inflation, limits, &pieces, fill);
    assert_eq!(filled, outcome, "it matters whether bytes are read into their message");
    outcome
}

/// What a decoder made of some of the bytes, and of how many; `None`: it wants them as an input.
type Filled = Option<(Result<Option<Event>, ProtocolError>, usize)>;

/// Reads what there is, which may be less than there is room for.
fn fill(decoder: &mut Decoder, bytes: &[u8]) -> Filled {
    let mut count = 0;
    let event = decoder.fill(1..=2 * bytes.len(), |room| {
        count = room.len().min(bytes.len());
        room[..count].copy_from_slice(&bytes[..count]);
        count
    });
    event.map(|event| (event, count))
}

fn feed(
    inflation: Inflation,
    limits: &Limits,
    pieces: &[&[u8]],
    fill: fn(&mut Decoder, &[u8]) -> Filled,
) -> Outcome {
    let mut decoder = Decoder::new(inflation);
    // What is inflated takes more memory than what has come, but not more than a message may.
    let extra = if inflation == Inflation::Off { 0 } else { limits.max_message_size };
    let mut inflater = SharedInflater::new();
    let mut outcome = Outcome::default();
    let mut fed = 0;
    for piece in pieces {
        fed += piece.len();
        let mut bytes = piece.to_vec();
        let mut position = 0;
        loop {
            let rest = &mut bytes[position..];
            let filled = if rest.is_empty() { None } else { fill(&mut decoder, rest) };
            let goes_on = filled.is_some();
            let (event, count) = filled.unwrap_or_else(|| {
                let mut input = Input::new(rest);
                let event = decoder.next(limits, &mut inflater, &mut input);
                (event, input.position())
            });
            let most = 8 * fed + extra;
            assert!(decoder.capacity() <= most, "more memory than eight times what has come");
            let start = position;
            position += count;
            match event {
                Ok(Some(event)) => outcome.events.push(seen(event, &bytes[start..position])),
                Ok(None) if goes_on => {}
                Ok(None) => {
                    assert_eq!(position, bytes.len(), "the input was not used up");
                    break;
                }
                Err(error) => {
                    outcome.error = Some((error, fed));
                    return outcome;
                }
            }
            if let Some(Seen::Close(_)) = outcome.events.last() {
                return outcome;
            }
        }
    }
    outcome
}

/// Checks what a stream says when it comes whole, byte by byte, in any two halves, and with more
/// bytes after it.
pub(crate) fn check(limits: &Limits, name: &str, stream: &[u8], events: &[Seen], end: End) {
    let expected = |fed: &dyn Fn(usize) -> usize| Outcome {
        events: events.to_vec(),
        error: match end {
            End::Error(error, at) => Some((error, fed(at))),
            End::Frame | End::Inside | End::Close => None,
        },
    };
    let whole = decode(limits, [stream]);
    assert_eq!(whole, expected(&|_| stream.len()), "{name}, whole");
    let bytes = decode(limits, stream.chunks(1));
    assert_eq!(bytes, expected(&|at| at), "{name}, byte by byte");
    // Long ones are cut where something can go wrong: in their first header and at their end.
    let edge = if stream.len() < 1000 { stream.len() } else { 20 };
    for cut in (0..=stream.len()).filter(|cut| *cut <= edge || stream.len() - cut <= edge) {
        let halves = decode(limits, [&stream[..cut], &stream[cut..]]);
        let fed = |at| if at <= cut { cut } else { stream.len() };
        assert_eq!(halves, expected(&fed), "{name}, cut at {cut}");
    }
    let after: &[u8] = match end {
        End::Frame => &ping(b"after"),
        End::Inside => return,
        End::Close | End::Error(..) => b"\x00\xFF anything",
    };
    let stream = [stream, after].concat();
    let mut expected = expected(&|_| stream.len());
    if end == End::Frame {
        expected.events.push(Seen::Ping(b"after".to_vec()));
    }
    assert_eq!(decode(limits, [stream.as_slice()]), expected, "{name}, with more after it");
}

/// An event with its payload taken out of the input.
fn seen(event: Event, input: &[u8]) -> Seen {
    match event {
        Event::Text(payload) => Seen::Text(String::from_utf8(bytes(payload, input)).unwrap()),
        Event::Binary(payload) => Seen::Binary(bytes(payload, input)),
        Event::Ping(payload) => Seen::Ping(bytes(payload, input)),
        Event::Pong(payload) => Seen::Pong(bytes(payload, input)),
        Event::Close(frame) => Seen::Close(frame),
    }
}

pub(crate) fn bytes(payload: Payload, input: &[u8]) -> Vec<u8> {
    match payload {
        Payload::InPlace(range) => input[range].to_vec(),
        Payload::Assembled(bytes) => bytes,
    }
}
