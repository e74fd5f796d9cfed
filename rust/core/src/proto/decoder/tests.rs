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

// Headers

#[test]
fn reserved_bits_are_refused_at_the_first_byte() {
    for bits in 1..8 {
        for opcode in 0..16 {
            let error = ProtocolError::ReservedBits { bits };
            let stream = frame(FIN | bits << 4 | opcode, b"Hello");
            check(&LIMITS, "reserved bits", &stream, &[], End::Error(error, 1));
        }
    }
}

#[test]
fn unknown_opcodes_are_refused_at_the_first_byte() {
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        let error = ProtocolError::UnknownOpcode { opcode };
        for fin in [0, FIN] {
            let stream = frame(fin | opcode, b"Hello");
            check(&LIMITS, "unknown opcode", &stream, &[], End::Error(error, 1));
        }
        let stream = [text(b"before"), frame(FIN | opcode, b"")].concat();
        check(&LIMITS, "unknown opcode", &stream, &[said("before")], End::Error(error, 13));
    }
}

#[test]
fn unmasked_frames_are_refused_at_the_second_byte() {
    for opcode in [1, 2, 8, 9, 10] {
        let end = End::Error(ProtocolError::NotMasked, 2);
        check(&LIMITS, "unmasked", &[FIN | opcode, 5, 1, 2, 3, 4, 5], &[], end);
        check(&LIMITS, "unmasked", &[FIN | opcode, 0], &[], end);
        check(&LIMITS, "unmasked", &[FIN | opcode, 126, 0, 200], &[], end);
    }
}

#[test]
fn control_frames_must_not_be_fragmented() {
    for opcode in [8, 9, 10] {
        let end = End::Error(ProtocolError::FragmentedControl, 1);
        check(&LIMITS, "fragmented control", &frame(opcode, b"Hello"), &[], end);
        let stream = [text_begin(b"a"), frame(opcode, b"")].concat();
        let end = End::Error(ProtocolError::FragmentedControl, 8);
        check(&LIMITS, "fragmented control in a message", &stream, &[], end);
    }
}

#[test]
fn control_frames_hold_at_most_125_bytes() {
    let most = pattern(MAX_CONTROL_PAYLOAD);
    check(&LIMITS, "ping", &ping(&most), &[Seen::Ping(most.clone())], End::Frame);
    check(&LIMITS, "pong", &pong(&most), &[Seen::Pong(most.clone())], End::Frame);
    for opcode in [8, 9, 10] {
        let end = End::Error(ProtocolError::ControlTooLong { length: 126 }, 2);
        check(&LIMITS, "126 bytes", &frame(FIN | opcode, &pattern(126)), &[], end);
        let end = End::Error(ProtocolError::ControlTooLong { length: 127 }, 2);
        check(&LIMITS, "64 KiB", &frame(FIN | opcode, &pattern(65536)), &[], end);
    }
}

#[test]
fn control_frames_do_not_count_against_the_message_size() {
    let limits = Limits { max_message_size: 3, ..LIMITS };
    let stream = [text_begin(b"abc"), ping(b"12345"), last(b"")].concat();
    let events = [Seen::Ping(b"12345".to_vec()), said("abc")];
    check(&limits, "ping", &stream, &events, End::Frame);
}

#[test]
fn lengths_must_be_minimal() {
    for (extended, at) in [
        (&[126, 0, 0][..], 4),
        (&[126, 0, 125], 4),
        (&[127, 0, 0, 0, 0, 0, 0, 0, 0], 10),
        (&[127, 0, 0, 0, 0, 0, 0, 0, 126], 10),
        (&[127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF], 10),
    ] {
        let mut stream = vec![0x82];
        stream.extend_from_slice(extended);
        stream[1] |= 0x80;
        stream.extend_from_slice(&KEY);
        let end = End::Error(ProtocolError::LengthNotMinimal, at);
        check(&LIMITS, "not minimal", &stream, &[], end);
    }
}

