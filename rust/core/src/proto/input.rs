//! What is to be decoded, and how far it is.

use std::ops::Range;

use super::frame::MASK_KEY_SIZE;
use super::mask::apply_mask;

/// Bytes as they arrived; reading them moves a position and unmasks what lies before it.
#[derive(Debug)]
pub struct Input<'a> {
    pub(super) bytes: &'a mut [u8],
    pub(super) position: usize,
}

impl<'a> Input<'a> {
    /// An input of which nothing is read yet.
    #[must_use]
    pub const fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// The number of bytes not read yet.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// The number of bytes read so far.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.position
    }

    /// What is left, without reading it.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.bytes[self.position..]
    }

    /// All of it; what has been read is unmasked.
    pub(crate) fn all(&self) -> &[u8] {
        self.bytes
    }

    /// Reads at most `limit` bytes of masked payload and returns where they lie, unmasked.
    #[inline]
    pub(super) fn unmask(&mut self, limit: usize, key: [u8; MASK_KEY_SIZE]) -> Range<usize> {
        let start = self.position;
        self.position += limit.min(self.remaining());
        apply_mask(&mut self.bytes[start..self.position], key);
        start..self.position
    }

    /// Gives up on what is left.
    pub(crate) const fn discard(&mut self) {
        self.position = self.bytes.len();
    }
}
