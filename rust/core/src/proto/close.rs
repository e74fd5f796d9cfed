//! CLOSE frames: close codes and reasons (RFC 6455, sections 5.5.1 and 7.4).
//!
//! A code that may not be sent cannot be built from a number, so whoever holds a [`CloseFrame`]
//! can send it. Two codes are never on the wire and exist for our own side only: 1005 stands for
//! a CLOSE frame with an empty body, 1006 for a connection that ended without any CLOSE frame.

use std::fmt;

use super::frame::{self, Opcode};
use super::utf8;
use super::{MAX_CONTROL_PAYLOAD, ProtocolError};

/// The longest reason that fits in a CLOSE frame, in bytes of UTF-8.
pub const MAX_CLOSE_REASON: usize = MAX_CONTROL_PAYLOAD - CODE_SIZE;

/// The bytes of a close code, which come before the reason.
const CODE_SIZE: usize = 2;

/// Why a connection is closed, as a number (RFC 6455, section 7.4, and the IANA registry).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// The purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// The server shuts down or the browser leaves the page.
    pub const GOING_AWAY: Self = Self(1001);
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// The peer sent a kind of data that cannot be accepted.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// The CLOSE frame had no code; never on the wire.
    pub const NO_STATUS: Self = Self(1005);
    /// The connection ended without a CLOSE frame; never on the wire.
    pub const ABNORMAL: Self = Self(1006);
    /// A message did not fit its type, for example text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// A message violated a policy that has no code of its own.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// A message was too big to be processed.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// A client misses an extension that the server did not agree to.
    pub const MANDATORY_EXTENSION: Self = Self(1010);
    /// The server met a condition that it did not expect.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// The service restarts; come again after a while.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// The service is overloaded; come again later or elsewhere.
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// A gateway got a bad answer from the server behind it.
    pub const BAD_GATEWAY: Self = Self(1014);

    /// A code that may stand in a CLOSE frame: 1000-1003, 1007-1014 or 3000-4999, else `None`.
    #[must_use]
    pub const fn new(code: u16) -> Option<Self> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(Self(code)),
            _reserved => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn as_u16(self) -> u16 {
        self.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// What stands in a CLOSE frame: a code and a reason, or nothing.
///
/// The reason owns no heap when it is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseFrame {
    code: CloseCode,
    reason: Box<str>,
}

impl CloseFrame {
    /// A frame that can be sent, else `None`.
    ///
    /// It cannot if the reason has more than [`MAX_CLOSE_REASON`] bytes, if the code is
    /// [`CloseCode::ABNORMAL`], or if there is a reason but no code ([`CloseCode::NO_STATUS`]).
    #[must_use]
    pub fn new(code: CloseCode, reason: &str) -> Option<Self> {
        let possible = match code {
            CloseCode::ABNORMAL => false,
            CloseCode::NO_STATUS => reason.is_empty(),
            _sendable => reason.len() <= MAX_CLOSE_REASON,
        };
        possible.then(|| Self { code, reason: reason.into() })
    }

    /// The frame with an empty body, which stands for [`CloseCode::NO_STATUS`].
    #[must_use]
    pub fn empty() -> Self {
        Self { code: CloseCode::NO_STATUS, reason: Box::default() }
    }

    /// The code, [`CloseCode::NO_STATUS`] if the body is empty.
    #[must_use]
    pub const fn code(&self) -> CloseCode {
        self.code
    }

    /// The reason: at most [`MAX_CLOSE_REASON`] bytes, often empty.
    #[must_use]
    pub const fn reason(&self) -> &str {
        &self.reason
    }

    /// Reads the unmasked body of a CLOSE frame.
    pub fn parse(payload: &[u8]) -> Result<Self, ProtocolError> {
        let Some((&code, reason)) = payload.split_first_chunk::<CODE_SIZE>() else {
            return match payload.len() {
                0 => Ok(Self::empty()),
                length => Err(ProtocolError::BadCloseBody { length }),
            };
        };
        let code = u16::from_be_bytes(code);
        let code = CloseCode::new(code).ok_or(ProtocolError::BadCloseCode { code })?;
        let reason = utf8::to_str(reason).map_err(|_| ProtocolError::InvalidUtf8)?;
        Ok(Self { code, reason: reason.into() })
    }

    /// Appends the whole frame, header included, to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        if self.code == CloseCode::NO_STATUS {
            return frame::encode_frame(out, Opcode::Close, &[]);
        }
        frame::encode_header(out, Opcode::Close, CODE_SIZE + self.reason.len());
        out.extend_from_slice(&self.code.as_u16().to_be_bytes());
        out.extend_from_slice(self.reason.as_bytes());
    }
}

impl Default for CloseFrame {
    /// The empty frame.
    fn default() -> Self {
        Self::empty()
    }
}

