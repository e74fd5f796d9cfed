//! UTF-8 in text messages.

use super::*;

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
