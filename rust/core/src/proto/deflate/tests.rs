mod outbound;

use super::super::frame::server_frames;
use super::super::testing::{
    FIN, Outcome, RSV1, Seen, close, decode_compressed, deflated_with, frame, ping,
};
use super::super::{
    CloseFrame, Connection, Decoder, Input, Limits, Opcode, ProtocolError, Received, encode_frame,
};
use super::*;

const LIMITS: Limits = Limits { max_message_size: 100_000, max_fragments: 1000 };
const TEXT: u8 = Opcode::Text as u8;
const BINARY: u8 = Opcode::Binary as u8;
const MODES: [Inflation; 2] = [Inflation::ByMessage, Inflation::WithTakeover];

const FASTEST: DeflateSettings = DeflateSettings { level: 1, window_bits: 15, threshold: 0 };

/// A compressed message in one frame.
fn compressed(opcode: u8, payload: &[u8]) -> Vec<u8> {
    frame(FIN | RSV1 | opcode, payload)
}

/// A compressed message in frames of at most this size.
fn fragments(opcode: u8, payload: &[u8], size: usize) -> Vec<Vec<u8>> {
    let count = payload.chunks(size).count();
    let first = |index| if index == 0 { RSV1 | opcode } else { 0 };
    let fin = |index| if index + 1 == count { FIN } else { 0 };
    let chunks = payload.chunks(size).enumerate();
    chunks.map(|(index, chunk)| frame(first(index) | fin(index), chunk)).collect()
}

fn said(text: &str) -> Seen {
    Seen::Text(text.to_owned())
}

/// What a stream says in this mode; the same whole, in two halves anywhere near, and by the byte.
fn outcome(
    inflation: Inflation,
    limits: &Limits,
    stream: &[u8],
) -> (Vec<Seen>, Option<ProtocolError>) {
    let result = |outcome: Outcome| (outcome.events, outcome.error.map(|(error, _fed)| error));
    let whole = result(decode_compressed(inflation, limits, [stream]));
    if stream.len() < 5000 {
        let bytes = decode_compressed(inflation, limits, stream.chunks(1));
        assert_eq!(result(bytes), whole, "byte by byte");
    }
    for cut in (0..=stream.len()).step_by(stream.len() / 50 + 1) {
        let halves = decode_compressed(inflation, limits, [&stream[..cut], &stream[cut..]]);
        assert_eq!(result(halves), whole, "cut at {cut}");
    }
    whole
}

/// The payload of a message, compressed alone and fast.
fn deflated(message: &[u8]) -> Vec<u8> {
    deflated_with(FASTEST, message)
}

/// Our frames as a client would send them.
fn masked(frames: &[u8]) -> Vec<u8> {
    server_frames(frames).flat_map(|own| frame(own.bytes[0], own.payload)).collect()
}

/// Text that repeats itself, but not at once.
fn prose(length: usize, seed: usize) -> String {
    let words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"];
    let mut state = seed;
    let mut text = String::new();
    while text.len() < length {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(words[state >> 61]);
        text.push_str(&(state >> 50 & 0xFF).to_string());
    }
    text.truncate(length);
    text
}

/// Bytes that nothing compresses.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn the_examples_of_rfc_7692_section_7_2_3() {
    const HELLO: &[u8] = &[0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];
    let twice = |payload: &[u8]| [compressed(TEXT, HELLO), compressed(TEXT, payload)].concat();
    for inflation in MODES {
        for payload in [
            HELLO,
            // Without compression, in a last block, and in two blocks.
            &[0x00, 0x05, 0x00, 0xFA, 0xFF, 0x48, 0x65, 0x6C, 0x6C, 0x6F, 0x00],
            &[0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x00],
            &[0xF2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xCA, 0xC9, 0xC9, 0x07, 0x00],
        ] {
            let expected = (vec![said("Hello"), said("Hello")], None);
            assert_eq!(outcome(inflation, &LIMITS, &twice(payload)), expected, "{payload:02X?}");
        }
        let cut = [frame(RSV1 | TEXT, &HELLO[..3]), ping(b"?"), frame(FIN, &HELLO[3..])].concat();
        let expected = (vec![Seen::Ping(b"?".to_vec()), said("Hello")], None);
        assert_eq!(outcome(inflation, &LIMITS, &cut), expected);
    }
    // The second one refers to the first.
    let shared_window = twice(&[0xF2, 0x00, 0x11, 0x00, 0x00]);
    let expected = (vec![said("Hello"), said("Hello")], None);
    assert_eq!(outcome(Inflation::WithTakeover, &LIMITS, &shared_window), expected);
    let expected = (vec![said("Hello")], Some(ProtocolError::BadDeflate));
    assert_eq!(outcome(Inflation::ByMessage, &LIMITS, &shared_window), expected);
}