#[test]
fn huge_lengths_are_refused_before_the_mask_key_and_allocate_nothing() {
    let too_big = ProtocolError::MessageTooBig { limit: LIMITS.max_message_size };
    for (length, error) in [
        (100_001, too_big),
        ((1 << 31) - 1, too_big),
        (1 << 31, too_big),
        ((1 << 32) - 1, too_big),
        (1 << 32, too_big),
        ((1 << 32) + 1, too_big),
        (1 << 36, too_big),
        ((1 << 63) - 1, too_big),
        (1 << 63, ProtocolError::LengthTooLong),
        (u64::MAX, ProtocolError::LengthTooLong),
    ] {
        let name = format!("{length:#x}");
        check(&LIMITS, &name, &header(0x82, length), &[], End::Error(error, 10));
        // The sum with what has come already must not wrap around.
        let stream = [binary_begin(b"abc"), header(0x80, length)].concat();
        check(&LIMITS, &name, &stream, &[], End::Error(error, 19));

        let mut decoder = Decoder::new(Inflation::Off);
        assert_eq!(
            decoder.next(
                &LIMITS,
                &mut SharedInflater::new(),
                &mut Input::new(&mut header(0x82, length))
            ),
            Err(error)
        );
        assert_eq!(decoder.capacity(), 0);
    }
}

#[test]
fn any_length_is_accepted_without_limits_but_costs_nothing_before_it_comes() {
    let limits = Limits { max_message_size: usize::MAX, max_fragments: u32::MAX };
    let mut decoder = Decoder::new(Inflation::Off);
    let stream = header(0x02, usize::MAX as u64 >> 1);
    check(&limits, "no limit", &stream, &[], End::Inside);
    assert_eq!(
        decoder.next(&limits, &mut SharedInflater::new(), &mut Input::new(&mut stream.clone())),
        Ok(None)
    );
    assert_eq!(
        decoder.next(&limits, &mut SharedInflater::new(), &mut Input::new(&mut [0; 100])),
        Ok(None)
    );
    assert!(decoder.capacity() <= 200);
}

#[test]
fn the_message_size_counts_over_all_fragments() {
    let limits = Limits { max_message_size: 10, ..LIMITS };
    let error = ProtocolError::MessageTooBig { limit: 10 };
    let ten = [text(b"0123456789"), text(b"0123456789")].concat();
    check(&limits, "10", &ten, &[said("0123456789"), said("0123456789")], End::Frame);
    check(&limits, "11", &text(b"0123456789a"), &[], End::Error(error, 2));
    let stream = [text_begin(b"01234"), more(b""), last(b"56789")].concat();
    check(&limits, "5 + 0 + 5", &stream, &[said("0123456789")], End::Frame);
    let stream = [text_begin(b"01234"), more(b"56789"), last(b"a")].concat();
    check(&limits, "5 + 5 + 1", &stream, &[], End::Error(error, 24));
    let limits = Limits { max_message_size: 0, ..LIMITS };
    check(&limits, "0", &text(b""), &[said("")], End::Frame);
    let error = ProtocolError::MessageTooBig { limit: 0 };
    check(&limits, "1", &binary(b"a"), &[], End::Error(error, 2));
}

#[test]
fn what_is_wrong_first_is_reported() {
    for (first, second, error, at) in [
        (0xF3, 0x00, ProtocolError::ReservedBits { bits: 7 }, 1),
        (0x0B, 0x00, ProtocolError::UnknownOpcode { opcode: 11 }, 1),
        (0x09, 0x7F, ProtocolError::FragmentedControl, 1),
        (0x89, 0x7F, ProtocolError::NotMasked, 2),
        (0x80, 0x7F, ProtocolError::UnexpectedContinuation, 1),
    ] {
        check(&LIMITS, "first wrong", &[first, second, 0, 0], &[], End::Error(error, at));
    }
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
            assert!(decoder.capacity() <= 2 * fed);
            assert!(decoder.capacity() <= payload.len(), "the size of a fin frame is known");
        }
        let Some(Event::Binary(Payload::Assembled(bytes))) = done else { panic!("{done:?}") };
        assert_eq!(bytes, payload);
        assert_eq!(bytes.capacity(), payload.len());
        assert_eq!(decoder.capacity(), 0, "nothing is kept between messages");
    }
}

// UTF-8

