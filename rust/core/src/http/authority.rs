//! Hosts with an optional port: what stands in the Host field (RFC 3986, section 3.2.2).

use std::net::Ipv6Addr;

/// A DNS name has at most 253 characters.
const MAX_AUTHORITY: usize = 253 + ":65535".len();

/// Whether a text is a host with an optional port, as the Host field must be.
#[must_use]
pub fn is_authority(text: &str) -> bool {
    if text.len() > MAX_AUTHORITY {
        return false;
    }
    let (is_host, rest) = if let Some(inner) = text.strip_prefix('[') {
        let (address, rest) = inner.split_once(']').unwrap_or_default();
        (address.parse::<Ipv6Addr>().is_ok(), rest)
    } else {
        let (name, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
        (is_name(name.as_bytes()), rest)
    };
    is_host && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port))
}

/// `reg-name`, but for the empty one. An IPv4 address is one, too.
fn is_name(name: &[u8]) -> bool {
    let mut rest = name;
    loop {
        rest = match rest {
            [] => return !name.is_empty(),
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                rest
            }
            [byte, rest @ ..] if is_name_byte(*byte) => rest,
            [_, ..] => return false,
        };
    }
}

/// `unreserved` and `sub-delims`.
const fn is_name_byte(byte: u8) -> bool {
    matches!(byte, b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&'..=b',' | b';' | b'=')
        || byte.is_ascii_alphanumeric()
}

/// Empty is the default port.
fn is_port(digits: &str) -> bool {
    digits.len() <= 5
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits.is_empty() || digits.parse::<u16>().is_ok())
}