#[test]
fn last_blocks_may_come_anywhere_in_a_message() {
    const LAST_HELLO: &[u8] = &[0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00];
    for inflation in MODES {
        for (payload, text) in [
            // With the byte of the empty block that follows, and from a sender that forgot it.
            ([LAST_HELLO, &[0x00]].concat(), "Hello"),
            (LAST_HELLO.to_vec(), "Hello"),
            ([LAST_HELLO, LAST_HELLO, &[0x00]].concat(), "HelloHello"),
            ([&[0x03, 0x00].repeat(1000)[..], LAST_HELLO].concat(), "Hello"),
        ] {
            let stream = [compressed(TEXT, &payload), compressed(TEXT, &payload)].concat();
            let expected = (vec![said(text), said(text)], None);
            assert_eq!(outcome(inflation, &LIMITS, &stream), expected, "{payload:02X?}");
        }
    }
}

#[test]
fn empty_messages() {
    for inflation in MODES {
        // The byte of RFC 7692, section 7.2.3.6, and what some senders make of nothing.
        let stream = [
            compressed(TEXT, &[0x00]),
            compressed(BINARY, &[]),
            [frame(RSV1 | TEXT, &[]), frame(0, &[]), frame(FIN, &[])].concat(),
            compressed(TEXT, &[0x02, 0x00]),
        ];
        let empty = || said("");
        let expected = (vec![empty(), Seen::Binary(vec![]), empty(), empty()], None);
        assert_eq!(outcome(inflation, &LIMITS, &stream.concat()), expected);
    }
}

#[test]
fn compressed_and_plain_messages_alternate() {
    for inflation in MODES {
        let stream = [
            compressed(TEXT, &deflated(b"aaaaaaaaaaaaaaaaaaaaaaaa")),
            frame(FIN | TEXT, b"plain"),
            compressed(BINARY, &deflated(&vec![7; 50_000])),
            frame(TEXT, b"pl"),
            frame(FIN, b"ain"),
        ];
        let seen = vec![
            said("aaaaaaaaaaaaaaaaaaaaaaaa"),
            said("plain"),
            Seen::Binary(vec![7; 50_000]),
            said("plain"),
        ];
        assert_eq!(outcome(inflation, &LIMITS, &stream.concat()), (seen, None));
    }
}

#[test]
fn rsv1_means_something_at_the_beginning_of_a_message_only() {
    let reserved = |bits| Some(ProtocolError::ReservedBits { bits });
    let text = compressed(TEXT, &deflated(&[b'a'; 100]));
    assert_eq!(outcome(Inflation::Off, &LIMITS, &text), (vec![], reserved(0b100)));
    for inflation in MODES {
        let begun = frame(RSV1 | TEXT, &[0x02]);
        for (stream, bits) in [
            ([begun.clone(), frame(RSV1 | FIN, &[0])].concat(), 0b100),
            ([begun.clone(), frame(RSV1, &[0])].concat(), 0b100),
            (frame(FIN | RSV1 | Opcode::Ping as u8, b""), 0b100),
            (frame(FIN | RSV1 | Opcode::Pong as u8, b""), 0b100),
            (frame(FIN | RSV1 | Opcode::Close as u8, b""), 0b100),
            (frame(FIN | RSV1 | 3, b""), 0b100),
            (frame(FIN | 0x20 | TEXT, b""), 0b010),
            (frame(FIN | 0x10 | TEXT, b""), 0b001),
            (frame(FIN | 0x60 | TEXT, b""), 0b110),
            (frame(FIN | 0x70 | BINARY, b""), 0b111),
        ] {
            assert_eq!(outcome(inflation, &LIMITS, &stream), (vec![], reserved(bits)));
        }
    }
}