impl From<ProtocolError> for CloseFrame {
    /// The frame that tells a peer what it did wrong; a text that does not fit is left out.
    fn from(error: ProtocolError) -> Self {
        let code = error.close_code();
        Self::new(code, &error.to_string()).unwrap_or(Self { code, reason: Box::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6455, sections 7.4.1 and 7.4.2, and the IANA registry: every range of codes, and
    /// whether they may stand in a CLOSE frame.
    const CODES: &[(u16, u16, bool)] = &[
        (0, 999, false),
        (1000, 1000, true),
        (1001, 1001, true),
        (1002, 1002, true),
        (1003, 1003, true),
        (1004, 1004, false),
        (1005, 1005, false),
        (1006, 1006, false),
        (1007, 1007, true),
        (1008, 1008, true),
        (1009, 1009, true),
        (1010, 1010, true),
        (1011, 1011, true),
        (1012, 1012, true),
        (1013, 1013, true),
        (1014, 1014, true),
        (1015, 1015, false),
        (1016, 1999, false),
        (2000, 2999, false),
        (3000, 3999, true),
        (4000, 4999, true),
        (5000, 65535, false),
    ];

    fn encoded(frame: &CloseFrame) -> Vec<u8> {
        let mut out = b"before".to_vec();
        frame.encode(&mut out);
        assert!(out.starts_with(b"before"));
        out.split_off(6)
    }

    #[test]
    fn every_code() {
        let mut next = 0;
        for &(first, last, allowed) in CODES {
            assert_eq!(u32::from(first), next, "the table has a gap");
            next = u32::from(last) + 1;
            for code in first..=last {
                let body = code.to_be_bytes();
                if allowed {
                    let close_code = CloseCode::new(code).unwrap();
                    assert_eq!(close_code.as_u16(), code);
                    assert_eq!(close_code.to_string(), code.to_string());
                    assert_eq!(CloseFrame::parse(&body).unwrap().code(), close_code);
                } else {
                    assert_eq!(CloseCode::new(code), None, "{code}");
                    let error = ProtocolError::BadCloseCode { code };
                    assert_eq!(CloseFrame::parse(&body), Err(error));
                }
            }
        }
        assert_eq!(next, 65536);
    }

    #[test]
    fn the_named_codes() {
        for (code, number) in [
            (CloseCode::NORMAL, 1000),
            (CloseCode::GOING_AWAY, 1001),
            (CloseCode::PROTOCOL_ERROR, 1002),
            (CloseCode::UNSUPPORTED_DATA, 1003),
            (CloseCode::INVALID_PAYLOAD, 1007),
            (CloseCode::POLICY_VIOLATION, 1008),
            (CloseCode::MESSAGE_TOO_BIG, 1009),
            (CloseCode::MANDATORY_EXTENSION, 1010),
            (CloseCode::INTERNAL_ERROR, 1011),
            (CloseCode::SERVICE_RESTART, 1012),
            (CloseCode::TRY_AGAIN_LATER, 1013),
            (CloseCode::BAD_GATEWAY, 1014),
        ] {
            assert_eq!(code.as_u16(), number);
            assert_eq!(CloseCode::new(number), Some(code));
        }
        assert_eq!(CloseCode::NO_STATUS.as_u16(), 1005);
        assert_eq!(CloseCode::ABNORMAL.as_u16(), 1006);
    }

    #[test]
    fn bodies() {
        let long = [b"\x0F\xA1", "x".repeat(123).as_bytes()].concat();
        for (body, code, reason) in [
            (&b""[..], 1005, String::new()),
            (b"\x03\xE8", 1000, String::new()),
            (b"\x0F\xA1bye", 4001, "bye".to_owned()),
            (b"\x03\xF3\xE2\x82\xAC", 1011, "\u{20AC}".to_owned()),
            (b"\x03\xE8\0", 1000, "\0".to_owned()),
            (&long, 4001, "x".repeat(123)),
        ] {
            let frame = CloseFrame::parse(body).unwrap();
            assert_eq!((frame.code().as_u16(), frame.reason()), (code, reason.as_str()));
            let bytes = encoded(&frame);
            let length = u8::try_from(body.len()).unwrap();
            assert_eq!(bytes, [&[0x88, length], body].concat());
        }
        for (body, error) in [
            (&b"\x03"[..], ProtocolError::BadCloseBody { length: 1 }),
            (b"\x03\xE8\x80", ProtocolError::InvalidUtf8),
            (b"\x03\xE8\xED\xA0\x80", ProtocolError::InvalidUtf8),
            (b"\x03\xE8\xC3", ProtocolError::InvalidUtf8),
            // The code comes first, and so is judged first.
            (b"\x03\xEC\xFF", ProtocolError::BadCloseCode { code: 1004 }),
        ] {
            assert_eq!(CloseFrame::parse(body), Err(error));
        }
    }

    #[test]
    fn frames_that_cannot_be_sent_cannot_be_built() {
        let normal = |reason: &str| CloseFrame::new(CloseCode::NORMAL, reason);
        assert_eq!(normal(&"x".repeat(123)).unwrap().reason().len(), MAX_CLOSE_REASON);
        assert_eq!(normal(&"x".repeat(124)), None);
        // Bytes count, not characters.
        assert!(normal(&"\u{E4}".repeat(61)).is_some());
        assert_eq!(normal(&"\u{E4}".repeat(62)), None);
        assert_eq!(CloseFrame::new(CloseCode::ABNORMAL, ""), None);
        assert_eq!(CloseFrame::new(CloseCode::NO_STATUS, "why"), None);
    }

    #[test]
    fn the_empty_frame() {
        let empty = CloseFrame::empty();
        assert_eq!((empty.code(), empty.reason()), (CloseCode::NO_STATUS, ""));
        assert_eq!(CloseFrame::default(), empty);
        assert_eq!(CloseFrame::new(CloseCode::NO_STATUS, ""), Some(empty.clone()));
        assert_eq!(encoded(&empty), [0x88, 0]);
    }

    #[test]
    fn a_frame_has_code_and_reason() {
        let frame = CloseFrame::new(CloseCode::GOING_AWAY, "bye").unwrap();
        assert_eq!(encoded(&frame), *b"\x88\x05\x03\xE9bye");
    }
}
