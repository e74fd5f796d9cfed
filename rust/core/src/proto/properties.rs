//! What holds for any bytes, cut anywhere: the codec against noise, against itself and against
//! simpler code.
//!
//! The bodies are ordinary functions of a few values, so a fuzzer can call them as well. The seed
//! is fixed: a run that passes once passes always.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::deflate::DeflateSettings;
use super::testing::{FIN, Outcome, RSV1, Seen, decode, decode_compressed, deflated_with, frame};
use super::utf8::Utf8Validator;
use super::{
    CloseCode, CloseFrame, Connection, Decoder, Inflation, Input, Limits, Opcode, SharedInflater,
    apply_mask_from, encode_frame, encoded_size, frame_around,
};

const LIMITS: Limits = Limits { max_message_size: 5000, max_fragments: 20 };

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(6455),
        ..ProptestConfig::default()
    }
}

/// A message and how its sender cuts it, or a control frame.
#[derive(Debug, Clone)]
struct Spoken {
    seen: Seen,
    /// The payload length of every fragment but the last, at most.
    fragments: Vec<usize>,
    /// What is said after the first fragments, between them.
    between: Vec<Seen>,
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..10), vec(any::<u8>(), 0..300), vec(any::<u8>(), 120..1200)]
}

fn control() -> impl Strategy<Value = Seen> {
    prop_oneof![
        vec(any::<u8>(), 0..=125).prop_map(Seen::Ping),
        vec(any::<u8>(), 0..=125).prop_map(Seen::Pong),
    ]
}

fn spoken() -> impl Strategy<Value = Spoken> {
    let seen = prop_oneof![
        "\\PC{0,200}".prop_map(Seen::Text),
        payload().prop_map(Seen::Binary),
        control(),
    ];
    let fragments = prop_oneof![Just(Vec::new()), vec(0..100_usize, 0..6)];
    (seen, fragments, vec(control(), 0..3)).prop_map(|(seen, fragments, between)| Spoken {
        seen,
        fragments,
        between,
    })
}

fn settings() -> impl Strategy<Value = DeflateSettings> {
    (1..=9_u8, 9..=15_u8).prop_map(|(level, window_bits)| DeflateSettings {
        level,
        window_bits,
        threshold: 0,
    })
}

/// The close frames that a peer may send.
fn closing() -> impl Strategy<Value = CloseFrame> {
    let code = (0..=u16::MAX).prop_filter_map("not for the wire", CloseCode::new);
    let frame = (code, "\\PC{0,30}").prop_map(|(code, reason)| CloseFrame::new(code, &reason));
    prop_oneof![Just(CloseFrame::empty()), frame.prop_map(Option::unwrap_or_default)]
}

/// Appends the frames of a client, and what they say in the order of their ends.
fn speak(spoken: &Spoken, stream: &mut Vec<u8>, events: &mut Vec<Seen>) {
    let (opcode, payload) = match &spoken.seen {
        Seen::Text(text) => (Opcode::Text, text.as_bytes()),
        Seen::Binary(bytes) => (Opcode::Binary, bytes.as_slice()),
        control => return speak_control(control, stream, events),
    };
    let mut rest = payload;
    let mut between = spoken.between.iter();
    let mut opcode = opcode as u8;
    for length in &spoken.fragments {
        let (fragment, after) = rest.split_at((*length).min(rest.len()));
        stream.extend(frame(opcode, fragment));
        (rest, opcode) = (after, Opcode::Continuation as u8);
        if let Some(control) = between.next() {
            speak_control(control, stream, events);
        }
    }
    stream.extend(frame(FIN | opcode, rest));
    events.push(spoken.seen.clone());
}

fn speak_control(seen: &Seen, stream: &mut Vec<u8>, events: &mut Vec<Seen>) {
    match seen {
        Seen::Ping(payload) => stream.extend(frame(FIN | Opcode::Ping as u8, payload)),
        Seen::Pong(payload) => stream.extend(frame(FIN | Opcode::Pong as u8, payload)),
        Seen::Close(_) | Seen::Text(_) | Seen::Binary(_) => unreachable!("{seen:?}"),
    }
    events.push(seen.clone());
}

