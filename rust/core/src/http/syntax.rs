//! The alphabets of HTTP (RFC 9110), in bytes.

/// Whether a text is a token: a method, or the name of a field (section 5.6.2).
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// Whether a text is a token, or two of them with a slash between: RFC 9110, section 7.8.
pub(super) fn is_protocol(text: &str) -> bool {
    match text.split_once('/') {
        Some((name, version)) => is_token(name) && is_token(version),
        None => is_token(text),
    }
}

/// Whether a byte may stand in a token.
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    match byte {
        b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~' => true,
        _separator_or_other => byte.is_ascii_alphanumeric(),
    }
}

/// What may stand around an element of a list, and around the value of a field (section 5.6.3).
pub(super) const WHITE_SPACE: [char; 2] = [' ', '\t'];
