//! How messages come from the command queue into the outputs of connections, and what happens to
//! those for whom there is no room.
//!
//! A message to one connection was admitted by the queue, which knows how much waits; what goes to
//! everybody is judged here, for each receiver. Before a peer is called slow, its socket gets a
//! chance to take what it can: a burst is no reason.

use std::sync::Arc;
use std::time::Instant;

use crate::proto::server_frames;

use super::SlowConsumer;
use super::connection::{CloseCause, Compress};
use super::counters::Counters;
use super::output::{BufferPool, Dropped};
use super::peer::Peer;
use super::queue::{Address, Audience, Frames, Target, slow_consumer_frame};
use super::turn::{Loop, find, list};
use super::variants::Variants;

/// A share of a broadcast up to this size is copied for a peer that does not read: a reference and
/// what belongs to it take as much.
const COPIED_SHARE: usize = 256;

impl<C: Send> Loop<C> {
    /// Passes frames on to those that they are for. So many of them are messages; no command
    /// follows that of the last.
    pub(super) fn send(
        &mut self,
        to: Address,
        frames: Frames,
        arena: &[u8],
        messages: u64,
        is_last: bool,
    ) {
        let Address { audience, compress } = to;
        match audience {
            Audience::One(target) => self.send_to_one(target, frames, arena, messages, compress),
            Audience::All { except } => {
                // Else there may be replies in this turn, that can share a write with it.
                let at_once = is_last && self.ready.is_empty() && self.batch.events.is_empty();
                self.broadcast(except, &frames.bytes(arena), messages, compress, at_once);
            }
        }
    }

    fn send_to_one(
        &mut self,
        target: Target,
        frames: Frames,
        arena: &[u8],
        messages: u64,
        compress: Compress,
    ) {
        let size = frames.len();
        let Some(peer) = find(&mut self.peers, target) else {
            self.counters.drop_messages(frames.as_dropped(arena));
            return;
        };
        list(&mut self.dirty, &mut peer.listed_dirty, target.slot);
        if !peer.takes_messages() {
            peer.account(size);
            self.counters.drop_messages(frames.as_dropped(arena));
            return;
        }
        self.counters.messages_sent += messages;
        let missing = match self.config.slow_consumer {
            SlowConsumer::Close | SlowConsumer::DropNewest => 0, // it was admitted
            SlowConsumer::DropOldest => {
                let limit = self.config.send_queue_limit;
                let now = self.clock.now();
                peer.make_room(size, limit, &mut self.pool, &mut self.counters, now)
            }
        };
        let frames = match missing {
            0 => frames,
            _ => Frames::Own(without_oldest(&frames.bytes(arena), missing, &mut self.counters)),
        };
        match (compress, &mut peer.deflate, frames) {
            (Compress::Allow, Some(deflate), frames) => {
                peer.output.append_about(size, &mut self.pool, |out| {
                    deflate.compress(&frames.bytes(arena), &mut self.deflaters, out);
                });
            }
            (_, _, Frames::Arena(range)) => peer.output.append(&arena[range], &mut self.pool),
            (_, _, Frames::Own(frame)) => peer.output.push(frame),
            (_, _, Frames::Lent(frame)) => peer.output.push_lent(frame),
        }
        peer.account(size); // not before: until now these bytes were among those in the queue
    }

    /// Puts frames into the outputs of all peers, or writes them `at_once` where nothing waits. To
    /// come back to a thousand peers for that costs more: nothing of them is in a cache then.
    fn broadcast(
        &mut self,
        except: Option<Target>,
        frames: &[u8],
        messages: u64,
        compress: Compress,
        at_once: bool,
    ) {
        let mut variants = Variants::new(frames);
        let mut delivery = Delivery {
            messages,
            limit: self.config.send_queue_limit,
            policy: self.config.slow_consumer,
            pool: &mut self.pool,
            counters: &mut self.counters,
            now: self.clock.now(),
        };
        let mut slow = Vec::new();
        for (slot, peer) in &mut self.peers {
            // The slot is here, and the id is not.
            let is_exempt = |target: Target| target.slot == slot && target.id == peer.link.id;
            if except.is_some_and(is_exempt) || !peer.takes_broadcasts() {
                continue;
            }
            let deflate = peer.deflate.as_mut().filter(|_| compress == Compress::Allow);
            let frames = variants.choose(deflate, &mut self.deflaters);
            if at_once && peer.has_nothing_to_flush() {
                delivery.write(peer, frames);
            } else if !delivery.deliver(peer, frames) {
                slow.push(Target { slot, id: peer.link.id });
            }
            if peer.unsent() > 0 {
                list(&mut self.dirty, &mut peer.listed_dirty, slot);
            }
        }
        for target in slow {
            self.close(target, slow_consumer_frame(), CloseCause::SlowConsumer);
        }
    }
}

/// A broadcast on its way to each of its receivers.
struct Delivery<'a> {
    messages: u64,
    limit: usize,
    policy: SlowConsumer,
    pool: &'a mut BufferPool,
    counters: &'a mut Counters,
    now: Instant,
}

impl Delivery<'_> {
    /// False if the peer is to be closed for being slow.
    fn deliver(&mut self, peer: &mut Peer, frames: &Arc<[u8]>) -> bool {
        if peer.would_exceed(frames.len(), self.limit) && !peer.blocked {
            let _ = peer.flush(self.pool, self.counters, self.now);
        }
        if !peer.would_exceed(frames.len(), self.limit) {
            self.put(peer, frames);
            return true;
        }
        peer.pressed = true;
        match self.policy {
            SlowConsumer::Close | SlowConsumer::DropNewest => {
                let dropped = Dropped { messages: self.messages, bytes: frames.len() };
                self.counters.drop_messages(dropped);
            }
            SlowConsumer::DropOldest => {
                let (limit, now) = (self.limit, self.now);
                match peer.make_room(frames.len(), limit, self.pool, self.counters, now) {
                    0 => self.put(peer, frames),
                    missing => {
                        self.counters.messages_sent += self.messages;
                        peer.output.push(without_oldest(frames, missing, self.counters));
                    }
                }
            }
        }
        self.policy != SlowConsumer::Close
    }

    /// Writes past the output, where nothing waits.
    fn write(&mut self, peer: &mut Peer, frames: &Arc<[u8]>) {
        self.counters.messages_sent += self.messages;
        self.counters.bytes_sent += peer.write_past_output(frames) as u64;
    }

    fn put(&mut self, peer: &mut Peer, frames: &Arc<[u8]>) {
        self.counters.messages_sent += self.messages;
        if peer.blocked && frames.len() <= COPIED_SHARE {
            peer.output.append(frames, self.pool);
        } else {
            peer.output.push_shared(frames);
        }
    }
}

/// What is left of frames without the oldest messages, which take so many bytes or more. They were
/// counted as sent.
fn without_oldest(frames: &[u8], missing: usize, counters: &mut Counters) -> Vec<u8> {
    let mut left = Vec::new();
    let mut dropped = Dropped::default();
    for frame in server_frames(frames) {
        if dropped.bytes < missing && !frame.opcode.is_control() {
            dropped += Dropped { messages: 1, bytes: frame.bytes.len() };
        } else {
            left.extend_from_slice(frame.bytes);
        }
    }
    counters.take_back(dropped);
    left
}