/// The frame of a server as a client would send it.
fn masked_close(close: &CloseFrame) -> Vec<u8> {
    let mut out = Vec::new();
    close.encode(&mut out);
    frame(out[0], &out[2..])
}

/// Cuts bytes into pieces of these lengths, again and again.
fn chop<'a>(bytes: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut lengths = lengths.iter().copied().cycle();
    let mut pieces = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let length = lengths.next().unwrap_or(usize::MAX).clamp(1, rest.len());
        let (piece, after) = rest.split_at(length);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// Appends the frames of a client that compresses its messages, and what they say.
fn speak_compressed(
    spoken: &Spoken,
    settings: DeflateSettings,
    stream: &mut Vec<u8>,
    events: &mut Vec<Seen>,
) {
    let payload = match &spoken.seen {
        Seen::Text(text) => text.as_bytes(),
        Seen::Binary(bytes) => bytes.as_slice(),
        control => return speak_control(control, stream, events),
    };
    let payload = deflated_with(settings, payload);
    let begin = stream.len();
    let said = Spoken { seen: Seen::Binary(payload), ..spoken.clone() };
    speak(&said, stream, events);
    events.pop();
    let opcode = if let Seen::Text(_) = spoken.seen { Opcode::Text } else { Opcode::Binary };
    stream[begin] = stream[begin] & FIN | RSV1 | opcode as u8;
    events.push(spoken.seen.clone());
}

/// The same bytes say the same, however they are cut.
fn check_chopping(inflation: Inflation, stream: &[u8], lengths: &[usize]) {
    let whole = decode_compressed(inflation, &LIMITS, [stream]);
    let chopped = decode_compressed(inflation, &LIMITS, chop(stream, lengths));
    assert_eq!(chopped.events, whole.events);
    let error = |outcome: Outcome| outcome.error.map(|(error, _fed)| error);
    assert_eq!(error(chopped), error(whole));
}

/// A connection survives any bytes, and its states stay consistent, whenever we close it.
fn check_connection(inflation: Inflation, stream: &[u8], lengths: &[usize], close_at: usize) {
    let mut connection = Connection::new(inflation);
    let mut inflater = SharedInflater::new();
    let mut out = Vec::new();
    for (index, piece) in chop(stream, lengths).into_iter().enumerate() {
        let mut piece = piece.to_vec();
        let mut input = Input::new(&mut piece);
        while connection.receive(&LIMITS, &mut inflater, &mut input).is_some() {}
        assert_eq!(input.remaining(), 0);
        if index == close_at {
            let was_open = connection.is_open();
            assert_eq!(connection.close(CloseFrame::empty(), &mut out), was_open);
        }
        assert_eq!(connection.close_frame().is_none(), connection.is_open());
        let flags = [connection.is_open(), connection.needs_answer(), connection.is_closed()];
        assert!(flags.into_iter().filter(|flag| *flag).count() <= 1);
    }
    let due = connection.needs_answer();
    assert_eq!(connection.answer(&mut out), due);
    assert!(!connection.needs_answer());
    // At most one CLOSE frame went out.
    assert_eq!(frame_around(&out, 1.min(out.len())), 0..out.len());
}

/// The validator says what the standard library says, and as early as possible.
fn check_utf8(text: &[u8], lengths: &[usize]) {
    let mut validator = Utf8Validator::default();
    let mut fed = 0;
    for piece in chop(text, lengths) {
        fed += piece.len();
        let hopeless =
            std::str::from_utf8(&text[..fed]).is_err_and(|error| error.error_len().is_some());
        let result = validator.feed(piece);
        assert_eq!(result.is_err(), hopeless, "after {fed} bytes");
        if hopeless {
            return;
        }
    }
    assert_eq!(validator.is_complete(), std::str::from_utf8(text).is_ok());
}

