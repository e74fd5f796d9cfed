//! The frames of RFC 6455 section 5.2, as far as clients and floors need them.

use std::error::Error;

const MASK: u8 = 0x80;
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;
const CLOSE: u8 = 8;
const KEY: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

/// What a message consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// A binary message.
    Binary,
    /// A text of ASCII characters.
    Ascii,
    /// A text with characters of one to four bytes.
    Mixed,
}

impl Payload {
    /// By its name on the command line.
    pub fn named(name: &str) -> Result<Self, Box<dyn Error>> {
        match name {
            "binary" => Ok(Self::Binary),
            "ascii" => Ok(Self::Ascii),
            "mixed" => Ok(Self::Mixed),
            other => Err(format!("{other} is no kind of payload").into()),
        }
    }

    fn opcode(self) -> u8 {
        match self {
            Self::Binary => 2,
            Self::Ascii | Self::Mixed => 1,
        }
    }

    /// The bytes of such a message.
    #[must_use]
    pub fn bytes(self, size: usize) -> Vec<u8> {
        match self {
            Self::Binary | Self::Ascii => (b'a'..=b'z').cycle().take(size).collect(),
            Self::Mixed => {
                let mut text = String::new();
                for character in "naïve 10 € 😀 ".chars().cycle() {
                    if text.len() + character.len_utf8() > size {
                        break;
                    }
                    text.push(character);
                }
                let mut bytes = text.into_bytes();
                bytes.resize(size, b'a');
                bytes
            }
        }
    }

    /// A masked frame with a whole message of so many bytes.
    #[must_use]
    pub fn frame(self, size: usize) -> Vec<u8> {
        let mut frame = vec![0x80 | self.opcode()];
        match (u8::try_from(size), u16::try_from(size)) {
            (Ok(size), _) if size < LENGTH_16 => frame.push(MASK | size),
            (_, Ok(size)) => {
                frame.push(MASK | LENGTH_16);
                frame.extend(size.to_be_bytes());
            }
            _ => {
                frame.push(MASK | LENGTH_64);
                frame.extend((size as u64).to_be_bytes());
            }
        }
        frame.extend(KEY);
        let bytes = self.bytes(size);
        frame.extend(bytes.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
        frame
    }
}

/// The header of a frame: its own size, and the payload's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes that it takes, with the masking key if there is one.
    pub size: usize,
    /// Bytes that follow.
    pub payload: usize,
    /// Whether it is the last frame of a message that is no control frame.
    pub ends_message: bool,
    is_close: bool,
}

impl Header {
    /// Reads one; `None` if it is not whole yet.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let &[first, second, ..] = bytes else { return None };
        let mask = if second & MASK == 0 { 0 } else { 4 };
        let (size, payload) = match second & !MASK {
            LENGTH_16 => (4, u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
            LENGTH_64 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)),
            length => (2, u64::from(length)),
        };
        (bytes.len() >= size + mask).then_some(Self {
            size: size + mask,
            payload: usize::try_from(payload).ok()?,
            ends_message: first & 0x88 == 0x80,
            is_close: first & 0x0f == CLOSE,
        })
    }
}

/// Counts the messages in a stream of frames, and sees that they have the size that they should.
#[derive(Debug, Default)]
pub struct Counter {
    /// Of a header that is not whole.
    held: Vec<u8>,
    /// Bytes of the payload that are still to come, and whether a message ends with them.
    left: usize,
    ends_message: bool,
}

impl Counter {
    /// Takes the next bytes; returns how many messages have ended in them.
    pub fn feed(&mut self, mut bytes: &[u8], size: usize) -> Result<u64, Box<dyn Error>> {
        let mut messages = 0;
        loop {
            let skipped = self.left.min(bytes.len());
            bytes = &bytes[skipped..];
            self.left -= skipped;
            if self.left > 0 {
                return Ok(messages);
            }
            messages += u64::from(std::mem::take(&mut self.ends_message));
            let Some(header) = self.take_header(&mut bytes) else { return Ok(messages) };
            if header.is_close {
                return Err("the server has sent a CLOSE".into());
            }
            if header.ends_message && header.payload != size {
                return Err(format!("a message has {} bytes, not {size}", header.payload).into());
            }
            (self.left, self.ends_message) = (header.payload, header.ends_message);
        }
    }

