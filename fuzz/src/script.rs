//! An input as a script: options first, then what a client says.
//!
//! Every byte means something, and one that is missing counts as zero, so whatever a fuzzer makes
//! of an input is an input. Sizes beyond what an input can hold are reached by repetition.

use handy_ws_core::proto::{Inflation, Limits};

use crate::client;

/// A stream of a client stops growing at this size, in bytes.
const MAX_STREAM: usize = 144 * 1024;

/// What is cut into more pieces than this takes long and shows nothing new.
const MAX_PIECES: usize = 1000;

/// The payload sizes where something changes: headers, steps, and the core's own buffers.
const MESSAGE_SIZES: [usize; 12] =
    [1000, 0, 1, 10, 124, 125, 126, 5000, 65_535, 65_536, 200_000, usize::MAX];

/// The largest message where a few bytes may become many.
const MAX_INFLATED: usize = 200_000;

const FRAGMENTS: [u32; 8] = [1000, 0, 1, 2, 3, 10, 100, u32::MAX];

const MASK_KEYS: [[u8; 4]; 4] = [[0; 4], [0x37, 0xFA, 0x21, 0x3D], [1, 0, 0, 0], [0xFF; 4]];

/// The sizes from here on are followed by a pattern and say how often it comes.
const REPEATED: u8 = 240;

/// What is left of an input.
#[derive(Debug)]
pub(crate) struct Script<'a> {
    rest: &'a [u8],
}

impl<'a> Script<'a> {
    pub(crate) const fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next byte; zero if there is none.
    pub(crate) fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// The next `length` bytes, or as many as there are.
    pub(crate) fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// One of several, by the next byte.
    pub(crate) fn choose<T: Copy, const N: usize>(&mut self, among: [T; N]) -> T {
        among[usize::from(self.byte()) % N]
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() % 2 == 1
    }

    pub(crate) fn inflation(&mut self) -> Inflation {
        self.choose([Inflation::Off, Inflation::ByMessage, Inflation::WithTakeover])
    }

    /// Limits on messages, low enough where messages may be compressed.
    pub(crate) fn limits(&mut self, inflation: Inflation) -> Limits {
        let size = self.choose(MESSAGE_SIZES);
        let max_message_size = match inflation {
            Inflation::Off => size,
            Inflation::ByMessage | Inflation::WithTakeover => size.min(MAX_INFLATED),
        };
        Limits { max_message_size, max_fragments: self.choose(FRAGMENTS) }
    }

    /// At most 15 lengths, to cut something with; none leaves it whole.
    pub(crate) fn lengths(&mut self) -> Vec<usize> {
        let count = usize::from(self.byte() % 16);
        self.take(count).iter().map(|length| length_of(*length)).collect()
    }

    /// A payload: a size, and what it says. The second is the size that was meant; less has come
    /// if the script ends in it.
    pub(crate) fn payload(&mut self) -> (Vec<u8>, usize) {
        let size = self.byte();
        if size < REPEATED {
            let size = usize::from(size);
            return (self.take(size).to_vec(), size);
        }
        // From 4 bytes to 128 KiB, or one byte less or more.
        let size = (4 << (size - REPEATED)) - 1 + usize::from(self.byte() % 3);
        let length = usize::from(self.byte() % 32);
        let pattern = self.take(1 + length);
        let mut payload = pattern.repeat(size / pattern.len().max(1) + 1);
        payload.truncate(size);
        (payload, size)
    }

    /// All that is left as the bytes of a client: either as they are, or as frames without a mask,
    /// which they get here.
    pub(crate) fn stream(mut self) -> Vec<u8> {
        let form = self.byte();
        if form % 2 == 1 {
            return self.rest.to_vec();
        }
        let key = MASK_KEYS[usize::from(form / 2) % MASK_KEYS.len()];
        let mut stream = Vec::new();
        while !self.is_empty() && stream.len() < MAX_STREAM {
            let first = self.byte();
            let (payload, size) = self.payload();
            client::write_header(&mut stream, first, size, key);
            client::write_masked(&mut stream, &payload, key);
            if payload.is_empty() && size > 0 {
                // A pattern of nothing: the script is over.
                break;
            }
        }
        stream
    }
}

/// 1 to 128, then in steps of 64 to 8 KiB.
fn length_of(byte: u8) -> usize {
    match byte {
        0..128 => usize::from(byte) + 1,
        128.. => 128 + 64 * (usize::from(byte) - 127),
    }
}

/// Cuts bytes into pieces of these lengths, again and again; whole if there are none. What is
/// left after very many pieces is one, too.
pub(crate) fn cut<'a>(bytes: &'a [u8], lengths: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut lengths = lengths.iter().cycle().take(MAX_PIECES);
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = lengths.next().map_or(rest.len(), |length| (*length).min(rest.len()));
        let (piece, after) = rest.split_at(length);
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_come_as_they_are_or_repeated() {
        let mut script = Script::new(&[3, b'a', b'b', b'c', 241, 0, 1, b'x', b'y', 0, 9, b'z']);
        assert_eq!(script.payload(), (b"abc".to_vec(), 3));
        assert_eq!(script.payload(), (b"xyxyxyx".to_vec(), 7));
        assert_eq!(script.payload(), (Vec::new(), 0));
        assert_eq!(script.payload(), (b"z".to_vec(), 9));
        assert_eq!(script.payload(), (Vec::new(), 0));
        let (payload, size) = Script::new(&[255, 2, 0, b'x']).payload();
        assert_eq!((payload.len(), size), (131_073, 131_073));
    }

    #[test]
    fn frames_are_masked() {
        let stream = Script::new(&[4, 0x81, 2, b'H', b'i', 0x89, 0, 0x82, 240, 1, 0, 7]).stream();
        let expected: &[u8] = &[
            0x81,
            0x82,
            1,
            0,
            0,
            0,
            b'H' ^ 1,
            b'i', // "Hi"
            0x89,
            0x80,
            1,
            0,
            0,
            0, // a ping
            0x82,
            0x84,
            1,
            0,
            0,
            0,
            7 ^ 1,
            7,
            7,
            7, // the same byte four times
        ];
        assert_eq!(stream, expected);
        assert_eq!(Script::new(&[1, 2, 3]).stream(), [2, 3]);
    }

    #[test]
    fn everything_is_cut_and_nothing_is_lost() {
        let pieces: Vec<_> = cut(b"abcdefg", &[1, 3]).collect();
        assert_eq!(pieces, [&b"a"[..], b"bcd", b"e", b"fg"]);
        assert_eq!(cut(b"abc", &[]).collect::<Vec<_>>(), [b"abc"]);
        assert_eq!(cut(b"", &[1]).count(), 0);
        assert_eq!(cut(&[0; 5000], &[1]).map(<[u8]>::len).collect::<Vec<_>>()[999..], [1, 4000]);
        assert_eq!(
            [length_of(0), length_of(127), length_of(128), length_of(255)],
            [1, 128, 192, 8320]
        );
    }
}
