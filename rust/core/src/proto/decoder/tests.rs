mod headers;
mod text;

use super::super::testing::{
    End, FIN, KEY, Outcome, Seen, binary, binary_begin, bytes, check, close, decode, frame, header,
    last, more, ping, pong, text, text_begin,
};
use super::super::{CloseCode, MAX_CONTROL_PAYLOAD, apply_mask};
use super::*;

const LIMITS: Limits = Limits { max_message_size: 100_000, max_fragments: 1000 };

fn said(text: &str) -> Seen {
    Seen::Text(text.to_owned())
}

fn sent(bytes: &[u8]) -> Seen {
    Seen::Binary(bytes.to_vec())
}

fn closed(code: CloseCode, reason: &str) -> Seen {
    Seen::Close(CloseFrame::new(code, reason).unwrap())
}

/// Bytes that differ from their neighbours, so that a shifted mask or range shows.
fn pattern(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}

// Sizes

#[test]
fn an_idle_decoder_is_small_and_owns_no_heap() {
    assert!(size_of::<Decoder>() <= 64, "{} bytes", size_of::<Decoder>());
    assert!(size_of::<Event>() <= 32, "{} bytes", size_of::<Event>());
    assert_eq!(Decoder::new(Inflation::Off).capacity(), 0);
}

#[test]
fn messages_of_every_length_class() {
    for length in [0, 1, 2, 3, 4, 7, 8, 31, 32, 33, 124, 125, 126, 127, 128, 65535, 65536, 65537] {
        let payload = pattern(length);
        let name = format!("{length} bytes");
        check(&LIMITS, &name, &binary(&payload), &[sent(&payload)], End::Frame);
        let letters = "*".repeat(length);
        check(&LIMITS, &name, &text(letters.as_bytes()), &[said(&letters)], End::Frame);
    }
}

#[test]
fn several_frames_in_one_read() {
    let stream =
        [text(b"one"), binary(b"two"), ping(b"3"), pong(b""), text("vier \u{1F40C}".as_bytes())];
    let events = [
        said("one"),
        sent(b"two"),
        Seen::Ping(b"3".to_vec()),
        Seen::Pong(vec![]),
        said("vier \u{1F40C}"),
    ];
    check(&LIMITS, "five frames", &stream.concat(), &events, End::Frame);
}

#[test]
fn the_examples_of_rfc_6455_section_5_7() {
    let hello = [0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58];
    check(&LIMITS, "single masked text", &hello, &[said("Hello")], End::Frame);
    let pong = [0x8A, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58];
    check(&LIMITS, "masked pong", &pong, &[Seen::Pong(b"Hello".to_vec())], End::Frame);
}

#[test]
fn an_unfinished_frame_is_no_event() {
    for stream in [text(b"Hello"), binary(&pattern(200)), binary(&pattern(70_000)), ping(b"12345")]
    {
        for length in [0, 1, 2, 3, 5, 6, 7, 9, 13, stream.len() - 1] {
            let stream = &stream[..length.min(stream.len() - 1)];
            check(&LIMITS, "unfinished", stream, &[], End::Inside);
        }
    }
}

#[test]
fn a_frame_that_is_whole_in_the_input_stays_there() {
    let before = ping(b"before");
    let mut stream = [before.clone(), text(b"Hello"), binary(b"")].concat();
    let length = stream.len();
    let mut decoder = Decoder::new(Inflation::Off);
    let mut input = Input::new(&mut stream);
    assert_eq!((input.position(), input.remaining()), (0, length));
    let mut next = || decoder.next(&LIMITS, &mut SharedInflater::new(), &mut input).unwrap();
    assert_eq!(next(), Some(Event::Ping(Payload::InPlace(6..12))));
    assert_eq!(next(), Some(Event::Text(Payload::InPlace(18..23))));
    assert_eq!(next(), Some(Event::Binary(Payload::InPlace(29..29))));
    assert_eq!(next(), None);
    assert_eq!((input.position(), input.remaining()), (length, 0));
    assert_eq!(&stream[18..23], b"Hello");
}