fn chops() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![vec(1..4_usize, 1..5), vec(1..50_usize, 1..10), vec(1..2000_usize, 1..5)]
}

/// Pieces of text that are valid, almost valid, or cut.
fn almost_utf8() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => "\\PC{0,8}".prop_map(String::into_bytes),
        1 => "[a-z]{60,140}".prop_map(String::into_bytes),
        1 => any::<char>().prop_flat_map(|character| {
            let bytes = character.to_string().into_bytes();
            (0..=bytes.len()).prop_map(move |length| bytes[..length].to_vec())
        }),
        1 => vec(0x80..=0xFF_u8, 0..3),
    ];
    vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn what_a_client_says_is_what_comes_out(
        spoken in vec(spoken(), 0..6),
        close in proptest::option::of(closing()),
        lengths in chops(),
    ) {
        let (mut stream, mut events) = (Vec::new(), Vec::new());
        for spoken in &spoken {
            speak(spoken, &mut stream, &mut events);
        }
        if let Some(close) = close {
            stream.extend(masked_close(&close));
            events.push(Seen::Close(close));
        }
        let expected = Outcome { events, error: None };
        assert_eq!(decode(&LIMITS, [stream.as_slice()]), expected);
        assert_eq!(decode(&LIMITS, chop(&stream, &lengths)), expected);
    }

    #[test]
    fn what_a_client_compresses_is_what_comes_out(
        spoken in vec(spoken(), 0..6),
        settings in settings(),
        lengths in chops(),
    ) {
        let (mut stream, mut events) = (Vec::new(), Vec::new());
        for spoken in &spoken {
            speak_compressed(spoken, settings, &mut stream, &mut events);
        }
        let expected = Outcome { events, error: None };
        for inflation in [Inflation::ByMessage, Inflation::WithTakeover] {
            assert_eq!(decode_compressed(inflation, &LIMITS, [stream.as_slice()]), expected);
            assert_eq!(decode_compressed(inflation, &LIMITS, chop(&stream, &lengths)), expected);
        }
    }

    #[test]
    fn compressed_messages_with_one_byte_changed_are_chopped_alike(
        spoken in vec(spoken(), 1..5),
        settings in settings(),
        index in any::<prop::sample::Index>(),
        flipped in 1..=u8::MAX,
        lengths in chops(),
        close_at in 0..20_usize,
    ) {
        let mut stream = Vec::new();
        for spoken in &spoken {
            speak_compressed(spoken, settings, &mut stream, &mut Vec::new());
        }
        let index = index.index(stream.len());
        stream[index] ^= flipped;
        for inflation in [Inflation::ByMessage, Inflation::WithTakeover] {
            check_chopping(inflation, &stream, &lengths);
            check_connection(inflation, &stream, &lengths, close_at);
        }
    }

    #[test]
    fn our_own_frames_are_found_at_any_offset(
        lengths in vec(prop_oneof![0..10_usize, 120..130_usize, 0..1000_usize], 0..8),
        offset in any::<prop::sample::Index>(),
    ) {
        let (mut frames, mut ends) = (Vec::new(), vec![0]);
        for length in lengths {
            encode_frame(&mut frames, Opcode::Binary, &vec![0x81; length]);
            ends.push(ends[ends.len() - 1] + encoded_size(length));
            assert_eq!(ends.last(), Some(&frames.len()));
        }
        let offset = offset.index(frames.len() + 1);
        let start = *ends.iter().rfind(|end| **end <= offset).unwrap();
        let end = *ends.iter().find(|end| **end >= offset).unwrap();
        assert_eq!(frame_around(&frames, offset), start..end);
    }

    #[test]
    fn a_frame_in_noise_lies_in_the_noise(
        noise in vec(any::<u8>(), 0..300),
        offset in 0..400_usize,
    ) {
        let frame = frame_around(&noise, offset);
        assert!(frame.start <= frame.end && frame.end <= noise.len());
    }

    #[test]
    fn messages_after_noise_are_chopped_alike(
        spoken in vec(spoken(), 0..3),
        noise in vec(any::<u8>(), 0..100),
        lengths in chops(),
        close_at in 0..20_usize,
    ) {
        let (mut stream, mut events) = (Vec::new(), Vec::new());
        for spoken in &spoken {
            speak(spoken, &mut stream, &mut events);
        }
        stream.extend(noise);
        check_chopping(Inflation::Off, &stream, &lengths);
        check_connection(Inflation::Off, &stream, &lengths, close_at);
        assert!(decode(&LIMITS, [stream.as_slice()]).events.starts_with(&events));
    }

    #[test]
    fn a_stream_with_one_byte_changed_is_chopped_alike(
        spoken in vec(spoken(), 1..5),
        index in any::<prop::sample::Index>(),
        flipped in 1..=u8::MAX,
        lengths in chops(),
        close_at in 0..20_usize,
    ) {
        let mut stream = Vec::new();
        for spoken in &spoken {
            speak(spoken, &mut stream, &mut Vec::new());
        }
        let index = index.index(stream.len());
        stream[index] ^= flipped;
        check_chopping(Inflation::Off, &stream, &lengths);
        check_connection(Inflation::Off, &stream, &lengths, close_at);
    }
}

