//! Masking (RFC 6455, section 5.3): byte `i` of a payload, exclusive or byte `i % 4` of a key.
//!
//! It exists to keep scripts in browsers from writing chosen bytes past proxies, and costs a
//! server a pass over everything it receives. The loops below are plain safe Rust on chunks of
//! fixed size, which the compiler turns into vector instructions; hand-written intrinsics were
//! measured and gain nothing. Masking twice with the same key gives the original back.

/// Masks or unmasks a payload from its first byte on.
#[inline]
pub fn apply_mask(payload: &mut [u8], key: [u8; 4]) {
    let narrow_key = u64::from(u32::from_ne_bytes(key)) * 0x1_0000_0001; // the key, twice
    let (words, tail) = payload.as_chunks_mut::<NARROW>();
    let (blocks, words) = words.as_chunks_mut::<WORDS>();
    for block in blocks {
        for word in block {
            xor(word, narrow_key);
        }
    }
    for word in words {
        xor(word, narrow_key);
    }
    // Words are multiples of the key's length, so the tail starts at its first byte.
    for (byte, mask) in tail.iter_mut().zip(narrow_key.to_ne_bytes()) {
        *byte ^= mask;
    }
}

/// Masks or unmasks the part of a payload that begins at its byte `phase`.
#[inline]
pub fn apply_mask_from(part: &mut [u8], key: [u8; 4], phase: usize) {
    apply_mask(part, rotate_key(key, phase));
}

/// The key for what follows after `length` bytes.
pub(crate) const fn rotate_key(key: [u8; 4], length: usize) -> [u8; 4] {
    let [a, b, c, d] = key;
    match length % 4 {
        1 => [b, c, d, a],
        2 => [c, d, a, b],
        3 => [d, a, b, c],
        _multiple_of_four => key,
    }
}

/// Bytes of a word: two keys.
const NARROW: usize = 8;
/// Words a turn of the main loop: two SSE registers or one AVX register.
const WORDS: usize = 4;

#[inline]
fn xor(word: &mut [u8; NARROW], key: u64) {
    *word = (u64::from_ne_bytes(*word) ^ key).to_ne_bytes();
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

    fn bytewise(payload: &[u8], key: [u8; 4], phase: usize) -> Vec<u8> {
        let mask = |(index, byte): (usize, &u8)| byte ^ key[(index + phase) % 4];
        payload.iter().enumerate().map(mask).collect()
    }

    #[test]
    fn the_example_of_rfc_6455_section_5_7() {
        let mut payload = *b"Hello";
        apply_mask(&mut payload, KEY);
        assert_eq!(payload, [0x7F, 0x9F, 0x4D, 0x51, 0x58]);
        apply_mask(&mut payload, KEY);
        assert_eq!(&payload, b"Hello");
    }

    #[test]
    fn every_length_and_phase_as_byte_by_byte() {
        let payload: Vec<u8> = (0..=255).collect();
        for length in 0..=payload.len() {
            for phase in 0..9 {
                let mut part = payload[..length].to_vec();
                apply_mask_from(&mut part, KEY, phase);
                assert_eq!(part, bytewise(&payload[..length], KEY, phase), "{length}, {phase}");
            }
        }
    }

    #[test]
    fn the_key_goes_on_where_a_part_ended() {
        let payload: Vec<u8> = (0..100).collect();
        for cut in 0..=payload.len() {
            let mut parts = payload.clone();
            let (head, tail) = parts.split_at_mut(cut);
            apply_mask(head, KEY);
            apply_mask(tail, rotate_key(KEY, head.len()));
            assert_eq!(parts, bytewise(&payload, KEY, 0), "cut at {cut}");
        }
    }

    #[test]
    fn a_zero_key_changes_nothing() {
        let mut payload = *b"The quick brown fox jumps over the lazy dog";
        apply_mask(&mut payload, [0; 4]);
        assert_eq!(&payload, b"The quick brown fox jumps over the lazy dog");
    }
}