#[test]
fn only_the_payload_must_be_whole_to_stay_in_the_input() {
    let mut stream = text(b"Hello");
    for cut in 1..6 {
        let (head, tail) = stream.split_at_mut(cut);
        let mut decoder = Decoder::new(Inflation::Off);
        assert_eq!(
            decoder.next(&LIMITS, &mut SharedInflater::new(), &mut Input::new(&mut head.to_vec())),
            Ok(None)
        );
        let mut tail = tail.to_vec();
        let event = decoder
            .next(&LIMITS, &mut SharedInflater::new(), &mut Input::new(&mut tail))
            .unwrap()
            .unwrap();
        let range = 6 - cut..11 - cut;
        assert_eq!(event, Event::Text(Payload::InPlace(range.clone())));
        assert_eq!(&tail[range], b"Hello");
    }
}

#[test]
fn an_empty_input_says_nothing() {
    let mut decoder = Decoder::new(Inflation::Off);
    for piece in [&[][..], &text(b"Hello")[..4], &[], &text(b"Hello")[4..8], &[]] {
        assert_eq!(
            decoder.next(&LIMITS, &mut SharedInflater::new(), &mut Input::new(&mut piece.to_vec())),
            Ok(None)
        );
    }
    let event = decoder
        .next(&LIMITS, &mut SharedInflater::new(), &mut Input::new(&mut text(b"Hello")[8..]))
        .unwrap();
    assert_eq!(event, Some(Event::Text(Payload::Assembled(b"Hello".to_vec()))));
}

// Fragments

#[test]
fn fragments_make_a_message() {
    for (stream, event) in [
        (vec![text_begin(b"Hel"), last(b"lo")], said("Hello")),
        (vec![binary_begin(b"Hel"), last(b"lo")], sent(b"Hello")),
        (vec![text_begin(b""), last(b"")], said("")),
        (vec![text_begin(b""), more(b""), last(b"")], said("")),
        (vec![text_begin(b""), more(b"Hello"), last(b"")], said("Hello")),
        (vec![binary_begin(b"H"), more(b"el"), more(b""), more(b"l"), last(b"o")], sent(b"Hello")),
    ] {
        check(&LIMITS, "fragments", &stream.concat(), &[event], End::Frame);
    }
}

#[test]
fn one_message_after_the_other() {
    let stream = [text_begin(b"a"), last(b"b"), text(b"c"), binary_begin(b"d"), last(b"e")];
    check(&LIMITS, "three", &stream.concat(), &[said("ab"), said("c"), sent(b"de")], End::Frame);
}

#[test]
fn control_frames_come_out_between_fragments() {
    let stream = [
        text_begin(b"Hel"),
        ping(b"one"),
        more(b"l"),
        pong(b""),
        ping(&[0xFF; 125]),
        last(b"o"),
        ping(b"end"),
    ];
    let events = [
        Seen::Ping(b"one".to_vec()),
        Seen::Pong(vec![]),
        Seen::Ping(vec![0xFF; 125]),
        said("Hello"),
        Seen::Ping(b"end".to_vec()),
    ];
    check(&LIMITS, "interleaved", &stream.concat(), &events, End::Frame);
}

#[test]
fn a_close_may_come_between_fragments() {
    let stream = [text_begin(b"Hel"), close(b"\x03\xE8")].concat();
    check(&LIMITS, "close", &stream, &[closed(CloseCode::NORMAL, "")], End::Close);
}

#[test]
fn a_continuation_needs_a_message() {
    let error = ProtocolError::UnexpectedContinuation;
    check(&LIMITS, "fin", &last(b"Hello"), &[], End::Error(error, 1));
    check(&LIMITS, "not fin", &more(b"Hello"), &[], End::Error(error, 1));
    let stream = [text(b"a"), last(b"b")].concat();
    check(&LIMITS, "after a message", &stream, &[said("a")], End::Error(error, 8));
    let stream = [text_begin(b"a"), last(b"b"), more(b"c")].concat();
    check(&LIMITS, "after fragments", &stream, &[said("ab")], End::Error(error, 15));
}