#[test]
fn what_is_not_deflate() {
    let good = deflated(prose(1000, 1).as_bytes());
    let cut = &good[..good.len() / 2];
    for inflation in MODES {
        for payload in [
            &[0x07][..],                                       // a type of block that there is not
            &[0x00, 0x05, 0x00, 0xFA, 0xFE, b'H'], // a length that is not its complement
            &[0x00, 0x09, 0x00, 0xF6, 0xFF, b'H', b'e', b'l'], // a stored block that is cut short
            &[0x62, 0x04, 0x42],                   // a distance beyond the beginning
            &[0x04, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], // bad code lengths
            &[0xFF; 20],
        ] {
            let expected = (vec![], Some(ProtocolError::BadDeflate));
            let stream = compressed(BINARY, payload);
            assert_eq!(outcome(inflation, &LIMITS, &stream), expected, "{payload:02X?}");
            let begun = [frame(RSV1 | BINARY, payload), frame(FIN, &[])].concat();
            assert_eq!(outcome(inflation, &LIMITS, &begun), expected, "{payload:02X?}");
        }
    }
    let expected = (vec![], Some(ProtocolError::BadDeflate));
    assert_eq!(outcome(Inflation::ByMessage, &LIMITS, &compressed(BINARY, cut)), expected);
}

#[test]
fn an_error_leaves_nothing_behind_in_the_shared_inflater() {
    let mut shared = SharedInflater::new();
    let good = compressed(TEXT, &deflated(&[b'a'; 100]));
    for bad in [
        compressed(TEXT, &[0x07]),
        compressed(TEXT, &[0x00, 0x09, 0x00, 0xF6, 0xFF, b'H']),
        compressed(TEXT, &deflated(&[0xFF; 100])),
        compressed(TEXT, &deflated(&vec![b'a'; LIMITS.max_message_size + 1])),
    ] {
        let mut next = |stream: &[u8]| {
            let mut stream = stream.to_vec();
            let mut input = Input::new(&mut stream);
            Decoder::new(Inflation::ByMessage).next(&LIMITS, &mut shared, &mut input)
        };
        assert!(next(&bad).is_err());
        assert!(next(&good).is_ok_and(|event| event.is_some()));
    }
}

#[test]
fn inflated_text_is_checked() {
    let long = prose(99_000, 2);
    let mut bad = long.clone().into_bytes();
    bad.push(0xC3);
    for inflation in MODES {
        for size in [77, 1000, usize::MAX] {
            let stream = fragments(TEXT, &deflated("ä€🐍".repeat(100).as_bytes()), size).concat();
            let expected = (vec![said(&"ä€🐍".repeat(100))], None);
            assert_eq!(outcome(inflation, &LIMITS, &stream), expected);
            let stream = fragments(TEXT, &deflated(&bad), size).concat();
            assert_eq!(
                outcome(inflation, &LIMITS, &stream),
                (vec![], Some(ProtocolError::InvalidUtf8))
            );
            let stream = fragments(BINARY, &deflated(&bad), size).concat();
            assert_eq!(
                outcome(inflation, &LIMITS, &stream),
                (vec![Seen::Binary(bad.clone())], None)
            );
        }
    }
}

#[test]
fn of_bad_text_and_too_much_of_it_the_first_counts() {
    let limit = LIMITS.max_message_size;
    let letters = vec![b'a'; limit];
    for (text, error) in [
        ([b"\xFF", &letters[..]].concat(), ProtocolError::InvalidUtf8),
        ([&letters[1..], b"\xFF", b"a"].concat(), ProtocolError::InvalidUtf8),
        ([&letters[..], b"\xFF"].concat(), ProtocolError::MessageTooBig { limit }),
    ] {
        let stream = compressed(TEXT, &deflated(&text));
        for inflation in MODES {
            assert_eq!(outcome(inflation, &LIMITS, &stream), (vec![], Some(error)));
        }
    }
}

#[test]
fn with_takeover_bad_text_fails_at_its_first_bad_byte() {
    // A stored block, so that the bad byte has a place in the stream.
    let begun = frame(RSV1 | TEXT, &[0x00, 0x05, 0x00, 0xFA, 0xFF, b'a', b'b', 0xFF, b'c', b'd']);
    let outcome = decode_compressed(Inflation::WithTakeover, &LIMITS, begun.chunks(1));
    assert_eq!(outcome.error, Some((ProtocolError::InvalidUtf8, begun.len() - 2)));
}

#[test]
fn a_compressed_text_that_is_cut_short_by_our_close_is_no_error() {
    // It has come up to the middle of a code point, and its rest is not looked into.
    let payload = [0x00, 0x02, 0x00, 0xFD, 0xFF, 0xC3, 0xA4, 0x00];
    let rest = [frame(FIN, &payload[6..]), ping(b""), close(b"")].concat();
    for inflation in MODES {
        let mut connection = Connection::new(inflation);
        let mut shared = SharedInflater::new();
        let mut receive = |connection: &mut Connection, bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            connection.receive(&LIMITS, &mut shared, &mut Input::new(&mut bytes))
        };
        assert_eq!(receive(&mut connection, &frame(RSV1 | TEXT, &payload[..6])), None);
        assert!(connection.close(CloseFrame::empty(), &mut Vec::new()));
        let answer = Some(Received::Close(CloseFrame::empty()));
        assert_eq!(receive(&mut connection, &rest), answer);
    }
}

