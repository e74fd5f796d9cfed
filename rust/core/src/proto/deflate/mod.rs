//! permessage-deflate: compressed messages (RFC 7692).
//!
//! The payload of a message is compressed as a whole, before it is cut into frames; the first
//! frame says so with its bit RSV1. What goes over the wire is DEFLATE (RFC 1951) that ends at a
//! byte with an empty stored block, of which the last four bytes, always `00 00 FF FF`, are left
//! out.
//!
//! A message may refer to up to 32 KiB of those before it, which is called *context takeover*. It
//! compresses much better, and costs a compressor and an inflater for each connection. Without it
//! nothing is kept: one [`SharedInflater`] and one compressor of [`SharedDeflaters`] serve all
//! connections of an owner.
//!
//! | | |
//! |---|---|
//! | [`DeflateParameters`] | what the two sides agree on |
//! | `inflater` | messages that come |
//! | [`OutboundDeflate`] | messages that go |
//!
//! DEFLATE itself is zlib-rs. Its raw streams know no window of 256 bytes (8 bits), so an offer
//! that asks for one is declined.

mod deflater;
mod inflater;
mod negotiation;
#[cfg(test)]
mod tests;

pub use deflater::{DeflateSettings, OutboundDeflate, SharedDeflaters};
pub(crate) use inflater::{InboundDeflate, compressed_limit};
pub use inflater::{Inflation, SharedInflater};
pub use negotiation::{DeflateParameters, DeflatePolicy};

/// The smallest window that zlib's raw DEFLATE can be made with.
pub const MIN_WINDOW_BITS: u8 = 9;
/// The largest window of DEFLATE: 32 KiB.
pub const MAX_WINDOW_BITS: u8 = 15;

/// permessage-deflate as it was agreed on for one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreement {
    /// What both sides know.
    pub parameters: DeflateParameters,
    /// zlib's level for what we send, 1 (fastest) to 9 (smallest).
    pub level: u8,
    /// Messages of fewer bytes are sent as they are.
    pub threshold: usize,
}

impl Agreement {
    /// How the messages of the peer may be compressed.
    #[must_use]
    pub fn inflation(&self) -> Inflation {
        if self.parameters.client_no_context_takeover {
            Inflation::ByMessage
        } else {
            Inflation::WithTakeover
        }
    }

    /// What compresses our messages.
    #[must_use]
    pub fn outbound(&self) -> OutboundDeflate {
        let settings = DeflateSettings {
            level: self.level,
            window_bits: self.parameters.server_window_bits(),
            threshold: self.threshold,
        };
        OutboundDeflate::new(settings, !self.parameters.server_no_context_takeover)
    }
}

/// The end of an empty stored block, which a sender leaves out and a receiver adds (RFC 7692,
/// section 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];
