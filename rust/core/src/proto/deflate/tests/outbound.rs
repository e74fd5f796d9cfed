//! What goes out.

use super::*;

/// All that is sent comes back, whoever reads it.
fn check_round_trip(settings: DeflateSettings, takeover: bool, messages: &[Vec<u8>]) -> usize {
    let mut shared = SharedDeflaters::new();
    let mut outbound = OutboundDeflate::new(settings, takeover);
    let mut out = Vec::new();
    for message in messages {
        let mut frames = Vec::new();
        encode_frame(&mut frames, Opcode::Binary, message);
        outbound.compress(&frames, &mut shared, &mut out);
    }
    let inflation = if takeover { Inflation::WithTakeover } else { Inflation::ByMessage };
    let limits = Limits { max_message_size: 1 << 20, ..LIMITS };
    let outcome = decode_compressed(inflation, &limits, [masked(&out).as_slice()]);
    assert_eq!(outcome.error, None);
    let expected: Vec<_> = messages.iter().cloned().map(Seen::Binary).collect();
    assert!(outcome.events == expected, "not what was sent, {settings:?}, {takeover}");
    out.len()
}

#[test]
fn messages_of_all_kinds_with_every_level_and_window() {
    let messages: Vec<Vec<u8>> = [0, 1, 2, 100, 1000, 33_000, 100_000]
        .into_iter()
        .flat_map(|length| [prose(length, length).into_bytes(), vec![0; length], noise(length)])
        .collect();
    for level in 1..=9 {
        for window_bits in MIN_WINDOW_BITS..=MAX_WINDOW_BITS {
            let settings = DeflateSettings { level, window_bits, threshold: 0 };
            for takeover in [false, true] {
                check_round_trip(settings, takeover, &messages);
            }
        }
    }
}

#[test]
fn a_message_is_compressed_from_the_threshold_on_if_that_makes_it_shorter() {
    let settings = DeflateSettings { threshold: 100, ..FASTEST };
    for takeover in [false, true] {
        let is_compressed = |message: &[u8]| {
            let mut frames = Vec::new();
            encode_frame(&mut frames, Opcode::Text, message);
            let mut outbound = OutboundDeflate::new(settings, takeover);
            let mut out = Vec::new();
            outbound.compress(&frames, &mut SharedDeflaters::new(), &mut out);
            let compressed = out[0] & RSV1 != 0;
            assert!(compressed || out == frames, "neither compressed nor as it was");
            compressed
        };
        assert!(!is_compressed(&[b'a'; 99]));
        assert!(is_compressed(&[b'a'; 100]));
        // With takeover it has become part of the history.
        assert_eq!(is_compressed(&noise(1000)), takeover);
        assert!(!is_compressed(&[]));
    }
}

#[test]
fn control_frames_pass_as_they_are() {
    let mut frames = Vec::new();
    for opcode in [Opcode::Ping, Opcode::Pong, Opcode::Close] {
        encode_frame(&mut frames, opcode, &[0x0F; 100]);
    }
    let mut out = Vec::new();
    assert!(!SharedDeflaters::new().compress(&frames, FASTEST, &mut out));
    assert_eq!(out, frames);
}

#[test]
fn takeover_makes_messages_that_resemble_each_other_small() {
    let message = prose(1000, 3).into_bytes();
    let twice = [message.clone(), message.clone()];
    let alone = check_round_trip(FASTEST, false, &twice);
    let takeover = check_round_trip(FASTEST, true, &twice);
    assert!(takeover < alone * 2 / 3, "{takeover}, {alone}");
    // Not beyond the window, though: what is 5,000 bytes away is out of reach of 512.
    let far = [message.clone(), prose(5000, 4).into_bytes(), message];
    let small = DeflateSettings { window_bits: 9, ..FASTEST };
    let (near, far) = (check_round_trip(FASTEST, true, &far), check_round_trip(small, true, &far));
    assert!(near + 300 < far, "{near}, {far}");
}

#[test]
fn a_connection_with_takeover_stays_correct_between_shared_frames() {
    let mut shared = SharedDeflaters::new();
    let mut outbound = OutboundDeflate::new(FASTEST, true);
    let (mut out, mut expected) = (Vec::new(), Vec::new());
    for round in 0..50 {
        let message = prose(500 + round, round % 3);
        let mut frames = Vec::new();
        encode_frame(&mut frames, Opcode::Text, message.as_bytes());
        if round % 4 == 1 || round % 7 == 0 {
            outbound.forget_history();
            assert!(shared.compress(&frames, FASTEST, &mut out));
        } else {
            outbound.compress(&frames, &mut shared, &mut out);
        }
        expected.push(Seen::Text(message));
    }
    let outcome = decode_compressed(Inflation::WithTakeover, &LIMITS, [masked(&out).as_slice()]);
    assert_eq!(outcome, Outcome { events: expected, error: None });
}

#[test]
fn one_compressor_serves_all_connections_with_the_same_settings() {
    let mut shared = SharedDeflaters::new();
    let mut frames = Vec::new();
    encode_frame(&mut frames, Opcode::Text, prose(1000, 5).as_bytes());
    let mut compress = |settings| {
        let mut out = Vec::new();
        shared.compress(&frames, settings, &mut out);
        (out, shared.deflaters())
    };
    let (first, count) = compress(FASTEST);
    assert_eq!(count, 1);
    assert_eq!(compress(FASTEST), (first.clone(), 1), "nothing is remembered");
    assert_eq!(compress(DeflateSettings { threshold: 9, ..FASTEST }), (first, 1));
    assert_eq!(compress(DeflateSettings { level: 9, ..FASTEST }).1, 2);
    assert_eq!(compress(DeflateSettings { window_bits: 9, ..FASTEST }).1, 3);
}

#[test]
fn an_agreement_says_what_each_side_does() {
    let agreed = |server, client| Agreement {
        parameters: DeflateParameters {
            server_no_context_takeover: server,
            client_no_context_takeover: client,
            server_max_window_bits: Some(10),
            client_max_window_bits: None,
        },
        level: 3,
        threshold: 200,
    };
    assert_eq!(agreed(false, true).inflation(), Inflation::ByMessage);
    assert_eq!(agreed(true, false).inflation(), Inflation::WithTakeover);
    let settings = DeflateSettings { level: 3, window_bits: 10, threshold: 200 };
    assert_eq!(agreed(true, true).outbound().settings(), settings);
    assert!(!agreed(true, true).outbound().keeps_history());
    assert!(agreed(false, true).outbound().keeps_history());
}

#[test]
fn a_compressor_is_made_by_the_first_message_that_is_long_enough() {
    let settings = DeflateSettings { threshold: 100, ..FASTEST };
    let (mut shared, mut outbound) = (SharedDeflaters::new(), OutboundDeflate::new(settings, true));
    let mut compress = |opcode, length| {
        let (mut frames, mut out) = (Vec::new(), Vec::new());
        encode_frame(&mut frames, opcode, &vec![0; length]);
        outbound.compress(&frames, &mut shared, &mut out);
        assert_eq!(out == frames, !outbound.has_compressor());
        shared.compress(&frames, settings, &mut Vec::new());
        (outbound.has_compressor(), shared.deflaters())
    };
    assert_eq!(compress(Opcode::Text, 99), (false, 0));
    assert_eq!(compress(Opcode::Ping, 125), (false, 0));
    assert_eq!(compress(Opcode::Text, 100), (true, 1));
}
