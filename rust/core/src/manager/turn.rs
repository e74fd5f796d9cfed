//! The loop, one turn a call.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};
use slab::Slab;

use crate::proto::SharedInflater;
use crate::proto::deflate::SharedDeflaters;

use super::counters::{Counters, SharedCounters};
use super::handler::{Batch, Event, Handler};
use super::output::BufferPool;
use super::peer::{Peer, Stage};
use super::queue::{Commands, Queue, Target};
use super::read::INFLATE_BUDGET;
use super::{Config, Handle};

/// Bytes that all the reads of a turn share. Idle connections own no receive buffer.
pub(super) const ARENA_SIZE: usize = 512 * 1024;

const WAKER: Token = Token(usize::MAX);

/// The loop. It lives on one thread, between [`Manager::new`] and a [`Manager::turn`] that
/// returns false.
#[derive(Debug)]
pub struct Manager<C> {
    pub(super) config: Config,
    pub(super) queue: Arc<Queue<C>>,
    shared_counters: Arc<SharedCounters>,
    pub(super) counters: Counters,
    /// Ours: by it the queue knows whose loop it is.
    waker: Arc<Waker>,
    pub(super) poll: Poll,
    polled: Events,
    pub(super) peers: Slab<Peer>,
    pub(super) pool: BufferPool,
    /// What the handler gets next, and how much of its arena is used.
    pub(super) batch: Batch<C>,
    pub(super) used: usize,
    /// Of those connections that keep no history of what was compressed.
    pub(super) inflater: SharedInflater,
    pub(super) deflaters: SharedDeflaters,
    /// What is left of [`INFLATE_BUDGET`].
    pub(super) inflate_budget: usize,
    /// An empty queue to swap with the full one.
    pub(super) spare: Commands<C>,
    /// Slots to read from, to flush, and to remove at the end of the turn.
    pub(super) ready: VecDeque<usize>,
    pub(super) dirty: Vec<usize>,
    gone: Vec<usize>,
    /// Peers whose `Established` is in the batch.
    pub(super) adopted: Vec<Target>,
    /// Peers that are owed a CLOSE: `answering` since the batch that is dispatched, `owed` since
    /// the next one. Only the former are answered, behind what the callbacks have sent.
    pub(super) owed: Vec<Target>,
    pub(super) answering: Vec<Target>,
    /// When to give up on a closing handshake, in order, since the timeout is the same for all.
    close_deadlines: VecDeque<(Instant, Target)>,
    /// Set by a shutdown: when to cut off who is left.
    pub(super) stop_deadline: Option<Instant>,
    /// No adoption will come any more.
    pub(super) finishing: bool,
}

impl<C: Send> Manager<C> {
    /// The loop of this handle. There can be one at a time; else the error is
    /// [`io::ErrorKind::AlreadyExists`].
    pub fn new(handle: &Handle<C>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        if !handle.queue.open(&waker) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(Self {
            config: handle.config,
            queue: Arc::clone(&handle.queue),
            shared_counters: Arc::clone(&handle.counters),
            counters: handle.counters.load(),
            waker,
            poll,
            polled: Events::with_capacity(1024),
            peers: Slab::new(),
            pool: BufferPool::default(),
            batch: Batch::new(ARENA_SIZE),
            used: 0,
            inflater: SharedInflater::new(),
            deflaters: SharedDeflaters::new(),
            inflate_budget: INFLATE_BUDGET,
            spare: Commands::default(),
            ready: VecDeque::new(),
            dirty: Vec::new(),
            gone: Vec::new(),
            adopted: Vec::new(),
            owed: Vec::new(),
            answering: Vec::new(),
            close_deadlines: VecDeque::new(),
            stop_deadline: None,
            finishing: false,
        })
    }

    /// Takes turns until the manager is stopped.
    pub fn run(&mut self, handler: &mut impl Handler<Context = C>) -> io::Result<()> {
        while self.turn(handler)? {}
        Ok(())
    }

    /// Waits until there is something to do, and does all of it once. Returns false when the
    /// manager was stopped and every connection has had its `Closed`.
    pub fn turn(&mut self, handler: &mut impl Handler<Context = C>) -> io::Result<bool> {
        self.wait()?;
        self.take_commands();
        self.read();
        self.dispatch(handler);
        self.take_commands(); // what the callbacks have sent
        self.answer(); // a CLOSE stands behind the last replies
        self.flush();
        self.expire();
        self.reap();
        self.shared_counters.store(&self.counters);
        Ok(!self.is_over())
    }

    // Wait.

