//! What a frame says of itself.

use super::*;

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