    fn take_header(&mut self, bytes: &mut &[u8]) -> Option<Header> {
        if self.held.is_empty() {
            if let Some(header) = Header::read(bytes) {
                *bytes = &bytes[header.size..];
                return Some(header);
            }
            self.held.extend_from_slice(bytes);
            *bytes = &[];
            return None;
        }
        while let Some((&first, rest)) = bytes.split_first() {
            self.held.push(first);
            *bytes = rest;
            if let Some(header) = Header::read(&self.held) {
                self.held.clear();
                return Some(header);
            }
        }
        None
    }
}

/// Appends all the whole frames at the beginning of `bytes`, unmasked, to `out`; returns how many
/// bytes of it they took. Nothing is checked.
pub fn unmask(bytes: &[u8], out: &mut Vec<u8>) -> usize {
    let mut used = 0;
    while let Some(header) = Header::read(&bytes[used..]) {
        let end = header.size + header.payload;
        let Some(frame) = bytes.get(used..used + end) else { return used };
        let (head, payload) = frame.split_at(header.size);
        let (head, key) = head.split_at(header.size - 4);
        out.push(head[0]);
        out.push(head[1] & !MASK);
        out.extend_from_slice(&head[2..]);
        let start = out.len();
        out.extend_from_slice(payload);
        let key = u32::from_ne_bytes([key[0], key[1], key[2], key[3]]);
        apply_mask(&mut out[start..], key);
        used += end;
    }
    used
}

fn apply_mask(payload: &mut [u8], key: u32) {
    let wide = u64::from(key) << 32 | u64::from(key);
    let mut chunks = payload.chunks_exact_mut(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        chunk.copy_from_slice(&(u64::from_ne_bytes(word) ^ wide).to_ne_bytes());
    }
    for (byte, key) in chunks.into_remainder().iter_mut().zip(key.to_ne_bytes().iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a masked frame with a 64-bit length.
    const MAX_HEADER: usize = 14;
    const SIZES: [usize; 8] = [0, 1, 9, 125, 126, 65_535, 65_536, 100_001];

    #[test]
    fn what_is_unmasked_has_the_payload_and_is_counted_however_it_is_cut() {
        for payload in [Payload::Binary, Payload::Ascii, Payload::Mixed] {
            for size in SIZES {
                let frame = payload.frame(size);
                let mut out = Vec::new();
                let two = [&frame[..], &frame[..], &frame[..3]].concat();
                assert_eq!(unmask(&two, &mut out), 2 * frame.len());
                let header = Header::read(&out).unwrap();
                assert_eq!((header.payload, out.len()), (size, 2 * (header.size + size)));
                assert_eq!(&out[header.size..header.size + size], payload.bytes(size));
                assert!(
                    payload == Payload::Binary || std::str::from_utf8(&payload.bytes(size)).is_ok()
                );
                for cut in [1, 7, out.len()] {
                    let mut counter = Counter::default();
                    let pieces = out.chunks(cut).map(|piece| counter.feed(piece, size).unwrap());
                    assert_eq!(pieces.sum::<u64>(), 2);
                }
            }
        }
    }

    #[test]
    fn a_header_that_is_not_whole_is_none() {
        let frame = Payload::Binary.frame(70_000);
        for size in 0..MAX_HEADER {
            assert_eq!(Header::read(&frame[..size]), None);
        }
        assert!(Header::read(&frame[..MAX_HEADER]).is_some());
    }

    #[test]
    fn what_is_not_expected_is_an_error() {
        assert!(Counter::default().feed(b"\x82\x01a", 2).is_err());
        assert!(Counter::default().feed(b"\x88\x00", 0).is_err());
        assert_eq!(Counter::default().feed(b"\x89\x01a\x82\x02ab", 2).unwrap(), 1);
    }
}