    fn wait(&mut self) -> io::Result<()> {
        let timeout = self.sleep_limit();
        match self.poll.poll(&mut self.polled, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        for event in &self.polled {
            let Some(peer) = self.peers.get_mut(event.token().0) else { continue };
            if event.is_writable() && peer.blocked {
                peer.blocked = false;
                list(&mut self.dirty, &mut peer.listed_dirty, event.token().0);
            }
            peer.read_closed |= event.is_read_closed();
            if (event.is_readable() || event.is_read_closed()) && !peer.listed_ready {
                peer.listed_ready = true;
                self.ready.push_back(event.token().0);
            }
        }
        Ok(())
    }

    /// How long the wait may last; `None` is for ever.
    fn sleep_limit(&self) -> Option<Duration> {
        let busy = !self.ready.is_empty() || !self.batch.events.is_empty() || !self.owed.is_empty();
        if busy || !self.queue.prepare_to_sleep() {
            return Some(Duration::ZERO);
        }
        let close_deadline = self.close_deadlines.front().map(|(deadline, _)| *deadline);
        let next = close_deadline.into_iter().chain(self.stop_deadline).min();
        next.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    // Dispatch.

    fn dispatch(&mut self, handler: &mut impl Handler<Context = C>) {
        self.answering.append(&mut self.owed);
        if !self.batch.events.is_empty() {
            handler.dispatch(&mut self.batch);
            self.batch.events.clear();
        }
        self.used = 0;
        self.inflate_budget = INFLATE_BUDGET;
        for target in self.adopted.drain(..) {
            let Some(peer) = find(&mut self.peers, target) else { continue };
            if peer.stage == Stage::Adopted {
                peer.stage = Stage::Talking;
            }
            list(&mut self.dirty, &mut peer.listed_dirty, target.slot);
        }
    }

    fn answer(&mut self) {
        for target in self.answering.drain(..) {
            let Some(peer) = find(&mut self.peers, target) else { continue };
            peer.answer(&mut self.pool);
            list(&mut self.dirty, &mut peer.listed_dirty, target.slot);
        }
    }

    // Flush.

    fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for slot in dirty.drain(..) {
            let Some(peer) = self.peers.get_mut(slot) else { continue };
            peer.listed_dirty = false;
            let before = peer.stage;
            if let Err(error) = peer.flush(&mut self.pool, &mut self.counters) {
                log::debug!("connection {}: {error}", peer.link.id);
                peer.stage = Stage::Gone;
            }
            if before == peer.stage {
                continue;
            }
            if peer.finish() {
                self.batch.events.push(Event::Closed { slot });
            }
            if peer.stage == Stage::Gone {
                self.gone.push(slot);
            }
        }
        self.dirty = dirty;
    }

    // Deadlines.

    pub(super) fn arm_close_deadline(&mut self, target: Target) {
        self.close_deadlines.push_back((after(self.config.close_timeout), target));
    }

    fn expire(&mut self) {
        if self.close_deadlines.is_empty() && self.stop_deadline.is_none() {
            return;
        }
        let now = Instant::now();
        while let Some(&(deadline, target)) = self.close_deadlines.front() {
            if deadline > now {
                break;
            }
            self.close_deadlines.pop_front();
            if find(&mut self.peers, target).is_some() {
                self.let_go(target.slot);
            }
        }
        if self.stop_deadline.is_some_and(|deadline| deadline <= now) {
            self.finishing = true;
            let rest: Vec<usize> = self.peers.iter().map(|(slot, _)| slot).collect();
            for slot in rest {
                self.let_go(slot);
            }
        }
    }

    // Reap.

    /// Marks a peer for removal at the end of the turn.
    pub(super) fn let_go(&mut self, slot: usize) {
        if let Some(peer) = self.peers.get_mut(slot)
            && peer.stage != Stage::Gone
        {
            peer.stage = Stage::Gone;
            self.gone.push(slot);
        }
    }

    /// Removes what is marked. The handler hears of it in the next turn, before the slot is used
    /// again: events stay in order.
    fn reap(&mut self) {
        for slot in self.gone.drain(..) {
            let mut peer = self.peers.remove(slot);
            self.counters.connections -= 1;
            if peer.finish() {
                self.batch.events.push(Event::Closed { slot });
            }
            if let Err(error) = self.poll.registry().deregister(&mut peer.stream) {
                log::debug!("connection {}: {error}", peer.link.id);
            }
        }
    }

    /// Stopped, and everyone has had the `Closed`: those that linger are cut off.
    fn is_over(&self) -> bool {
        self.stop_deadline.is_some()
            && self.finishing
            && self.peers.iter().all(|(_, peer)| peer.stage == Stage::Lingering)
            && self.batch.events.is_empty()
            && self.queue.close_if_empty()
    }
}

impl<C> Drop for Manager<C> {
    fn drop(&mut self) {
        for (_, peer) in &self.peers {
            peer.link.open.store(false, Ordering::Relaxed);
        }
        self.counters.connections -= self.peers.len() as u64; // those that lingered
        self.shared_counters.store(&self.counters);
        // Adoptions that came too late close their sockets here.
        drop(self.queue.abandon(&self.waker));
    }
}

/// A moment that far away, or one that nobody lives to see.
pub(super) fn after(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or_else(|| now + Duration::from_secs(1 << 32))
}

/// Puts a slot on a list, once.
pub(super) fn list(slots: &mut Vec<usize>, listed: &mut bool, slot: usize) {
    if !*listed {
        *listed = true;
        slots.push(slot);
    }
}

/// The peer that a command means, unless it is gone and the slot is empty or another's.
pub(super) fn find(peers: &mut Slab<Peer>, target: Target) -> Option<&mut Peer> {
    peers.get_mut(target.slot).filter(|peer| peer.link.id == target.id)
}
