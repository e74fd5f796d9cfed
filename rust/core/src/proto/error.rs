//! What a peer can do wrong, and the close code that tells it so (RFC 6455, section 7.4.1).
//!
//! Every variant is the peer's fault: none of them says anything about our caller or the network.
//! The text of an error is the reason of the CLOSE frame that answers it, so it is one short line
//! that holds the facts and nothing of what the peer's messages contained.

use super::{CloseCode, Opcode};

/// A violation of RFC 6455 or of the [`Limits`](super::Limits) by the peer.
///
/// The connection cannot be read any further: it is failed with [`close_code`](Self::close_code).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// Reserved bits are set where no extension gives them a meaning (section 5.2).
    #[error("reserved bits 0b{bits:03b} are set where no extension allows it")]
    ReservedBits {
        /// RSV1, RSV2 and RSV3, from the highest bit to the lowest.
        bits: u8,
    },
    /// An opcode that RFC 6455 reserves for later (section 5.2).
    #[error("unknown opcode {opcode:#x}")]
    UnknownOpcode {
        /// The four bits as received.
        opcode: u8,
    },
    /// A frame of a client without a mask (section 5.1).
    #[error("frame is not masked")]
    NotMasked,
    /// A control frame without the fin bit (section 5.5).
    #[error("control frame is fragmented")]
    FragmentedControl,
    /// A control frame with more than 125 bytes of payload (section 5.5).
    #[error("control frame has an extended length ({length}), its limit is 125 bytes")]
    ControlTooLong {
        /// The seven bits as received: 126 or 127, both announce an extended length.
        length: u8,
    },
    /// A length in more bytes than it needs (section 5.2).
    #[error("payload length is not minimally encoded")]
    LengthNotMinimal,
    /// A 64-bit length with its most significant bit set (section 5.2).
    #[error("payload length has its most significant bit set")]
    LengthTooLong,
    /// A continuation frame, but no message has begun (section 5.4).
    #[error("continuation frame without a message to continue")]
    UnexpectedContinuation,
    /// A new message while the fragments of another one are still coming (section 5.4).
    #[error("{opcode} frame where a continuation was expected")]
    ExpectedContinuation {
        /// What came in its place: text or binary.
        opcode: Opcode,
    },
    /// A text message or a close reason that is not UTF-8 (section 8.1).
    #[error("text is not valid UTF-8")]
    InvalidUtf8,
    /// The payload of a compressed message is not what DEFLATE makes (RFC 7692, section 7.2.2).
    #[error("message is not valid DEFLATE data")]
    BadDeflate,
    /// A message larger than [`Limits::max_message_size`](super::Limits::max_message_size).
    #[error("message is larger than {limit} bytes")]
    MessageTooBig {
        /// The limit, in bytes.
        limit: usize,
    },
    /// A message in more frames than [`Limits::max_fragments`](super::Limits::max_fragments).
    #[error("message has more than {limit} fragments")]
    TooManyFragments {
        /// The limit, in frames.
        limit: u32,
    },
    /// Messages come faster than the owner of the connection allows, who has a clock and says so
    /// with [`Connection::fail`](super::Connection::fail).
    #[error("too many messages")]
    TooManyMessages,
    /// The body of a CLOSE frame is too short for a close code (section 5.5.1).
    #[error("close frame has a body of {length} byte")]
    BadCloseBody {
        /// The bytes in the body: 1.
        length: usize,
    },
    /// A close code that may not stand in a CLOSE frame (section 7.4).
    #[error("close code {code} is not allowed in a close frame")]
    BadCloseCode {
        /// The code as received.
        code: u16,
    },
}

impl ProtocolError {
    /// The code of the CLOSE frame that answers this error.
    #[must_use]
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::ReservedBits { .. }
            | Self::UnknownOpcode { .. }
            | Self::NotMasked
            | Self::FragmentedControl
            | Self::ControlTooLong { .. }
            | Self::LengthNotMinimal
            | Self::LengthTooLong
            | Self::UnexpectedContinuation
            | Self::ExpectedContinuation { .. }
            | Self::BadCloseBody { .. }
            | Self::BadCloseCode { .. } => CloseCode::PROTOCOL_ERROR,
            Self::InvalidUtf8 | Self::BadDeflate => CloseCode::INVALID_PAYLOAD,
            Self::MessageTooBig { .. } => CloseCode::MESSAGE_TOO_BIG,
            Self::TooManyFragments { .. } | Self::TooManyMessages => CloseCode::POLICY_VIOLATION,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::CloseFrame;

    #[test]
    fn every_error_has_a_code_and_a_text_that_fits_in_a_close_frame() {
        for (error, code, text) in [
            (
                ProtocolError::ReservedBits { bits: 0b101 },
                1002,
                "reserved bits 0b101 are set where no extension allows it",
            ),
            (ProtocolError::UnknownOpcode { opcode: 11 }, 1002, "unknown opcode 0xb"),
            (ProtocolError::NotMasked, 1002, "frame is not masked"),
            (ProtocolError::FragmentedControl, 1002, "control frame is fragmented"),
            (
                ProtocolError::ControlTooLong { length: 126 },
                1002,
                "control frame has an extended length (126), its limit is 125 bytes",
            ),
            (ProtocolError::LengthNotMinimal, 1002, "payload length is not minimally encoded"),
            (ProtocolError::LengthTooLong, 1002, "payload length has its most significant bit set"),
            (
                ProtocolError::UnexpectedContinuation,
                1002,
                "continuation frame without a message to continue",
            ),
            (
                ProtocolError::ExpectedContinuation { opcode: Opcode::Binary },
                1002,
                "binary frame where a continuation was expected",
            ),
            (ProtocolError::InvalidUtf8, 1007, "text is not valid UTF-8"),
            (
                ProtocolError::MessageTooBig { limit: 1_048_576 },
                1009,
                "message is larger than 1048576 bytes",
            ),
            (
                ProtocolError::TooManyFragments { limit: u32::MAX },
                1008,
                "message has more than 4294967295 fragments",
            ),
            (ProtocolError::TooManyMessages, 1008, "too many messages"),
            (ProtocolError::BadCloseBody { length: 1 }, 1002, "close frame has a body of 1 byte"),
            (
                ProtocolError::BadCloseCode { code: 65535 },
                1002,
                "close code 65535 is not allowed in a close frame",
            ),
        ] {
            assert_eq!(error.to_string(), text);
            assert_eq!(error.close_code().as_u16(), code, "{text}");
            let frame = CloseFrame::from(error);
            assert_eq!((frame.code(), frame.reason()), (error.close_code(), text));
        }
    }
}
