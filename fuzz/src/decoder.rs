//! Frames and messages without compression: the decoder against the [`model`].

use handy_ws_core::proto::{Decoder, Inflation, Limits};

use crate::hearing::{Ear, Heard, ready};
use crate::model::{self, Meaning};
use crate::script::{Script, cut};

/// A stream of more bytes is not fed byte by byte: that takes long and shows nothing new.
const BYTE_BY_BYTE: usize = 600;

/// Whatever a client says without compression means to the [`Decoder`] what it means to a simple
/// reader of the whole, however it is cut: the same messages that end in the same places, and the
/// same error in the piece with the byte that proves it.
///
/// # Panics
///
/// If it does not, or if the decoder owns more than eight times what has come.
pub fn decoder(data: &[u8]) {
    let mut script = Script::new(data);
    let limits = script.limits(Inflation::Off);
    let lengths = script.lengths();
    let stream = script.stream();
    let meaning = model::read(&limits, &stream);
    check(&limits, &meaning, "whole", [stream.as_slice()].into_iter());
    check(&limits, &meaning, "in pieces", cut(&stream, &lengths));
    if stream.len() <= BYTE_BY_BYTE {
        check(&limits, &meaning, "byte by byte", stream.chunks(1));
    }
}

fn check<'a>(
    limits: &Limits,
    meaning: &Meaning,
    how: &str,
    pieces: impl Iterator<Item = &'a [u8]>,
) {
    let decoder = Decoder::new(Inflation::Off);
    let mut inflater = ready(Inflation::Off);
    let heard = Ear::new(decoder, *limits, Inflation::Off, &mut inflater).hear(pieces);
    let Heard { events, failed } = heard;
    assert_eq!(events, meaning.events, "{how}");
    match (failed, meaning.failed) {
        (None, None) => {}
        (Some((error, piece)), Some((expected, place))) => {
            assert_eq!(error, expected, "{how}");
            let is_there = piece.start < place && place <= piece.end;
            assert!(is_there, "{how}: {error} came in {piece:?}, byte {place} proves it");
        }
        (failed, expected) => panic!("{how}: {failed:?} where {expected:?} is right"),
    }
}
