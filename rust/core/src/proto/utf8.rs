//! UTF-8 checked while it arrives (RFC 6455, section 8.1; RFC 3629).
//!
//! A text message may be cut anywhere, also inside a code point. The validator keeps the at most
//! three bytes of a code point that is not finished yet, and tells "not finished" from "can never
//! be finished": `F4 90` fails at its second byte, although four were announced. That is what lets
//! a server refuse bad text at its first bad byte instead of at the end of the message.
//!
//! Whole chunks go through `simdutf8`, whose errors say the same as those of [`std::str`]: an
//! `error_len` of `None` means that the chunk ended too early, anything else is final.

/// The text is not UTF-8, and no bytes that may still come can make it so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidUtf8;

/// Checks a text that comes in pieces; four bytes of state.
///
/// After an error a validator must not be fed again: what it then says has no meaning.
#[derive(Debug, Clone, Copy, Default)]
pub struct Utf8Validator {
    /// The beginning of an unfinished code point; only `pending_length` bytes of it count.
    pending: [u8; 3],
    pending_length: u8,
}

impl Utf8Validator {
    /// Checks the next piece of the text, of any length.
    pub fn feed(&mut self, piece: &[u8]) -> Result<(), InvalidUtf8> {
        let rest = self.finish_pending(piece)?;
        let Err(error) = simdutf8::compat::from_utf8(rest) else { return Ok(()) };
        if error.error_len().is_some() {
            return Err(InvalidUtf8);
        }
        self.keep(&rest[error.valid_up_to()..]);
        Ok(())
    }

    /// Whether the text may end here, that is not inside a code point.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.pending_length == 0
    }

    /// Completes the pending code point from the front of `piece` and returns what is left of it.
    fn finish_pending<'a>(&mut self, piece: &'a [u8]) -> Result<&'a [u8], InvalidUtf8> {
        let kept = usize::from(self.pending_length);
        if kept == 0 {
            return Ok(piece);
        }
        let mut bytes = [0; 4];
        bytes[..kept].copy_from_slice(&self.pending[..kept]);
        for (index, &byte) in piece.iter().enumerate() {
            // Never past the end: four bytes are either a code point or an error.
            let length = kept + index + 1;
            bytes[length - 1] = byte;
            match std::str::from_utf8(&bytes[..length]) {
                Ok(_) => {
                    self.pending_length = 0;
                    return Ok(&piece[index + 1..]);
                }
                Err(error) if error.error_len().is_some() => return Err(InvalidUtf8),
                Err(_unfinished) => self.keep(&bytes[..length]),
            }
        }
        Ok(&[])
    }

    /// Remembers the beginning of an unfinished code point, which has at most three bytes.
    #[expect(clippy::cast_possible_truncation, reason = "at most three bytes are unfinished")]
    fn keep(&mut self, unfinished: &[u8]) {
        self.pending[..unfinished.len()].copy_from_slice(unfinished);
        self.pending_length = unfinished.len() as u8;
    }
}

