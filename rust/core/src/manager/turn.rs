//! The loop, one turn a call.

use std::any::Any;
use std::collections::VecDeque;
use std::hash::RandomState;
use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Token};
use slab::Slab;

use crate::proto::SharedInflater;
use crate::proto::deflate::SharedDeflaters;

use super::clock::Clock;
use super::counters::{Counters, SharedCounters};
use super::fork::may_be_shared;
use super::handler::{Batch, Event};
use super::output::BufferPool;
use super::peer::{Peer, Stage};
use super::queue::{Commands, Queue, Target};
use super::read::INFLATE_BUDGET;
use super::sync::{Poll, Waker};
use super::wheel::Wheel;
use super::{Config, Handle};

/// Bytes that all the reads of a turn share. Idle connections own no receive buffer. (Models make
/// thousands of loops.)
pub(super) const ARENA_SIZE: usize = if cfg!(loom) { 16 } else { 512 } * 1024;

/// Sockets that one wait can tell of.
const MAX_POLLED: usize = 1024;

const WAKER: Token = Token(usize::MAX);

/// The loop. Its [`super::Manager`] drives it, and while a callback blocks the stand-in does.
#[derive(Debug)]
pub(super) struct Loop<C> {
    pub(super) config: Config,
    pub(super) queue: Arc<Queue<C>>,
    shared_counters: Arc<SharedCounters>,
    pub(super) counters: Counters,
    /// Ours: by it the queue knows whose loop it is.
    pub(super) waker: Arc<Waker>,
    pub(super) poll: Poll,
    polled: Events,
    pub(super) clock: Clock,
    /// When to look at which peer's deadlines.
    pub(super) wheel: Wheel,
    /// Makes what our PINGs say.
    pub(super) tokens: RandomState,
    /// There may be more sockets to read than the last wait has told of.
    pub(super) saw_not_all: bool,
    pub(super) peers: Slab<Peer>,
    pub(super) pool: BufferPool,
    /// What the handler gets next, and how much of its arena is used.
    pub(super) batch: Batch<C>,
    pub(super) used: usize,
    /// How many events of the batch own their payloads: what the stand-in has read stays while the
    /// arena is used again.
    pub(super) settled: usize,
    /// Counts the batches, to tell one from the next.
    pub(super) deliveries: u64,
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
    /// Peers of which messages wait in the batch, beyond a turn.
    pub(super) waiting: Vec<Target>,
    /// Peers that are not read because too much of theirs waits.
    pub(super) paused: Vec<Target>,
    /// Peers whose `Established` is in the batch.
    pub(super) adopted: Vec<Target>,
    /// Peers that are owed a CLOSE, behind what the callbacks send that the batch calls.
    pub(super) owed: Vec<Target>,
    /// Peers whose FIN has been read, behind what the batch has of them.
    pub(super) hung_up: Vec<Target>,
    /// Set by a shutdown: when to cut off who is left.
    pub(super) stop_deadline: Option<Instant>,
    /// No adoption will come any more.
    pub(super) finishing: bool,
    /// It was not waited for when it shut down: others have the queue now, and count.
    pub(super) left_behind: bool,
    /// How many peers have come or gone since the last wait.
    pub(super) turnover: usize,
    /// What ended the stand-in's turns early.
    pub(super) failure: Option<Failure>,
}

/// Why the stand-in cannot go on; the owner meets it when the handler returns.
#[derive(Debug)]
pub(super) enum Failure {
    Io(io::Error),
    Panic(Box<dyn Any + Send>),
}

impl<C: Send> Loop<C> {
    pub(super) fn new(handle: &Handle<C>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        if !handle.queue.open(&waker) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let now = Instant::now();
        Ok(Self {
            config: handle.config,
            queue: Arc::clone(&handle.queue),
            shared_counters: Arc::clone(&handle.counters),
            // Those of a loop that was left behind are no connections of this one.
            counters: Counters { connections: 0, ..handle.counters.load() },
            waker,
            poll,
            polled: Events::with_capacity(MAX_POLLED),
            clock: Clock::new(now),
            wheel: Wheel::new(now),
            tokens: RandomState::new(),
            saw_not_all: false,
            peers: Slab::new(),
            pool: BufferPool::default(),
            batch: Batch::new(ARENA_SIZE),
            used: 0,
            settled: 0,
            deliveries: 1,
            inflater: SharedInflater::new(),
            deflaters: SharedDeflaters::new(),
            inflate_budget: INFLATE_BUDGET,
            spare: Commands::default(),
            ready: VecDeque::new(),
            dirty: Vec::new(),
            gone: Vec::new(),
            waiting: Vec::new(),
            paused: Vec::new(),
            adopted: Vec::new(),
            owed: Vec::new(),
            hung_up: Vec::new(),
            stop_deadline: None,
            finishing: false,
            left_behind: false,
            turnover: 0,
            failure: None,
        })
    }

    pub(super) fn queue_address(&self) -> usize {
        Arc::as_ptr(&self.queue).addr()
    }

    // The stand-in's turn.

    /// A turn that calls no handler: the events stay in the batch, and nothing is done that has to
    /// wait for what the callbacks send.
    pub(super) fn turn_without_handler(&mut self) -> io::Result<()> {
        // The owner may have left something to be written, or a socket to be closed.
        let may_sleep = [&self.dirty, &self.gone].iter().all(|slots| slots.is_empty());
        let may_sleep = may_sleep && self.ready.is_empty();
        self.wait_for(may_sleep)?;
        self.take_commands(&[]);
        self.read();
        self.settle();
        self.flush();
        self.expire();
        self.reap();
        self.publish_counters();
        Ok(())
    }

