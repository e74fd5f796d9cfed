//! What goes to the handler, and what has to wait until it returns.

use std::io;
use std::panic::resume_unwind;

use crate::proto::Payload;

use super::handler::{self, Batch, Event};
use super::peer::Stage;
use super::queue::Target;
use super::read::INFLATE_BUDGET;
use super::turn::{Failure, Loop, find, list};

/// What a message takes, beside its payload, while it waits for the handler.
pub(super) const COST_OF_EVENT: usize = 64;

/// What the handler has been given, and what is to be done when it returns.
#[derive(Debug)]
pub(super) struct Delivery<C> {
    pub(super) batch: Batch<C>,
    /// Peers whose `Established` is in the batch.
    greeted: Vec<Target>,
    /// Peers that get their CLOSE then, behind what the callbacks have sent.
    pub(super) answering: Vec<Target>,
    /// Peers that have ended behind what is in the batch.
    hung_up: Vec<Target>,
}

impl<C> Delivery<C> {
    pub(super) fn new() -> Self {
        Self {
            batch: Batch::new(0),
            greeted: Vec::new(),
            answering: Vec::new(),
            hung_up: Vec::new(),
        }
    }
}

impl<C: Send> Loop<C> {
    /// Moves to `delivery` what the handler gets now. What comes from here on is for the next one.
    pub(super) fn begin_delivery(&mut self, delivery: &mut Delivery<C>) {
        std::mem::swap(&mut self.batch, &mut delivery.batch);
        std::mem::swap(&mut self.adopted, &mut delivery.greeted);
        std::mem::swap(&mut self.owed, &mut delivery.answering);
        std::mem::swap(&mut self.hung_up, &mut delivery.hung_up);
        self.settled = 0;
        self.deliveries += 1;
        for &target in &delivery.greeted {
            if let Some(peer) = find(&mut self.peers, target)
                && !peer.deferred
            {
                peer.stage = peer.stage.max(Stage::Greeting);
            }
        }
        for target in self.waiting.drain(..) {
            if let Some(peer) = find(&mut self.peers, target) {
                peer.waiting = 0;
            }
        }
        for target in std::mem::take(&mut self.paused) {
            self.resume(target);
        }
    }

    /// Takes the arena back, and lets out what waited for the greeting of the handler.
    pub(super) fn end_delivery(&mut self, delivery: &mut Delivery<C>) -> io::Result<()> {
        delivery.batch.events.clear();
        std::mem::swap(&mut self.batch.arena, &mut delivery.batch.arena);
        delivery.batch.forget_arena(); // the stand-in's, if there was one
        self.used = 0;
        self.inflate_budget = INFLATE_BUDGET;
        for target in delivery.greeted.drain(..) {
            let Some(peer) = find(&mut self.peers, target) else { continue };
            if peer.deferred {
                continue; // the handler says when it has greeted
            }
            peer.begin();
            list(&mut self.dirty, &mut peer.listed_dirty, target.slot);
        }
        match self.failure.take() {
            None => Ok(()),
            Some(Failure::Io(error)) => Err(error),
            Some(Failure::Panic(panic)) => resume_unwind(panic),
        }
    }

    /// Does what had to wait for what the callbacks send: CLOSE frames, and the ends of peers.
    pub(super) fn answer(&mut self, delivery: &mut Delivery<C>) {
        for target in delivery.answering.drain(..) {
            self.answer_one(target);
        }
        for target in delivery.hung_up.drain(..) {
            if find(&mut self.peers, target).is_some() {
                self.end(target.slot);
            }
        }
    }

    /// Sends the CLOSE that a peer is owed.
    pub(super) fn answer_one(&mut self, target: Target) {
        let Some(peer) = find(&mut self.peers, target) else { return };
        peer.answer(&mut self.pool);
        list(&mut self.dirty, &mut peer.listed_dirty, target.slot);
        self.begin_closing(target.slot);
    }

    /// Gives the events of this turn payloads of their own, so that the next one may use the arena.
    pub(super) fn settle(&mut self) {
        let Batch { events, arena } = &mut self.batch;
        for event in &mut events[self.settled..] {
            let (Event::Text { slot, payload } | Event::Binary { slot, payload }) = event else {
                continue;
            };
            if let Payload::InPlace(range) = payload {
                *payload = Payload::Assembled(arena[range.clone()].to_vec());
            }
            let Some(peer) = self.peers.get_mut(*slot) else { continue };
            if peer.waiting == 0 {
                self.waiting.push(Target { slot: *slot, id: peer.link.id });
            }
            peer.waiting += handler::bytes(payload, &[]).len() + COST_OF_EVENT;
        }
        self.settled = self.batch.events.len();
        self.used = 0;
        self.inflate_budget = INFLATE_BUDGET;
    }
}
