//! The loop that owns every WebSocket of a server.
//!
//! A [`Handle`] is what other threads hold: they adopt sockets, broadcast and stop through it. One
//! thread makes a [`Manager`] of it and calls [`Manager::turn`] until it returns false. A turn
//! reads top to bottom: wait, take commands, read, dispatch, flush, deadlines, reap.
//!
//! The outside is a [`Handler`], which gets all the events of a turn in one call. While it runs, no
//! lock is held and it borrows nothing of the loop; what it sends comes back as commands, which are
//! taken before the flush, so that replies leave in the same turn, one write a connection.
//!
//! Sockets are edge-triggered and registered once for both directions. A short read means that a
//! socket is empty. A peer that has more than its budget waits on the ready list, and nobody
//! starves. Closing only marks; the end of the turn removes.

mod connection;
mod counters;
mod handler;
mod output;
mod peer;
mod queue;

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;

use crate::proto::{CloseCode, CloseFrame, Limits, Opcode};

pub use connection::{CloseCause, Closed, Connection, End, Sent};
pub use counters::Counters;
pub use handler::{Batch, Event, Handler, bytes};
pub use queue::{Adoption, NotRunning};

use counters::SharedCounters;
use output::BufferPool;
use peer::{Intake, Peer, Readiness, Stage, Taken};
use queue::{Audience, Command, Commands, Frames, Queue, Target};

/// Bytes that all the reads of a turn share. Idle connections own no receive buffer.
const ARENA_SIZE: usize = 512 * 1024;

/// Bytes that one connection may bring into a turn.
const READ_BUDGET: usize = 128 * 1024;

/// Reading goes on in the next turn when the arena has less room than this.
const MIN_ROOM: usize = 16 * 1024;

const WAKER: Token = Token(usize::MAX);

/// The limits of a manager. Sizes are in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// What a peer may send.
    pub limits: Limits,
    /// Unsent bytes that a connection may accumulate.
    pub send_queue_limit: usize,
    /// From our CLOSE frame, or the peer's, to the end of the TCP connection.
    pub close_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            send_queue_limit: 1 << 20,
            close_timeout: Duration::from_secs(10),
        }
    }
}

/// A manager as all threads see it. Clones are the same manager.
#[derive(Debug)]
pub struct Handle<C> {
    config: Config,
    queue: Arc<Queue<C>>,
    counters: Arc<SharedCounters>,
}

impl<C> Handle<C> {
    /// A manager that does not run yet: see [`Manager::new`].
    #[must_use]
    pub fn new(config: Config) -> Self {
        let queue = Arc::new(Queue::new(config.send_queue_limit));
        Self { config, queue, counters: Arc::default() }
    }

    /// Hands a socket over, upgraded and with its 101 sent. If no loop runs, it is closed.
    pub fn adopt(&self, adoption: Adoption<C>) -> Result<(), NotRunning> {
        self.queue.adopt(adoption)
    }

    /// Sends a text message to every open connection but `except`.
    pub fn broadcast_text(&self, payload: &str, except: Option<&Connection<C>>) {
        let except = except.map(Connection::target);
        self.queue.broadcast(Opcode::Text, payload.as_bytes(), except);
    }

    /// Sends a binary message to every open connection but `except`.
    pub fn broadcast_binary(&self, payload: &[u8], except: Option<&Connection<C>>) {
        self.queue.broadcast(Opcode::Binary, payload, except.map(Connection::target));
    }

    /// Closes every connection with 1001, also those that are adopted from now on, and cuts them
    /// off when the time is over. Returns at once. The loop ends when all are closed and
    /// [`Handle::finish`] was called, or when the time is over.
    pub fn shut_down(&self, timeout: Duration) {
        self.queue.shut_down(timeout);
    }

    /// Says that no socket will be adopted any more, so that a loop that shuts down may end.
    pub fn finish(&self) {
        self.queue.finish();
    }

    /// Whether a loop runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.queue.is_running()
    }

    /// What has been counted up to the last whole turn.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters.load()
    }
}

impl<C> Clone for Handle<C> {
    fn clone(&self) -> Self {
        Self {
            config: self.config,
            queue: Arc::clone(&self.queue),
            counters: Arc::clone(&self.counters),
        }
    }
}