/// The text, if all of it is there and valid.
#[inline]
pub fn to_str(text: &[u8]) -> Result<&str, InvalidUtf8> {
    simdutf8::basic::from_utf8(text).map_err(|_| InvalidUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds byte by byte: how many bytes it took to fail, or `None`.
    fn fails_at(text: &[u8]) -> Option<usize> {
        let mut validator = Utf8Validator::default();
        text.iter().position(|byte| validator.feed(&[*byte]).is_err()).map(|index| index + 1)
    }

    /// Whether some bytes after `beginning` make it valid, found by trying.
    fn can_be_completed(beginning: &[u8]) -> bool {
        fn attempt(bytes: &mut [u8; 6], length: usize, more: usize) -> bool {
            if std::str::from_utf8(&bytes[..length]).is_ok() {
                return true;
            }
            // Every range that RFC 3629 has for a continuation byte holds one of these.
            more > 0
                && [0x80, 0x90, 0xA0].into_iter().any(|byte| {
                    bytes[length] = byte;
                    attempt(bytes, length + 1, more - 1)
                })
        }
        let mut bytes = [0; 6];
        bytes[..beginning.len()].copy_from_slice(beginning);
        attempt(&mut bytes, beginning.len(), 3)
    }

    /// Texts with the number of bytes that prove them bad; `None` for those that are good so far.
    const TEXTS: &[(&[u8], Option<usize>, bool)] = &[
        (b"", None, true),
        (b"Hello", None, true),
        (b"\0\x7F", None, true),
        ("\u{80}\u{7FF}\u{800}\u{FFFF}\u{10000}\u{10FFFF}".as_bytes(), None, true),
        ("\u{D7FF}\u{E000}\u{FFFE}".as_bytes(), None, true),
        // Unfinished, and may still become valid.
        (b"\xC2", None, false),
        (b"\xE0", None, false),
        (b"\xE0\xA0", None, false),
        (b"\xED\x9F", None, false),
        (b"\xF0\x90", None, false),
        (b"\xF0\x90\x80", None, false),
        (b"\xF4\x8F\xBF", None, false),
        // Continuations of nothing, overlong forms, and bytes that never occur.
        (b"\x80", Some(1), false),
        (b"ab\xBF", Some(3), false),
        (b"\xC0", Some(1), false),
        (b"\xC1\xBF", Some(1), false),
        (b"\xF5", Some(1), false),
        (b"\xF8\x88\x80\x80\x80", Some(1), false),
        (b"\xFE", Some(1), false),
        (b"\xFF", Some(1), false),
        (b"\xE0\x80", Some(2), false),
        (b"\xE0\x9F\xBF", Some(2), false),
        (b"\xF0\x80\x80", Some(2), false),
        (b"\xF0\x8F\xBF\xBF", Some(2), false),
        // Surrogates, and what is beyond U+10FFFF.
        (b"\xED\xA0\x80", Some(2), false),
        (b"\xED\xBF\xBF", Some(2), false),
        (b"\xF4\x90\x80\x80", Some(2), false),
        // Something else where a continuation was due.
        (b"\xC3A", Some(2), false),
        (b"\xC3\xC3", Some(2), false),
        (b"\xE2\x82A", Some(3), false),
        (b"\xF0\x9F\x90A", Some(4), false),
        (b"\xF0\x9F\x90\xF0", Some(4), false),
    ];

    #[test]
    fn texts_whole_byte_by_byte_and_in_any_two_halves() {
        for (text, bad, complete) in TEXTS {
            let name = text.escape_ascii();
            assert_eq!(fails_at(text), *bad, "{name}, byte by byte");
            assert_eq!(to_str(text).is_ok(), *complete, "{name}, whole");
            for cut in 0..=text.len() {
                let mut validator = Utf8Validator::default();
                let (head, tail) = text.split_at(cut);
                let result = validator.feed(head).and_then(|()| validator.feed(tail));
                assert_eq!(result.is_err(), bad.is_some(), "{name}, cut at {cut}");
                if bad.is_none() {
                    assert_eq!(validator.is_complete(), *complete, "{name}, cut at {cut}");
                }
            }
        }
    }

    #[test]
    fn texts_behind_several_vector_registers() {
        for length in [15, 16, 31, 32, 63, 64, 65, 127, 128, 200] {
            for (text, bad, complete) in TEXTS {
                let mut bytes = vec![b'*'; length];
                bytes.extend_from_slice(text);
                let mut validator = Utf8Validator::default();
                assert_eq!(validator.feed(&bytes).is_err(), bad.is_some());
                assert_eq!(to_str(&bytes).is_ok(), *complete);
                if bad.is_none() {
                    assert_eq!(validator.is_complete(), *complete);
                }
            }
        }
    }

    #[test]
    fn every_pair_of_bytes_fails_as_soon_as_nothing_can_complete_it() {
        for first in 0..=u8::MAX {
            for second in 0..=u8::MAX {
                let pair = [first, second];
                let good = (1..=2).take_while(|length| can_be_completed(&pair[..*length])).count();
                assert_eq!(fails_at(&pair), (good < 2).then_some(good + 1), "{pair:02X?}");
            }
        }
    }

    #[test]
    fn every_code_point_in_single_bytes() {
        let mut validator = Utf8Validator::default();
        let mut buffer = [0; 4];
        for character in '\0'..=char::MAX {
            let bytes = character.encode_utf8(&mut buffer).as_bytes();
            let (last, beginning) = bytes.split_last().unwrap();
            for byte in beginning {
                assert_eq!(validator.feed(&[*byte]), Ok(()));
                assert!(!validator.is_complete());
            }
            assert_eq!(validator.feed(&[*last]), Ok(()), "{character:?}");
            assert!(validator.is_complete());
        }
    }

    #[test]
    fn the_state_is_small() {
        assert!(size_of::<Utf8Validator>() <= 8);
    }
}