#[test]
fn a_message_must_end_before_the_next_one() {
    for (next, opcode) in [
        (text(b"b"), Opcode::Text),
        (binary(b"b"), Opcode::Binary),
        (text_begin(b"b"), Opcode::Text),
        (binary_begin(b"b"), Opcode::Binary),
    ] {
        let error = ProtocolError::ExpectedContinuation { opcode };
        for first in [text_begin(b"a"), binary_begin(b"a")] {
            let stream = [first.clone(), next.clone()].concat();
            check(&LIMITS, "inside fragments", &stream, &[], End::Error(error, 8));
            let stream = [first, ping(b""), more(b""), next.clone()].concat();
            check(&LIMITS, "later", &stream, &[Seen::Ping(vec![])], End::Error(error, 20));
        }
    }
}

#[test]
fn fragments_are_counted_empty_ones_included() {
    let limits = Limits { max_fragments: 3, ..LIMITS };
    let stream = [text_begin(b"a"), more(b""), last(b"b")].concat();
    check(&limits, "three", &stream, &[said("ab")], End::Frame);
    let twice = [stream.clone(), stream].concat();
    check(&limits, "counted anew", &twice, &[said("ab"), said("ab")], End::Frame);
    let error = ProtocolError::TooManyFragments { limit: 3 };
    let stream = [binary_begin(b""), more(b""), ping(b""), more(b""), last(b"")].concat();
    check(&limits, "four", &stream, &[Seen::Ping(vec![])], End::Error(error, 25));
}

#[test]
fn a_message_in_one_frame_is_always_allowed() {
    for max_fragments in [0, 1] {
        let limits = Limits { max_fragments, ..LIMITS };
        check(&limits, "single", &text(b"Hello"), &[said("Hello")], End::Frame);
        let error = ProtocolError::TooManyFragments { limit: max_fragments };
        let stream = [text_begin(b"a"), last(b"b")].concat();
        check(&limits, "two", &stream, &[], End::Error(error, 8));
    }
}

#[test]
fn a_million_empty_fragments_are_refused_with_bounded_memory() {
    let limits = Limits::default();
    let mut decoder = Decoder::new(Inflation::Off);
    let mut frames = text_begin(b"");
    let mut count = 0;
    for _ in 0..1_000_000 {
        count += 1;
        let result =
            decoder.next(&limits, &mut SharedInflater::new(), &mut Input::new(&mut frames));
        assert_eq!(decoder.capacity(), 0);
        if let Err(error) = result {
            assert_eq!(error, ProtocolError::TooManyFragments { limit: 131_072 });
            assert_eq!(error.close_code(), CloseCode::POLICY_VIOLATION);
            assert_eq!(count, 131_073);
            return;
        }
        frames = more(b"");
    }
    panic!("a million fragments were accepted");
}

#[test]
fn memory_follows_what_has_come_and_ends_at_the_known_size() {
    let payload = pattern(50_000);
    for piece in [1, 2, 3, 1000, 4096, 49_999] {
        let mut decoder = Decoder::new(Inflation::Off);
        let mut fed = 0;
        let mut done = None;
        for bytes in binary(&payload).chunks(piece) {
            fed += bytes.len();
            done = decoder
                .next(&LIMITS, &mut SharedInflater::new(), &mut Input::new(&mut bytes.to_vec()))
                .unwrap();
            let times = if fed < payload.len() / 8 { 2 } else { 8 };
            assert!(decoder.capacity() <= times * fed);
            assert!(decoder.capacity() <= payload.len(), "the size of a fin frame is known");
        }
        let Some(Event::Binary(Payload::Assembled(bytes))) = done else { panic!("{done:?}") };
        assert_eq!(bytes, payload);
        assert_eq!(bytes.capacity(), payload.len());
        assert_eq!(decoder.capacity(), 0, "nothing is kept between messages");
    }
}

// CLOSE

#[test]
fn close_frames() {
    let long = "x".repeat(123);
    let longest = [b"\x03\xE8", long.as_bytes()].concat();
    for (payload, event) in [
        (&b""[..], Seen::Close(CloseFrame::empty())),
        (b"\x03\xE8", closed(CloseCode::NORMAL, "")),
        (b"\x0F\xA1bye", closed(CloseCode::new(4001).unwrap(), "bye")),
        (b"\x03\xE9\xC3\xA4", closed(CloseCode::GOING_AWAY, "ä")),
        (&longest, closed(CloseCode::NORMAL, &long)),
    ] {
        check(&LIMITS, "close", &close(payload), &[event], End::Close);
    }
}