// Limits

#[test]
fn a_message_may_be_as_large_as_the_limit_and_no_larger() {
    let limit = LIMITS.max_message_size;
    let error = ProtocolError::MessageTooBig { limit };
    for inflation in MODES {
        for size in [20, usize::MAX] {
            let stream = fragments(BINARY, &deflated(&vec![0; limit]), size).concat();
            let expected = (vec![Seen::Binary(vec![0; limit])], None);
            assert_eq!(outcome(inflation, &LIMITS, &stream), expected);
            let stream = fragments(BINARY, &deflated(&vec![0; limit + 1]), size).concat();
            assert_eq!(outcome(inflation, &LIMITS, &stream), (vec![], Some(error)));
        }
        // What cannot be compressed is longer on the wire than the limit.
        let stored: Vec<u8> = noise(limit)
            .chunks(10_000)
            .flat_map(|chunk| [&[0x00, 0x10, 0x27, 0xEF, 0xD8], chunk].concat())
            .chain([0])
            .collect();
        assert!(stored.len() > limit);
        let expected = (vec![Seen::Binary(noise(limit))], None);
        assert_eq!(outcome(inflation, &LIMITS, &compressed(BINARY, &stored)), expected);
    }
}

#[test]
fn a_header_that_no_honest_sender_needs_is_refused_at_once() {
    let limit = LIMITS.max_message_size;
    let error = Some((ProtocolError::MessageTooBig { limit }, 10));
    for length in [compressed_limit(limit) as u64 + 1, 1 << 36, u64::MAX >> 1] {
        let header = super::super::testing::header(FIN | RSV1 | BINARY, length);
        for inflation in MODES {
            let outcome = decode_compressed(inflation, &LIMITS, header.chunks(1));
            assert_eq!(outcome.error, error, "{length}");
        }
    }
    assert_eq!(compressed_limit(usize::MAX), usize::MAX);
}

#[test]
fn a_bomb_is_refused_in_the_fragment_that_goes_too_far() {
    // A thousand to one.
    let settings = DeflateSettings { level: 9, ..FASTEST };
    let bomb = deflated_with(settings, &vec![0; 100_000_000]);
    assert!(bomb.len() < 100_000, "{}", bomb.len());
    let limit = LIMITS.max_message_size;
    let error = Some(ProtocolError::MessageTooBig { limit });
    for inflation in MODES {
        let stream = fragments(BINARY, &bomb, 1000);
        let outcome = decode_compressed(inflation, &LIMITS, stream.iter().map(Vec::as_slice));
        let (fed, error_found) = outcome.error.map(|(error, fed)| (fed, error)).unzip();
        assert_eq!((outcome.events, error_found), (vec![], error));
        // With takeover as soon as the limit is passed, else when enough has been gathered.
        let most = if inflation == Inflation::WithTakeover { 3000 } else { 51_000 };
        assert!(fed.is_some_and(|fed| fed < most), "{fed:?} in {inflation:?}");
    }
}

#[test]
fn a_message_in_parts_takes_little_memory_before_it_has_come() {
    let begun = frame(RSV1 | TEXT, &[0xF2]);
    let heap = |inflation, stream: &[u8]| {
        let mut decoder = Decoder::new(inflation);
        let mut bytes = stream.to_vec();
        let mut input = Input::new(&mut bytes);
        let event = decoder.next(&LIMITS, &mut SharedInflater::new(), &mut input);
        assert!(event.is_ok());
        (decoder.capacity(), decoder.has_inflater())
    };
    assert!(heap(Inflation::ByMessage, &begun).0 <= 16);
    assert!(!heap(Inflation::ByMessage, &begun).1);
    // Between two messages nothing is kept, or the history.
    let message = compressed(TEXT, &deflated(&[b'a'; 5000]));
    assert_eq!(heap(Inflation::ByMessage, &message), (0, false));
    assert_eq!(heap(Inflation::WithTakeover, &message), (0, true));
    assert_eq!(heap(Inflation::WithTakeover, &frame(FIN | TEXT, b"plain")), (0, false));
}
