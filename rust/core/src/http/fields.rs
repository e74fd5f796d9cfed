//! Header fields: where they stand, and which may come only once (RFC 9110, section 5).

use std::ops::Range;

use httparse::EMPTY_HEADER;

use super::BadHead;
use super::syntax::WHITE_SPACE;

/// Fields that frame a message or choose its receiver: twice is an attack or a bug.
const SINGLE: [&str; 5] =
    ["host", "content-length", "transfer-encoding", "sec-websocket-key", "sec-websocket-version"];

/// Where one field stands in the text of a head.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) name: Range<usize>,
    /// Without the white space around it.
    pub(super) value: Range<usize>,
}

/// Reads all fields from `begin` on, of which there are fewer than `lines`, and makes their names
/// lower case where they stand.
pub(super) fn parse(text: &mut str, begin: usize, lines: usize) -> Result<Vec<Field>, BadHead> {
    let mut parsed = vec![EMPTY_HEADER; lines];
    let outcome = httparse::parse_headers(&text.as_bytes()[begin..], &mut parsed)
        .map(|status| status.is_complete());
    // Those before a malformed line are there all the same: no field has an empty name.
    let fields: Vec<Field> = parsed
        .iter()
        .take_while(|header| !header.name.is_empty())
        .map(|header| Field {
            name: place(text, header.name.as_bytes()),
            value: place(text, header.value),
        })
        .collect();
    for field in &fields {
        text[field.name.clone()].make_ascii_lowercase();
    }
    check_framing(text, &fields)?;
    match outcome {
        Ok(true) => Ok(fields),
        Ok(false) => Err(BadHead::Incomplete),
        Err(error) => Err(BadHead::Malformed(error)),
    }
}

/// Where a part of a text stands in it.
fn place(text: &str, part: &[u8]) -> Range<usize> {
    let begin = part.as_ptr().addr() - text.as_ptr().addr();
    begin..begin + part.len()
}

/// Checks what says where the message ends, and whom it is for, in the order it has come.
fn check_framing(text: &str, fields: &[Field]) -> Result<(), BadHead> {
    let mut seen = [false; SINGLE.len()];
    for field in fields {
        let name = &text[field.name.clone()];
        let Some(at) = SINGLE.iter().position(|single| *single == name) else { continue };
        if seen[at] {
            return Err(BadHead::Repeated(SINGLE[at]));
        }
        seen[at] = true;
        let [_host, length, coding, ..] = seen;
        if length && coding {
            return Err(BadHead::TwoFramings);
        }
        let value = &text[field.value.clone()];
        match name {
            "content-length" => check_length(value)?,
            "transfer-encoding" => check_coding(value)?,
            _host_or_handshake => {}
        }
    }
    Ok(())
}

/// A length is a number that fits 64 bits. Whether it is too long for the server is not said here.
fn check_length(value: &str) -> Result<(), BadHead> {
    // `parse` would take a sign.
    let is_number = value.bytes().all(|byte| byte.is_ascii_digit()) && value.parse::<u64>().is_ok();
    if is_number { Ok(()) } else { Err(BadHead::Length) }
}

/// There must be a coding, and nothing may follow `chunked`, or the chunks would not be found: RFC
/// 9112, section 6.1.
fn check_coding(value: &str) -> Result<(), BadHead> {
    if value.is_empty() {
        return Err(BadHead::NoCoding);
    }
    let (before_last, _last) = value.rsplit_once(',').unwrap_or_default();
    let is_chunked =
        |coding: &str| coding.trim_matches(WHITE_SPACE).eq_ignore_ascii_case("chunked");
    if before_last.split(',').any(is_chunked) {
        return Err(BadHead::ChunkedBeforeOther);
    }
    Ok(())
}
