//! What proves that a server has understood the handshake.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sha1::{Digest, Sha1};

/// What is appended to a key: RFC 6455, section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const KEY_SIZE: usize = 16;

/// The bits behind the last byte of a key say nothing, and some clients do not clear them.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical)
        .with_decode_allow_trailing_bits(true),
);

/// What answers a `Sec-WebSocket-Key`: the value of `Sec-WebSocket-Accept` (RFC 6455, section
/// 4.2.2). `None` if that is no key: 16 bytes in base64.
#[must_use]
pub fn accept_value(key: &str) -> Option<String> {
    let mut decoded = [0; KEY_SIZE + 2]; // what 24 characters may be, padding not looked at
    if BASE64.decode_slice(key, &mut decoded).ok()? != KEY_SIZE {
        return None;
    }
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    Some(BASE64.encode(digest))
}

#[cfg(test)]
mod tests {
    use super::accept_value;

    #[test]
    fn the_example_of_the_rfc() {
        let accept = accept_value("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept.as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }

    #[test]
    fn what_is_no_key_has_no_answer() {
        for key in [
            "",
            "AAAA",
            "AAAAAAAAAAAAAAAAAAAAAA", // no padding
            "AAAAAAAAAAAAAAAAAAAAAA=",
            "AAAAAAAAAAAAAAAAAAAAAAA=", // 17 bytes
            "AAAAAAAAAAAAAAAAAAAAAAAA", // 18
            "AAAAAAAAAAAAAAAAAAAA",     // 15
            "AAAAAAAAAAAAAAAAAAAAAA==AAAA",
            "AAAAAAAAAAAAAAAAAAAAAA== ",
            "AAAAAAAAAAAAAAAAAAAA-_==",
            "AAAAAAAAAAA AAAAAAAAAA==",
            "\u{e9}AAAAAAAAAAAAAAAAAAAAA==",
        ] {
            assert_eq!(accept_value(key), None, "{key:?}");
        }
        assert!(accept_value("AAAAAAAAAAAAAAAAAAAAAB==").is_some(), "bits that say nothing");
    }
}
