//! Frames whose payloads are not copied: they stay where the application has them.

use std::fmt;

use crate::proto::{self, Opcode};

use super::Dropped;

/// Bytes that stay as they are until they are dropped, which the loop does when they are sent.
pub type Lent = Box<dyn AsRef<[u8]> + Send + Sync>;

/// A message in one frame, around a payload that is lent.
pub(in super::super) struct LentFrame {
    header: Vec<u8>,
    payload: Lent,
}

impl LentFrame {
    pub(in super::super) fn new(opcode: Opcode, payload: Lent) -> Self {
        let mut header = Vec::new();
        proto::encode_header(&mut header, opcode, (*payload).as_ref().len());
        Self { header, payload }
    }

    /// Bytes of header and payload.
    pub(in super::super) fn len(&self) -> usize {
        self.header.len() + self.payload().len()
    }

    /// What dropping it comes to.
    pub(in super::super) fn as_dropped(&self) -> Dropped {
        Dropped { messages: 1, bytes: self.len() }
    }

    /// Its bytes from there on, in their two places.
    pub(super) fn parts_from(&self, start: usize) -> [&[u8]; 2] {
        let (header, payload) = (&self.header[..], self.payload());
        match start.checked_sub(header.len()) {
            None => [&header[start..], payload],
            Some(start) => [&payload[start..], &[]],
        }
    }

    /// A copy of its bytes, end to end.
    pub(in super::super) fn to_vec(&self) -> Vec<u8> {
        self.parts_from(0).concat()
    }

    fn payload(&self) -> &[u8] {
        (*self.payload).as_ref()
    }
}

impl fmt::Debug for LentFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LentFrame").field("len", &self.len()).finish_non_exhaustive()
    }
}