/// The loop. It lives on one thread, between [`Manager::new`] and a [`Manager::turn`] that
/// returns false.
#[derive(Debug)]
pub struct Manager<C> {
    config: Config,
    queue: Arc<Queue<C>>,
    shared_counters: Arc<SharedCounters>,
    counters: Counters,
    poll: Poll,
    polled: Events,
    peers: Slab<Peer>,
    pool: BufferPool,
    /// What the handler gets next, and how much of its arena is used.
    batch: Batch<C>,
    used: usize,
    /// An empty queue to swap with the full one.
    spare: Commands<C>,
    /// Slots to read from, to flush, and to remove at the end of the turn.
    ready: VecDeque<usize>,
    dirty: Vec<usize>,
    gone: Vec<usize>,
    /// Peers that are owed a CLOSE: `answering` since the batch that is dispatched, `owed` since
    /// the next one. Only the former are answered, behind what the callbacks have sent.
    owed: Vec<Target>,
    answering: Vec<Target>,
    /// When to give up on a closing handshake, in order, since the timeout is the same for all.
    close_deadlines: VecDeque<(Instant, Target)>,
    /// Set by a shutdown: when to cut off who is left.
    stop_deadline: Option<Instant>,
    /// No adoption will come any more.
    finishing: bool,
}

