//! Buffers that outputs borrow while they have something to send.

use super::CHUNK_SIZE;

/// Bytes that the pool keeps for the next connections that have something to say. Giving memory
/// back to the system and asking for it again costs more than sending it does.
const POOL_SIZE: usize = 4 << 20;

/// A buffer that has grown beyond this is not kept.
const MAX_POOLED: usize = 8 * CHUNK_SIZE;

/// Empty buffers for reuse.
#[derive(Debug, Default)]
pub(in super::super) struct BufferPool {
    pub(super) buffers: Vec<Vec<u8>>,
    /// The capacities of the buffers, added up.
    size: usize,
}

impl BufferPool {
    pub(super) fn take(&mut self) -> Vec<u8> {
        let buffer = self.buffers.pop().unwrap_or_default();
        self.size -= buffer.capacity();
        buffer
    }

    pub(super) fn give_back(&mut self, mut buffer: Vec<u8>) {
        let capacity = buffer.capacity();
        if capacity <= MAX_POOLED && self.size + capacity <= POOL_SIZE {
            buffer.clear();
            self.size += capacity;
            self.buffers.push(buffer);
        }
    }
}