#[test]
fn bad_close_frames_fail_when_they_are_whole() {
    for (payload, error) in [
        (&b"\x03"[..], ProtocolError::BadCloseBody { length: 1 }),
        (b"\x00\x00", ProtocolError::BadCloseCode { code: 0 }),
        (b"\x03\xED", ProtocolError::BadCloseCode { code: 1005 }),
        (b"\xFF\xFFbye", ProtocolError::BadCloseCode { code: 65535 }),
        (b"\x03\xE8\xFF", ProtocolError::InvalidUtf8),
        (b"\x03\xE8ok\xE2\x82", ProtocolError::InvalidUtf8),
    ] {
        let stream = close(payload);
        check(&LIMITS, "bad close", &stream, &[], End::Error(error, stream.len()));
    }
}

// Robustness

#[test]
fn going_on_after_an_error_does_not_panic() {
    let good = [text(b"Hello"), text_begin(b"a"), last(b"b"), ping(b"p"), close(b"")].concat();
    for bad in [text(b"\xFF"), last(b""), vec![0xFF; 20], close(b"1"), header(0x82, u64::MAX)] {
        let mut decoder = Decoder::new(Inflation::Off);
        for byte in [bad, good.clone()].concat() {
            // Whatever it says has no meaning; it must only return.
            let _ = decoder.next(&LIMITS, &mut SharedInflater::new(), &mut Input::new(&mut [byte]));
        }
    }
}

#[test]
fn discarded_messages_take_no_memory_but_are_checked() {
    let mut decoder = Decoder::new(Inflation::Off);
    let mut begin = vec![b'a'; 5000];
    apply_mask(&mut begin, KEY);
    let mut stream = [header(0x01, 90_000), begin].concat();
    assert_eq!(
        decoder.next(&LIMITS, &mut SharedInflater::new(), &mut Input::new(&mut stream)),
        Ok(None)
    );
    assert!(decoder.capacity() >= 5000);
    decoder.discard_message();
    assert_eq!(decoder.capacity(), 0);
    let mut rest = vec![b'a'; 85_000];
    apply_mask(&mut rest, KEY);
    assert_eq!(
        decoder.skip_to_close(&LIMITS, &mut SharedInflater::new(), &mut Input::new(&mut rest)),
        Ok(None)
    );
    assert_eq!(decoder.capacity(), 0);
    // 90,000 bytes are announced already: discarded or not, they count.
    let result = decoder.skip_to_close(
        &LIMITS,
        &mut SharedInflater::new(),
        &mut Input::new(&mut header(0x80, 10_001)),
    );
    assert_eq!(result, Err(ProtocolError::MessageTooBig { limit: 100_000 }));
}

#[test]
fn skipping_goes_on_to_the_close_frame_over_everything_else() {
    let mut stream =
        [text(b"a"), text_begin(b"b"), ping(b"c"), last(b"d"), binary(b"e"), close(b"")].concat();
    let mut decoder = Decoder::new(Inflation::Off);
    let mut input = Input::new(&mut stream);
    let frame = decoder.skip_to_close(&LIMITS, &mut SharedInflater::new(), &mut input);
    assert_eq!(frame, Ok(Some(CloseFrame::empty())));
    assert_eq!(input.remaining(), 0);
}

#[test]
fn the_helper_sees_what_it_should() {
    let outcome = decode(&LIMITS, [&text(b"a")[..], &[0xFF, 0, 0]]);
    let error = Some((ProtocolError::ReservedBits { bits: 7 }, 10));
    assert_eq!(outcome, Outcome { events: vec![said("a")], error });
    assert_eq!(bytes(Payload::InPlace(1..3), b"abcd"), b"bc");
    assert_eq!(bytes(Payload::Assembled(b"abc".to_vec()), b""), b"abc");
}