proptest! {
    #![proptest_config(config(1000))]

    #[test]
    fn noise_is_chopped_alike(
        noise in vec(any::<u8>(), 0..200),
        lengths in chops(),
        close_at in 0..20_usize,
    ) {
        check_chopping(Inflation::Off, &noise, &lengths);
        check_connection(Inflation::Off, &noise, &lengths, close_at);
    }

    #[test]
    fn noise_with_likely_headers_is_chopped_alike(
        frames in vec((0..11_u8, any::<bool>(), 0..128_u8, vec(any::<u8>(), 0..20)), 0..8),
        lengths in chops(),
        close_at in 0..20_usize,
    ) {
        let mut noise = Vec::new();
        for (opcode, fin, length, bytes) in frames {
            noise.extend([u8::from(fin) << 7 | opcode, 0x80 | length]);
            noise.extend(bytes);
        }
        check_chopping(Inflation::Off, &noise, &lengths);
        check_connection(Inflation::Off, &noise, &lengths, close_at);
    }

    #[test]
    fn text_is_checked_as_the_standard_library_does(
        text in almost_utf8(),
        lengths in chops(),
    ) {
        check_utf8(&text, &lengths);
        check_utf8(&text, &[1]);
    }

    #[test]
    fn the_mask_is_that_of_a_loop_over_bytes(
        payload in vec(any::<u8>(), 0..200),
        key in any::<[u8; 4]>(),
        phase in any::<usize>(),
        lengths in chops(),
    ) {
        let phase = phase % 1000;
        let mask = |(index, byte): (usize, &u8)| byte ^ key[(index + phase) % 4];
        let expected: Vec<u8> = payload.iter().enumerate().map(mask).collect();
        let mut whole = payload.clone();
        apply_mask_from(&mut whole, key, phase);
        assert_eq!(&whole, &expected);
        let mut position = phase;
        let mut pieces = Vec::new();
        for piece in chop(&payload, &lengths) {
            let mut piece = piece.to_vec();
            apply_mask_from(&mut piece, key, position);
            position += piece.len();
            pieces.extend(piece);
        }
        assert_eq!(&pieces, &expected);
    }
}

#[test]
fn a_decoder_survives_every_pair_of_first_bytes() {
    for first in 0..=u8::MAX {
        for second in 0..=u8::MAX {
            let mut decoder = Decoder::new(Inflation::Off);
            let mut stream = [first, second, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14];
            let mut input = Input::new(&mut stream);
            while let Ok(Some(_)) = decoder.next(&LIMITS, &mut SharedInflater::new(), &mut input) {}
        }
    }
}