impl<C: Send> Manager<C> {
    /// The loop of this handle. There can be one at a time; else the error is
    /// [`io::ErrorKind::AlreadyExists`].
    pub fn new(handle: &Handle<C>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        if !handle.queue.open(waker) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(Self {
            config: handle.config,
            queue: Arc::clone(&handle.queue),
            shared_counters: Arc::clone(&handle.counters),
            counters: handle.counters.load(),
            poll,
            polled: Events::with_capacity(1024),
            peers: Slab::new(),
            pool: BufferPool::default(),
            batch: Batch::new(ARENA_SIZE),
            used: 0,
            spare: Commands::default(),
            ready: VecDeque::new(),
            dirty: Vec::new(),
            gone: Vec::new(),
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

    // Take commands.

    fn take_commands(&mut self) {
        let mut commands = std::mem::take(&mut self.spare);
        let closing = self.answering.iter().filter_map(|target| {
            let peer = self.peers.get(target.slot)?;
            (peer.link.id == target.id).then_some(&*peer.link)
        });
        self.queue.take(&mut commands, closing);
        let Commands { list, arena } = &mut commands;
        for command in list.drain(..) {
            match command {
                Command::Adopt(adoption) => self.adopt(*adoption),
                Command::Send { audience: Audience::One(target), frames, messages } => {
                    self.send(target, frames, arena, messages);
                }
                Command::Send { audience: Audience::All { except }, frames, messages } => {
                    self.broadcast(except, frames, arena, messages);
                }
                Command::Close { target, frame, cause } => self.close(target, frame, cause),
                Command::ShutDown { timeout } => self.shut_down(timeout),
                Command::Finish => self.finishing = true,
            }
        }
        commands.clear();
        self.spare = commands;
    }

    fn adopt(&mut self, adoption: Adoption<C>) {
        let Adoption { stream, mut received, context } = adoption;
        let entry = self.peers.vacant_entry();
        let slot = entry.key();
        let registered = stream.set_nonblocking(true).and_then(|()| {
            let mut stream = mio::net::TcpStream::from_std(stream);
            let both = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, Token(slot), both)?;
            Ok(stream)
        });
        let stream = match registered {
            Ok(stream) => stream,
            Err(error) => {
                log::error!("cannot adopt a connection: {error}");
                return;
            }
        };
        let peer = entry.insert(Peer::new(stream, slot));
        self.counters.connections += 1;
        self.counters.connections_total += 1;
        let connection =
            Connection { link: Arc::clone(&peer.link), queue: Arc::clone(&self.queue) };
        let target = connection.target();
        self.batch.events.push(Event::Established { connection, context });
        if !received.is_empty() {
            self.counters.bytes_received += received.len() as u64;
            self.take_in(slot, |peer, _, intake| {
                peer.decode(&mut received, None, intake);
            });
        }
        if self.stop_deadline.is_some() {
            self.close(target, server_stop_frame(), CloseCause::ServerStop);
        }
    }

    fn send(&mut self, target: Target, frames: Frames, arena: &[u8], messages: u64) {
        let Some(peer) = find(&mut self.peers, target) else { return };
        let before = peer.output.len();
        if peer.takes_messages() {
            match frames {
                Frames::Arena(range) => peer.output.append(&arena[range], &mut self.pool),
                Frames::Own(frame) => peer.output.push(frame),
            }
            self.counters.messages_sent += messages;
            peer.account(peer.output.len() - before);
            list(&mut self.dirty, &mut peer.listed_dirty, target.slot);
        }
    }

    fn broadcast(&mut self, except: Option<Target>, frames: Frames, arena: &[u8], messages: u64) {
        let frames: Arc<[u8]> = match frames {
            Frames::Arena(range) => Arc::from(&arena[range]),
            Frames::Own(frame) => Arc::from(frame),
        };
        let limit = self.config.send_queue_limit;
        let mut slow = Vec::new();
        for (slot, peer) in &mut self.peers {
            let is_exempt = except.is_some_and(|target| target.id == peer.link.id);
            if is_exempt || !peer.takes_messages() {
                continue;
            }
            // A burst is no reason to call a peer slow: first let the socket take what it can.
            if peer.would_exceed(frames.len(), limit) && !peer.blocked {
                let _ = peer.flush(&mut self.pool, &mut self.counters);
            }
            if peer.would_exceed(frames.len(), limit) {
                slow.push(Target { slot, id: peer.link.id });
                continue;
            }
            peer.output.push_shared(&frames);
            self.counters.messages_sent += messages;
            list(&mut self.dirty, &mut peer.listed_dirty, slot);
        }
        for target in slow {
            self.close(target, queue::slow_consumer_frame(), CloseCause::SlowConsumer);
        }
    }

    fn close(&mut self, target: Target, frame: CloseFrame, cause: CloseCause) {
        let Some(peer) = find(&mut self.peers, target) else { return };
        if peer.protocol.is_open() {
            peer.close(frame, cause, &mut self.pool);
            list(&mut self.dirty, &mut peer.listed_dirty, target.slot);
            self.arm_close_deadline(target);
        }
    }

    fn shut_down(&mut self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        self.stop_deadline = Some(self.stop_deadline.map_or(deadline, |set| set.min(deadline)));
        let open = self.peers.iter().map(|(slot, peer)| Target { slot, id: peer.link.id });
        for target in open.collect::<Vec<_>>() {
            self.close(target, server_stop_frame(), CloseCause::ServerStop);
        }
    }

    // Read.

    fn read(&mut self) {
        for _ in 0..self.ready.len() {
            let room = (ARENA_SIZE - self.used).min(READ_BUDGET);
            if room < MIN_ROOM {
                return;
            }
            let Some(slot) = self.ready.pop_front() else { return };
            self.read_from(slot, room);
        }
    }

    /// Reads until the socket is empty or `budget` bytes have come.
    fn read_from(&mut self, slot: usize, mut budget: usize) {
        let readiness = loop {
            let room = self.used..self.used + budget;
            let mut intake = Taken::default();
            self.take_in(slot, |peer, arena, intake_of_loop| {
                intake = peer.read(arena, room, intake_of_loop);
            });
            self.used += intake.kept;
            budget -= intake.count;
            if intake.readiness != Readiness::More || budget == 0 {
                break intake.readiness;
            }
        };
        match readiness {
            Readiness::More => self.ready.push_back(slot),
            Readiness::Drained => {
                if let Some(peer) = self.peers.get_mut(slot) {
                    peer.listed_ready = false;
                }
            }
            // It stays listed: there is nothing more to read.
            Readiness::HungUp => self.let_go(slot),
        }
    }

    /// Lets a peer take bytes in, and does what they call for. A panic in there is a fault of
    /// ours, and ends this connection only.
    fn take_in(
        &mut self,
        slot: usize,
        take: impl FnOnce(&mut Peer, &mut [u8], &mut Intake<'_, C>),
    ) {
        let Some(peer) = self.peers.get_mut(slot) else { return };
        let target = Target { slot, id: peer.link.id };
        let was_open = peer.protocol.is_open();
        let mut intake = Intake {
            limits: &self.config.limits,
            pool: &mut self.pool,
            events: &mut self.batch.events,
            counters: &mut self.counters,
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
        if was_open && !peer.protocol.is_open() {
            self.owed.push(target);
            self.arm_close_deadline(target);
        } else if peer.pong_backlog > self.config.send_queue_limit {
            self.close(target, queue::slow_consumer_frame(), CloseCause::SlowConsumer);
        }
    }

    // Dispatch.

    fn dispatch(&mut self, handler: &mut impl Handler<Context = C>) {
        self.answering.append(&mut self.owed);
        if !self.batch.events.is_empty() {
            handler.dispatch(&mut self.batch);
            self.batch.events.clear();
        }
        self.used = 0;
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

    fn arm_close_deadline(&mut self, target: Target) {
        self.close_deadlines.push_back((Instant::now() + self.config.close_timeout, target));
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
    fn let_go(&mut self, slot: usize) {
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
        // Adoptions that came too late close their sockets here.
        drop(self.queue.abandon());
    }
}

/// Puts a slot on a list, once.
fn list(slots: &mut Vec<usize>, listed: &mut bool, slot: usize) {
    if !*listed {
        *listed = true;
        slots.push(slot);
    }
}

/// The peer that a command means, unless it is gone and the slot is empty or another's.
fn find(peers: &mut Slab<Peer>, target: Target) -> Option<&mut Peer> {
    peers.get_mut(target.slot).filter(|peer| peer.link.id == target.id)
}

fn server_stop_frame() -> CloseFrame {
    CloseFrame::new(CloseCode::GOING_AWAY, "server stop").unwrap_or_default()
}

fn internal_error_frame() -> CloseFrame {
    CloseFrame::new(CloseCode::INTERNAL_ERROR, "internal error").unwrap_or_default()
}
