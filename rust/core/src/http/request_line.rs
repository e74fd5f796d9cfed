//! The first line of a request: method, target and version (RFC 9112, section 3).

use std::ops::Range;

use super::BadHead;
use super::syntax::is_token;

/// The version of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

impl Version {
    /// Its number.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
        }
    }
}

/// What is served: the methods in IANA's registry with a few more that clients send, as Node knows
/// them, without CONNECT, which is for proxies.
const METHODS: [&str; 34] = [
    "ACL",
    "BIND",
    "CHECKOUT",
    "COPY",
    "DELETE",
    "GET",
    "HEAD",
    "LINK",
    "LOCK",
    "M-SEARCH",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MOVE",
    "NOTIFY",
    "OPTIONS",
    "PATCH",
    "POST",
    "PROPFIND",
    "PROPPATCH",
    "PURGE",
    "PUT",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "SOURCE",
    "SUBSCRIBE",
    "TRACE",
    "UNBIND",
    "UNLINK",
    "UNLOCK",
    "UNSUBSCRIBE",
];

/// Of other protocols, which share the form of a request with HTTP, or for proxies. That they are
/// not served is known before anything is said about their targets, which may look different.
const FOREIGN_METHODS: [&str; 13] = [
    "ANNOUNCE",
    "CONNECT",
    "DESCRIBE",
    "FLUSH",
    "GET_PARAMETER",
    "PAUSE",
    "PLAY",
    "PRI",
    "RECORD",
    "REDIRECT",
    "SET_PARAMETER",
    "SETUP",
    "TEARDOWN",
];

/// Where the parts of a request line stand in it.
#[derive(Debug)]
pub(super) struct RequestLine {
    pub(super) method: Range<usize>,
    pub(super) target: Range<usize>,
    /// The path and the query of the target, with the question mark. Empty is the path `/`; a
    /// query without a path is one of `/`.
    pub(super) path_and_query: Range<usize>,
    /// The host and port of the target, if that is a URL; not checked.
    pub(super) authority: Option<Range<usize>>,
    pub(super) version: Version,
}

impl RequestLine {
    /// Reads a line without its end.
    pub(super) fn parse(line: &str) -> Result<Self, BadHead> {
        let mut parts = line.split(' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(BadHead::RequestLine);
        };
        let version = parse_version(version)?;
        if !is_token(method) {
            return Err(BadHead::Method);
        }
        if FOREIGN_METHODS.contains(&method) {
            return Err(BadHead::UnknownMethod);
        }
        if target.is_empty() || !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
        {
            return Err(BadHead::Target);
        }
        let begin = method.len() + 1;
        let (authority, path) = split_target(method, target)?;
        if !METHODS.contains(&method) {
            return Err(BadHead::UnknownMethod);
        }
        let end = begin + target.len();
        Ok(Self {
            method: 0..method.len(),
            target: begin..end,
            path_and_query: begin + path..end,
            authority: authority.map(|range| begin + range.start..begin + range.end),
            version,
        })
    }
}

fn parse_version(version: &str) -> Result<Version, BadHead> {
    match version.as_bytes() {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
            Err(BadHead::OtherVersion)
        }
        _other => Err(BadHead::Version),
    }
}

/// The authority of a target, and where its path begins: the forms of section 3.2.
fn split_target(method: &str, target: &str) -> Result<(Option<Range<usize>>, usize), BadHead> {
    if target.starts_with('/') {
        return Ok((None, 0));
    }
    if target == "*" {
        return if method == "OPTIONS" { Ok((None, 0)) } else { Err(BadHead::Asterisk) };
    }
    let (scheme, rest) = target.split_once("://").ok_or(BadHead::TargetForm)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(BadHead::TargetForm);
    }
    let begin = target.len() - rest.len();
    let end = rest.find(['/', '?']).map_or(target.len(), |length| begin + length);
    Ok((Some(begin..end), end))
}