    pub(super) fn note_takeover(&mut self) {
        self.counters.takeovers += 1;
        self.batch.make_room(ARENA_SIZE);
    }

    pub(super) fn fail(&mut self, failure: Failure) {
        self.failure = Some(failure);
    }

    // Wait.

    /// Waits until there is something to do; not at all if the handler is owed a call.
    pub(super) fn wait(&mut self, handler_is_owed: bool) -> io::Result<()> {
        let is_idle = self.ready.is_empty() && self.batch.events.is_empty();
        let owes_nothing = self.owed.is_empty() && self.hung_up.is_empty() && !handler_is_owed;
        self.wait_for(is_idle && owes_nothing)
    }

    fn wait_for(&mut self, may_sleep: bool) -> io::Result<()> {
        // Where clients come and go, whoever accepts them may be waiting for this processor. What
        // happens meanwhile is dealt with together, and wakes nobody.
        if may_sleep && std::mem::take(&mut self.turnover) > 0 {
            std::thread::yield_now();
        }
        let timeout = self.sleep_limit(may_sleep);
        let polled = self.poll.poll(&mut self.polled, timeout);
        self.clock.advance(Instant::now());
        self.wheel.advance(self.clock.now());
        self.saw_not_all = true;
        match polled {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        self.counters.turns += 1;
        self.saw_not_all = self.polled.iter().count() == MAX_POLLED;
        for event in &self.polled {
            let Some(peer) = self.peers.get_mut(event.token().0) else { continue };
            if event.is_writable() && peer.blocked {
                peer.blocked = false;
                list(&mut self.dirty, &mut peer.listed_dirty, event.token().0);
            }
            peer.read_closed |= event.is_read_closed();
            if event.is_readable() {
                peer.rate.readable(self.clock.came_at());
            }
            if (event.is_readable() || event.is_read_closed()) && !peer.listed_ready {
                peer.listed_ready = true;
                self.ready.push_back(event.token().0);
            }
        }
        Ok(())
    }

    /// How long the wait may last; `None` is for ever.
    fn sleep_limit(&mut self, may_sleep: bool) -> Option<Duration> {
        if !may_sleep || !self.queue.prepare_to_sleep(&self.waker) {
            self.clock.plan_no_wait();
            return Some(Duration::ZERO);
        }
        // With nobody left to cut off, the stand-in waits for the owner: it would spin otherwise.
        let is_empty = self.finishing && self.peers.is_empty();
        let stop_deadline = self.stop_deadline.filter(|_| !is_empty);
        let next = self.wheel.next().into_iter().chain(stop_deadline).min();
        let now = Instant::now();
        self.clock.plan(now, next);
        next.map(|deadline| deadline.saturating_duration_since(now))
    }

    // Flush.

    pub(super) fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for slot in dirty.drain(..) {
            self.flush_peer(slot);
        }
        self.dirty = dirty;
    }

    pub(super) fn flush_peer(&mut self, slot: usize) {
        let Some(peer) = self.peers.get_mut(slot) else { return };
        peer.listed_dirty = false;
        let before = peer.stage;
        if let Err(error) = peer.flush(&mut self.pool, &mut self.counters, self.clock.now()) {
            log::debug!("connection {}: {error}", peer.link.id);
            peer.stage = Stage::Gone;
        }
        if let Some(end) = peer.deadlines.stall_end(&self.config) {
            self.wheel.arm(slot, end);
        }
        if before == peer.stage {
            if peer.has_drained(self.config.send_queue_limit, &self.queue, self.deliveries) {
                self.batch.events.push(Event::Drained { slot });
            }
            return;
        }
        if peer.finish() {
            self.batch.events.push(Event::Closed { slot });
        }
        if peer.stage == Stage::Gone {
            self.gone.push(slot);
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
    pub(super) fn reap(&mut self) {
        self.turnover += self.gone.len();
        for slot in self.gone.drain(..) {
            let mut peer = self.peers.remove(slot);
            self.wheel.disarm(slot);
            self.counters.connections -= 1;
            self.counters.take_back(peer.output.unsent_messages());
            if peer.finish() {
                self.batch.events.push(Event::Closed { slot });
            }
            // Usually it is enough to close it, and saves two system calls.
            if may_be_shared() {
                if let Err(error) = self.poll.registry().deregister(&mut peer.stream.socket) {
                    log::debug!("connection {}: {error}", peer.link.id);
                }
                let _ = peer.stream.shutdown(Shutdown::Write);
            }
        }
    }

    /// Stopped, and everyone has had the `Closed`: those that linger are cut off.
    pub(super) fn is_over(&self) -> bool {
        self.stop_deadline.is_some()
            && (self.finishing || self.left_behind)
            && self.peers.iter().all(|(_, peer)| peer.stage == Stage::Lingering)
            && self.batch.events.is_empty()
            && self.queue.close_if_empty(&self.waker)
    }
}

impl<C> Loop<C> {
    pub(super) fn publish_counters(&self) {
        if !self.left_behind {
            self.shared_counters.store(&self.counters);
        }
    }
}

impl<C> Drop for Loop<C> {
    fn drop(&mut self) {
        for (_, peer) in &self.peers {
            peer.link.shut();
            self.counters.take_back(peer.output.unsent_messages());
        }
        self.counters.connections -= self.peers.len() as u64; // those that lingered
        // Adoptions that came too late close their sockets here.
        let commands = self.queue.abandon(&self.waker);
        self.counters.drop_messages(commands.messages());
        self.publish_counters();
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
