//! Reading: what comes in, as much of it as a turn may take.
//!
//! Every connection has a budget of bytes, so that nobody starves. What is compressed has two more:
//! what a turn inflates, for all connections, and what one of them may bring, since both memory and
//! time can be a thousand times what the bytes on the wire suggest. Whoever exceeds a budget goes
//! to the end of the ready list.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::proto::{CloseCode, CloseFrame};

use super::connection::CloseCause;
use super::peer::{Intake, Peer};
use super::queue::{Target, slow_consumer_frame};
use super::turn::{ARENA_SIZE, Loop, find, list};

/// Bytes that one connection may bring into a turn.
const READ_BUDGET: usize = 128 * 1024;

/// Bytes that may be inflated in a turn, for all connections; the message that exceeds it is the
/// last one. What a peer sends can be a thousand times as large as it looks.
pub(super) const INFLATE_BUDGET: usize = 512 * 1024;

/// Bytes that a connection with compression may bring into a turn. There are streams of that length
/// that take milliseconds to inflate.
const COMPRESSED_READ_BUDGET: usize = 32 * 1024;

/// Reading goes on in the next turn when the arena has less room than this.
const MIN_ROOM: usize = 16 * 1024;

/// What one read came to. The default is that of a read that did not return.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Bytes that it takes off the budget: those that came, encrypted or not.
    pub(super) cost: usize,
    /// Bytes of the arena that the batch now refers to: all that it was put into, or none.
    pub(super) kept: usize,
    pub(super) readiness: Readiness,
}

/// Whether a socket is to be read again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Readiness {
    /// The socket is empty: an event will say when it is not.
    Drained,
    /// There may be more; the budget or the room is used up.
    More,
    /// The peer's FIN, or a network error.
    #[default]
    HungUp,
}

impl<C: Send> Loop<C> {
    pub(super) fn read(&mut self) {
        for _ in 0..self.ready.len() {
            let room = (ARENA_SIZE - self.used).min(READ_BUDGET);
            if room < MIN_ROOM || self.inflate_budget == 0 {
                return;
            }
            let Some(slot) = self.ready.pop_front() else { return };
            self.read_from(slot, room);
        }
    }

    /// Reads until the socket is empty or a budget is used up.
    fn read_from(&mut self, slot: usize, mut budget: usize) {
        if self.pause_if_full(slot) {
            return;
        }
        if self.decode_held(slot) {
            self.ready.push_back(slot);
            return;
        }
        if self.peers.get(slot).is_some_and(|peer| peer.deflate.is_some()) {
            budget = budget.min(COMPRESSED_READ_BUDGET);
        }
        let readiness = loop {
            let room = self.used..self.used + budget;
            let mut intake = Taken::default();
            self.take_in(slot, |peer, arena, intake_of_loop| {
                intake = peer.read(arena, room, intake_of_loop);
            });
            self.used += intake.kept;
            budget = budget.saturating_sub(intake.cost);
            if intake.readiness != Readiness::More || budget == 0 || self.inflate_budget == 0 {
                break intake.readiness;
            }
        };
        match readiness {
            Readiness::More => self.ready.push_back(slot),
            Readiness::Drained => {
                if let Some(peer) = self.peers.get_mut(slot) {
                    peer.listed_ready = false;
                    peer.rate.drained();
                }
            }
            // It stays listed: there is nothing more to read.
            Readiness::HungUp => self.hang_up(slot),
        }
    }

    /// Leaves a socket alone, if enough of its messages wait for the handler. TCP holds the peer
    /// back then.
    fn pause_if_full(&mut self, slot: usize) -> bool {
        let Some(peer) = self.peers.get_mut(slot) else { return false };
        let limit = self.config.receive_queue_limit;
        peer.is_paused = peer.waiting + peer.link.hold.bytes() > limit;
        if !peer.is_paused {
            return false;
        }
        peer.deadlines.forget_ping();
        if peer.waiting > 0 {
            self.paused.push(Target { slot, id: peer.link.id }); // to be looked at again soon
        } else {
            // All that waits is with the handler, which says when it has dealt with it.
            peer.is_paused = peer.link.hold.stop(limit);
        }
        peer.is_paused // it stays listed as ready
    }

    /// Reads a peer again that was left alone.
    pub(super) fn resume(&mut self, target: Target) {
        if let Some(peer) = find(&mut self.peers, target)
            && peer.is_paused
        {
            peer.is_paused = false;
            self.ready.push_back(target.slot);
        }
    }

    /// Decodes what an earlier turn has left of a peer's bytes; false if it has left nothing.
    fn decode_held(&mut self, slot: usize) -> bool {
        let Some(mut held) = self.peers.get_mut(slot).and_then(Peer::take_held) else {
            return false;
        };
        self.take_in(slot, |peer, _, intake| {
            peer.decode(&mut held, None, intake);
        });
        true
    }

    /// Lets a peer take bytes in, and does what they call for. A panic in there is a fault of
    /// ours, and ends this connection only.
    pub(super) fn take_in(
        &mut self,
        slot: usize,
        take: impl FnOnce(&mut Peer, &mut [u8], &mut Intake<'_, C>),
    ) {
        let Some(peer) = self.peers.get_mut(slot) else { return };
        let target = Target { slot, id: peer.link.id };
        let was_open = peer.protocol.is_open();
        let mut intake = Intake {
            limits: &self.config.limits,
            inflater: &mut self.inflater,
            inflate_budget: &mut self.inflate_budget,
            pool: &mut self.pool,
            events: &mut self.batch.events,
            counters: &mut self.counters,
            clock: &self.clock,
        };
        let arena = &mut self.batch.arena;
        let taken = catch_unwind(AssertUnwindSafe(|| take(peer, arena, &mut intake)));
        if taken.is_err() {
            log::error!("connection {}: the core panicked; this is a bug", target.id);
            self.close(target, internal_error_frame(), CloseCause::HandlerError);
            self.let_go(slot);
            return;
        }
        if !peer.output.is_empty() || peer.protocol.is_closed() {
            list(&mut self.dirty, &mut peer.listed_dirty, slot);
        }
        if peer.holds() && !peer.listed_ready {
            peer.listed_ready = true;
            self.ready.push_back(slot);
        }
        if was_open && !peer.protocol.is_open() {
            if !peer.deferred {
                self.owed.push(target); // the handler says when a deferred peer gets its CLOSE
            }
        } else if peer.pong_backlog.min(peer.output.len()) > self.config.send_queue_limit {
            self.close(target, slow_consumer_frame(), CloseCause::SlowConsumer);
        }
    }

    /// A socket has ended.
    ///
    /// A FIN is no reason to forget what came before it: the end waits for the handler as that does,
    /// and the peer may read the replies.
    pub(super) fn hang_up(&mut self, slot: usize) {
        if let Some(peer) = self.peers.get(slot)
            && peer.may_still_read()
        {
            self.hung_up.push(Target { slot, id: peer.link.id });
        } else {
            self.end(slot);
        }
    }

    /// Lets a peer go whose socket has ended. If a CLOSE came before, what it is owed still goes
    /// out.
    pub(super) fn end(&mut self, slot: usize) {
        if let Some(peer) = self.peers.get_mut(slot)
            && peer.hang_up()
        {
            list(&mut self.dirty, &mut peer.listed_dirty, slot);
        } else {
            self.let_go(slot);
        }
    }
}

fn internal_error_frame() -> CloseFrame {
    CloseFrame::new(CloseCode::INTERNAL_ERROR, "internal error").unwrap_or_default()
}
