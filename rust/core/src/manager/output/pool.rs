//! Buffers that outputs borrow while they have something to send.

use super::CHUNK_SIZE;

/// Bytes that the pool keeps for the next connections that have something to say. Giving memory
/// back to the system and asking for it again costs more than sending it does.
const POOL_SIZE: usize = 1 << 20;

/// A buffer that has grown beyond this is not kept.
const MAX_POOLED: usize = 8 * CHUNK_SIZE;

/// After so many loans half of the buffers go that none of them has needed: what a busy moment has
/// left behind is not kept for good.
const PERIOD: usize = 1024;

/// Empty buffers for reuse.
#[derive(Debug, Default)]
pub(in super::super) struct BufferPool {
    /// The last one that came back is the next one that is lent.
    pub(super) buffers: Vec<Vec<u8>>,
    /// The capacities of the buffers, added up.
    size: usize,
    /// Loans since the last look at what is spare.
    loans: usize,
    /// So many buffers were here all the time since then, at the bottom.
    spare: usize,
}

impl BufferPool {
    pub(super) fn take(&mut self) -> Vec<u8> {
        let buffer = self.buffers.pop().unwrap_or_default();
        self.size -= buffer.capacity();
        self.spare = self.spare.min(self.buffers.len());
        self.loans += 1;
        if self.loans == PERIOD {
            self.let_go_of_spare();
        }
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

    #[cold]
    fn let_go_of_spare(&mut self) {
        for buffer in self.buffers.drain(..self.spare.div_ceil(2)) {
            self.size -= buffer.capacity();
        }
        self.loans = 0;
        self.spare = self.buffers.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Has so many buffers be out at the same time, and come back.
    fn lend(pool: &mut BufferPool, count: usize) {
        let lent: Vec<_> = (0..count).map(|_| pool.take()).collect();
        for mut buffer in lent {
            buffer.reserve_exact(1024);
            pool.give_back(buffer);
        }
    }

    #[test]
    fn what_a_busy_moment_has_needed_is_not_kept_for_good() {
        let mut pool = BufferPool::default();
        lend(&mut pool, 500);
        assert_eq!(pool.buffers.len(), 500);
        assert_eq!(pool.size, 500 * 1024);
        for _ in 0..20 * PERIOD / 3 {
            lend(&mut pool, 3);
        }
        assert_eq!(pool.buffers.len(), 3);
        assert_eq!(pool.size, 3 * 1024);
    }

    #[test]
    fn what_is_needed_again_and_again_is_kept() {
        let mut pool = BufferPool::default();
        for _ in 0..100 {
            lend(&mut pool, 500);
            for _ in 0..100 {
                lend(&mut pool, 3);
            }
            assert_eq!(pool.buffers.len(), 500);
        }
    }

    #[test]
    fn no_more_than_its_size_is_kept() {
        let mut pool = BufferPool::default();
        lend(&mut pool, POOL_SIZE / 1024 + 1);
        assert_eq!(pool.size, POOL_SIZE);
        pool.give_back(Vec::with_capacity(MAX_POOLED + 1));
        assert_eq!(pool.size, POOL_SIZE);
    }
}
