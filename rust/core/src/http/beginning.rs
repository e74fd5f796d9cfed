//! Where a head ends, and as early as possible whether there will be one.

use super::BadHead;
use super::syntax::is_token_byte;

const HEAD_END: &[u8] = b"\r\n\r\n";
const LINE_END: &[u8] = b"\r\n";
/// The first byte of a TLS client: RFC 8446, section 5.1.
const TLS_HANDSHAKE: u8 = 22;

/// How many bytes are empty lines, which may come before a request: RFC 9112, section 2.2.
#[must_use]
pub fn empty_lines(buffer: &[u8]) -> usize {
    buffer.chunks_exact(LINE_END.len()).take_while(|line| *line == LINE_END).count()
        * LINE_END.len()
}

/// The length of the head at the start of `buffer`, behind [`empty_lines`]; `None` while it is not
/// whole.
///
/// What an earlier call has `scanned` is not looked at again, so that the whole costs linear time,
/// however the bytes are cut up. A head of more than `limit` bytes is refused, and so is what cannot
/// become one, as soon as that is clear: who speaks something else need not wait.
pub fn find_end(buffer: &[u8], scanned: usize, limit: usize) -> Result<Option<usize>, BadHead> {
    // The end may begin in what was scanned before.
    let from = scanned.saturating_sub(HEAD_END.len() - 1).min(buffer.len());
    let end = find(&buffer[from..], HEAD_END).map(|at| from + at + HEAD_END.len());
    if end.unwrap_or(buffer.len()) > limit {
        return Err(match find(&buffer[..limit.min(buffer.len())], LINE_END) {
            Some(_) => BadHead::TooLong { limit },
            None => BadHead::LineTooLong,
        });
    }
    if end.is_none() {
        check(buffer, scanned)?;
    }
    Ok(end)
}

fn check(buffer: &[u8], scanned: usize) -> Result<(), BadHead> {
    match buffer {
        [first, ..] if scanned == 0 && !is_token_byte(*first) && buffer != b"\r" => {
            Err(if *first == TLS_HANDSHAKE { BadHead::Tls } else { BadHead::NotHttp })
        }
        _may_be_one => check_lines(buffer, scanned),
    }
}

fn check_lines(buffer: &[u8], scanned: usize) -> Result<(), BadHead> {
    let ends = buffer.iter().enumerate().skip(scanned).filter(|(_, byte)| **byte == b'\n');
    for (at, _) in ends {
        if at == 0 || buffer[at - 1] != b'\r' {
            return Err(BadHead::LineEnd);
        }
    }
    Ok(())
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::{BadHead, empty_lines, find_end};

    const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n";

    #[test]
    fn the_end_is_found_however_the_bytes_come() {
        for behind in [&b""[..], b"more", b"\r\n\r\n"] {
            let whole = [HEAD, behind].concat();
            for step in 1..=whole.len() {
                let mut scanned = 0;
                let mut found = None;
                while found.is_none() && scanned < whole.len() {
                    let come = whole.len().min(scanned + step);
                    found = find_end(&whole[..come], scanned, 100).unwrap();
                    scanned = come;
                }
                assert_eq!(found, Some(HEAD.len()), "in steps of {step}");
            }
        }
    }

    #[test]
    fn a_head_may_be_as_long_as_the_limit() {
        assert_eq!(find_end(HEAD, 0, HEAD.len()), Ok(Some(HEAD.len())));
        let limit = HEAD.len() - 1;
        for come in [HEAD, &[HEAD, b"more"].concat()] {
            assert_eq!(find_end(come, 0, limit), Err(BadHead::TooLong { limit }));
        }
        assert_eq!(find_end(&HEAD[..limit], 0, limit), Ok(None));
        assert_eq!(find_end(b"GET /very/long", 0, 13), Err(BadHead::LineTooLong));
    }

    #[test]
    fn what_cannot_become_a_head_is_told_at_once() {
        assert_eq!(find_end(b"\x16\x03\x01", 0, 100), Err(BadHead::Tls));
        assert_eq!(find_end(b"\0", 0, 100), Err(BadHead::NotHttp));
        assert_eq!(find_end(b" GET", 0, 100), Err(BadHead::NotHttp));
        assert_eq!(find_end(b"GET / HTTP/1.1\n", 0, 100), Err(BadHead::LineEnd));
        assert_eq!(find_end(b"GET / HTTP/1.1\r\nA: b\n", 16, 100), Err(BadHead::LineEnd));
        assert_eq!(find_end(b"GET / HTTP/1.1\n", 14, 100), Err(BadHead::LineEnd));
        assert_eq!(find_end(b"GET / HTTP/1.1\r\n", 15, 100), Ok(None));
        for begun in [&b""[..], b"\r", b"G", b"GET / HTTP/1.1\r"] {
            assert_eq!(find_end(begun, 0, 100), Ok(None));
        }
    }

    #[test]
    fn empty_lines_are_counted_when_they_are_whole() {
        assert_eq!(empty_lines(b""), 0);
        assert_eq!(empty_lines(b"\r"), 0);
        assert_eq!(empty_lines(b"\r\n\r"), 2);
        assert_eq!(empty_lines(b"\r\n\r\nGET\r\n"), 4);
        assert_eq!(empty_lines(b"GET"), 0);
    }
}