/// Text messages that fail, with the length of what proves it.
const BAD_TEXTS: &[(&[u8], usize)] = &[
    (b"\x80", 1),
    (b"ok\xBF", 3),
    (b"\xC0\x80", 1),
    (b"\xC1\xBF", 1),
    (b"\xC3A", 2),
    (b"\xE0\x80\x80", 2),
    (b"\xE0\x9F\xBF", 2),
    (b"\xED\xA0\x80", 2),
    (b"\xED\xBF\xBF", 2),
    (b"\xEF\xBFA", 3),
    (b"\xF0\x80\x80\x80", 2),
    (b"\xF0\x8F\xBF\xBF", 2),
    (b"\xF4\x90\x80\x80", 2),
    (b"\xF5\x80\x80\x80", 1),
    (b"\xF0\x9F\x90\xC0", 4),
    (b"\xFE", 1),
    (b"\xFF", 1),
    // Autobahn 6.3.1: two surrogates in the middle of a text.
    (b"\xCE\xBA\xE1\xBD\xB9\xCF\x83\xCE\xBC\xCE\xB5\xED\xA0\x80edited", 13),
    // More than one vector register of good text before it.
    (b"0123456789012345678901234567890123456789012345678901234567890123456789\xC0.", 71),
];

#[test]
fn bad_text_fails_at_its_first_bad_byte() {
    for (payload, at) in BAD_TEXTS {
        let name = payload.escape_ascii().to_string();
        let error = |header| End::Error(ProtocolError::InvalidUtf8, header + at);
        check(&LIMITS, &name, &text(payload), &[], error(6));
        check(&LIMITS, &name, &text_begin(payload), &[], error(6));
        let stream = [text_begin(b"good"), last(payload)].concat();
        check(&LIMITS, &name, &stream, &[], error(16));
        // The rest of the frame need not come, nor the end of the message.
        let unfinished = [header(0x01, 50_000), text(payload)[6..].to_vec()].concat();
        check(&LIMITS, &name, &unfinished, &[], error(8));
    }
}

#[test]
fn bad_text_fails_at_the_same_byte_when_every_byte_is_a_fragment() {
    for (payload, at) in BAD_TEXTS {
        let mut stream = text_begin(b"");
        for byte in *payload {
            stream.extend(more(&[*byte]));
        }
        let end = End::Error(ProtocolError::InvalidUtf8, 6 + 7 * at);
        check(&LIMITS, &payload.escape_ascii().to_string(), &stream, &[], end);
    }
}

#[test]
fn good_text_may_be_cut_inside_its_code_points() {
    let good = "\u{7F}\u{80}\u{7FF}\u{800}\u{D7FF}\u{E000}\u{FFFD}\u{FFFF}\u{10000}\u{10FFFF}\0";
    check(&LIMITS, "whole", &text(good.as_bytes()), &[said(good)], End::Frame);
    let mut stream = text_begin(b"");
    for byte in good.bytes() {
        stream.extend(more(&[byte]));
        stream.extend(ping(b"\xFF"));
    }
    stream.extend(last(b""));
    let mut events = vec![Seen::Ping(vec![0xFF]); good.len()];
    events.push(said(good));
    check(&LIMITS, "bytes as fragments", &stream, &events, End::Frame);
}

#[test]
fn text_must_not_end_inside_a_code_point() {
    for payload in [&b"\xC3"[..], b"a\xE2\x82", b"\xF0\x9F\x90", b"\xF4\x8F"] {
        let end = |length| End::Error(ProtocolError::InvalidUtf8, length);
        let stream = text(payload);
        check(&LIMITS, "one frame", &stream, &[], end(stream.len()));
        let stream = [text_begin(payload), last(b"")].concat();
        // The empty last frame proves it, once its header is whole.
        check(&LIMITS, "two frames", &stream, &[], end(stream.len()));
    }
}

#[test]
fn binary_messages_may_hold_anything() {
    for (payload, _) in BAD_TEXTS {
        check(&LIMITS, "binary", &binary(payload), &[sent(payload)], End::Frame);
        let stream = [binary_begin(payload), last(payload)].concat();
        check(&LIMITS, "fragments", &stream, &[sent(&payload.repeat(2))], End::Frame);
    }
}

#[test]
fn messages_before_an_error_come_out_first() {
    let stream = [text(b"one"), ping(b"two"), text(b"\xFF")].concat();
    let events = [said("one"), Seen::Ping(b"two".to_vec())];
    let end = End::Error(ProtocolError::InvalidUtf8, stream.len());
    check(&LIMITS, "error", &stream, &events, end);
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
