//! What waits to be sent to a peer: how much it is, and how there is less of it.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::super::counters::Counters;
use super::super::output::{BufferPool, Output};
use super::super::queue::Queue;
use super::{Peer, Stage};

impl Peer {
    /// Whether `more` bytes of output would exceed the limit. A frame that alone is larger than
    /// the limit goes out if nothing waits before it.
    pub(in super::super) fn would_exceed(&self, more: usize, limit: usize) -> bool {
        if self.output.is_empty() {
            return false;
        }
        let queued = if self.blocked {
            // What senders have queued since will stand there too.
            self.link.buffered.load(Ordering::Relaxed).saturating_sub(self.accounted)
        } else {
            0 // most likely; and those who read shall not cost a look at what others write
        };
        self.output.len() + queued + more > limit
    }

    /// Drops the oldest messages, if `size` bytes more would exceed the limit. Returns how many
    /// bytes are still missing then.
    ///
    /// With context takeover a compressed message refers to those before it: then all are dropped,
    /// and what comes next refers to none of them.
    pub(in super::super) fn make_room(
        &mut self,
        size: usize,
        limit: usize,
        pool: &mut BufferPool,
        counters: &mut Counters,
        now: Instant,
    ) -> usize {
        if !self.blocked && self.output.len() + size > limit {
            let _ = self.flush(pool, counters, now);
        }
        let excess = |output: &Output| match output.len() {
            0 => 0,
            unsent => (unsent + size).saturating_sub(limit),
        };
        let needed = excess(&self.output);
        if needed == 0 || size > limit {
            return needed;
        }
        let history = self.deflate.as_mut().filter(|deflate| deflate.keeps_history());
        let dropped = match history {
            Some(deflate) => {
                deflate.forget_history();
                self.output.drop_oldest(usize::MAX, pool)
            }
            None => self.output.drop_oldest(needed, pool),
        };
        counters.take_back(dropped);
        self.deadlines.output_dropped(dropped.bytes);
        self.pressed = true;
        excess(&self.output)
    }

    /// Notes that `count` bytes came into the output that a sender had counted already.
    pub(in super::super) fn account(&mut self, count: usize) {
        self.accounted += count;
    }

    /// Brings `link.buffered` up to date. Costs nothing if all was written that no sender counted,
    /// which is what a broadcast to clients that read comes to.
    pub(super) fn publish_buffered(&mut self) {
        let unsent = self.output.len();
        let accounted = std::mem::replace(&mut self.accounted, unsent);
        if unsent > accounted {
            self.link.buffered.fetch_add(unsent - accounted, Ordering::SeqCst);
        } else if unsent < accounted {
            let before = self.link.buffered.fetch_sub(accounted - unsent, Ordering::SeqCst);
            if before == accounted - unsent {
                self.link.tell_waiting();
            }
        }
        // A sender that was told to slow down has seen something that was waiting.
        self.pressed |= accounted > 0 && self.link.is_pressed();
    }

    /// Whether a `Drained` is to be put into this batch: nothing waits any more, after there was
    /// much. There is one at most in each batch, so that they do not pile up behind a callback.
    pub(in super::super) fn has_drained<C>(
        &mut self,
        limit: usize,
        queue: &Queue<C>,
        batch: u64,
    ) -> bool {
        if !self.output.is_empty() {
            self.pressed |= self.output.len() > limit / 2;
            return false;
        }
        if !self.pressed || self.stage != Stage::Talking || !queue.relieve(&self.link) {
            return false;
        }
        self.pressed = false;
        std::mem::replace(&mut self.drained_in, batch) != batch
    }
}
