//! A connection as all the threads outside of the loop see it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::proto::{CloseCode, CloseFrame, Opcode};

use super::delivery::COST_OF_EVENT;
use super::drain::{Dispatching, Drain, WaitError};
use super::hold::Hold;
use super::output::Lent;
use super::peer::Stage;
use super::queue::{Body, Queue, Target};
use super::sync::{AtomicBool, AtomicUsize};

/// A latency that no connection has.
const UNMEASURED: u64 = u64::MAX;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Who or what ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCause {
    /// The peer sent the first CLOSE frame.
    Peer,
    /// [`Connection::close`] was called.
    Local,
    /// The peer broke the protocol or a limit.
    ProtocolError,
    /// The peer did not read: [`super::Config::send_queue_limit`] was reached, or
    /// [`super::Config::write_timeout`] was over.
    SlowConsumer,
    /// A callback failed.
    HandlerError,
    /// The manager was stopped.
    ServerStop,
    /// No byte came from the peer within [`super::Config::ping_timeout`] of a PING.
    PingTimeout,
    /// No message came from the peer within [`super::Config::idle_timeout`].
    IdleTimeout,
    /// The TCP connection ended without a CLOSE frame.
    NetworkError,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The code of the closing handshake's first CLOSE frame, whoever sent it: 1005 if it had
    /// none, 1006 if there was no such frame.
    pub code: CloseCode,
    /// The reason beside that code.
    pub reason: Box<str>,
    /// Who or what ended it.
    pub cause: CloseCause,
}

/// Whether a message may be compressed, where that was agreed on with its receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compress {
    /// If it is long enough for that to be worth it.
    Allow,
    /// It goes out as it is: it would not get smaller, or it mixes a secret with what a stranger
    /// may choose, and its length would tell (RFC 7692, section 9).
    Never,
}

/// What became of a message that was given to [`Connection::send_text`] or its siblings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It is on its way.
    Queued,
    /// It is on its way, and the queue is more than half full.
    Backpressure,
    /// The queue is full and the message is lost. With [`super::SlowConsumer::Close`] the connection
    /// is being closed with 1008.
    Dropped,
}

/// The connection is closed or closing: nothing more can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection is closed")]
pub struct Closed;

/// The part of a connection that the loop and the senders share.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: u64,
    pub(super) slot: usize,
    /// Whether messages may be compressed on their way out.
    pub(super) compresses: bool,
    /// Whether sending is allowed. Before a CLOSE frame it is changed under the queue's lock, so
    /// that no message is accepted behind it; without the lock only where all that waits is lost
    /// anyway, with a slow consumer or with the network.
    pub(super) open: AtomicBool,
    /// Whether messages of the peer are still delivered: until it is closed from this side.
    delivers: AtomicBool,
    /// What the handler keeps of messages for later.
    pub(super) hold: Hold,
    /// Bytes that the kernel has not taken yet: those in the command queue, and those that a
    /// flush left over.
    pub(super) buffered: AtomicUsize,
    /// Nanoseconds that the last answered PING took.
    latency: AtomicU64,
    pub(super) drain: Drain,
    /// What of it is in the command queue, if that was last taken so many times: for the queue,
    /// under its lock.
    pub(super) queued: AtomicUsize,
    pub(super) queued_since: AtomicU64,
    pub(super) end: OnceLock<End>,
}

impl Link {
    pub(super) fn new(slot: usize, compresses: bool) -> Self {
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            slot,
            compresses,
            open: AtomicBool::new(true),
            delivers: AtomicBool::new(true),
            hold: Hold::new(),
            buffered: AtomicUsize::new(0),
            latency: AtomicU64::new(UNMEASURED),
            drain: Drain::default(),
            queued: AtomicUsize::new(0),
            queued_since: AtomicU64::new(0),
            end: OnceLock::new(),
        }
    }

    pub(super) fn note_latency(&self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(UNMEASURED);
        self.latency.store(nanos, Ordering::Relaxed);
    }

    pub(super) fn target(&self) -> Target {
        Target { slot: self.slot, id: self.id }
    }

    /// Notes that this side closes: nothing is accepted for the peer, nor delivered of it.
    pub(super) fn close(&self) {
        self.shut();
        self.delivers.store(false, Ordering::Relaxed);
    }
}

/// A connection, usable from any thread, and the same connection however often it is cloned.
pub struct Connection<C> {
    pub(super) link: Arc<Link>,
    pub(super) queue: Arc<Queue<C>>,
}

impl<C> Connection<C> {
    /// A number that no other connection of this process has.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.link.id
    }

    /// The connection's place in a handler's table; see [`super::Event`].
    #[must_use]
    pub fn slot(&self) -> usize {
        self.link.slot
    }

    /// Whether a message can be sent: from the handshake to the CLOSE frame that we send.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.link.open.load(Ordering::Relaxed)
    }

    /// Bytes of frames that wait to be taken by the kernel; 0 once the connection is over.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        if self.end().is_some() { 0 } else { self.link.buffered.load(Ordering::Relaxed) }
    }

    /// From the last keepalive PING that was answered to its PONG; `None` if there was none yet.
    #[must_use]
    pub fn latency(&self) -> Option<Duration> {
        let nanos = self.link.latency.load(Ordering::Relaxed);
        (nanos != UNMEASURED).then(|| Duration::from_nanos(nanos))
    }

    /// How the connection ended; `None` until [`super::Event::Closed`] is on its way.
    #[must_use]
    pub fn end(&self) -> Option<&End> {
        self.link.end.get()
    }

    /// Queues a text message. The payload is copied.
    pub fn send_text(&self, payload: &str, compress: Compress) -> Result<Sent, Closed> {
        self.queue.send(&self.link, Opcode::Text, Body::Copied(payload.as_bytes()), compress)
    }

    /// Queues a binary message. As [`send_text`](Self::send_text) otherwise.
    pub fn send_binary(&self, payload: &[u8], compress: Compress) -> Result<Sent, Closed> {
        self.queue.send(&self.link, Opcode::Binary, Body::Copied(payload), compress)
    }

    /// Queues a text message whose payload is valid UTF-8 (the caller sees to that). It is not
    /// copied, if it is not compressed, but kept until it is sent or dropped.
    pub fn lend_text(&self, payload: Lent, compress: Compress) -> Result<Sent, Closed> {
        self.queue.send(&self.link, Opcode::Text, Body::Lent(payload), compress)
    }

    /// Queues a binary message. As [`lend_text`](Self::lend_text) otherwise.
    pub fn lend_binary(&self, payload: Lent, compress: Compress) -> Result<Sent, Closed> {
        self.queue.send(&self.link, Opcode::Binary, Body::Lent(payload), compress)
    }

    /// Queues a PING of at most 125 bytes (the caller sees to that).
    pub fn ping(&self, payload: &[u8]) -> Result<Sent, Closed> {
        self.queue.send(&self.link, Opcode::Ping, Body::Copied(payload), Compress::Never)
    }

    /// Waits until [`buffered_bytes`](Self::buffered_bytes) is 0: for a thread that streams, which is
    /// to send no faster than the peer reads. False if `timeout` is over first; `None` is for ever.
    pub fn wait_drained(&self, timeout: Option<Duration>) -> Result<bool, WaitError> {
        if Dispatching::is_for(Arc::as_ptr(&self.queue).addr()) {
            return Err(WaitError::OnItsThread);
        }
        self.link.wait_drained(timeout)
    }

    /// Starts the closing handshake (RFC 6455 section 7.1.2) behind all that was sent before.
    /// Nothing happens if the connection is closed or closing already.
    pub fn close(&self, frame: CloseFrame, cause: CloseCause) {
        self.queue.close(&self.link, frame, cause);
    }

    // What a handler says that deals with events elsewhere: see `Adoption::deferred`.

    /// Whether messages that have come are still to be given to the application: not once
    /// [`close`](Self::close) was called, or something else on this side has closed. What came
    /// before the peer or the network ended the connection, is.
    #[must_use]
    pub fn delivers(&self) -> bool {
        self.link.delivers.load(Ordering::Relaxed)
    }

    /// Says that the application is now greeting the connection. From here on broadcasts reach
    /// it, behind what was sent to it before and in order with what is sent from now on.
    pub fn greet(&self) {
        self.queue.advance(self.target(), Stage::Greeting);
    }

    /// Runs what the application says first. On this thread it cannot wait meanwhile until all is
    /// sent, since nothing is before it has said that.
    pub fn while_greeting<R>(&self, greeting: impl FnOnce() -> R) -> R {
        let _until_it_returns = Dispatching::begin(Arc::as_ptr(&self.queue).addr());
        greeting()
    }

    /// Says that the application has greeted the connection: the 101 goes out, and what was sent.
    pub fn greeted(&self) {
        self.queue.advance(self.target(), Stage::Talking);
    }

    /// Says that [`super::Event::Answer`] has had its turn: the peer gets the CLOSE that it is
    /// owed, and nothing can be sent behind it.
    pub fn answer(&self) {
        self.queue.answer(&self.link);
    }

    /// Says that the handler keeps a message of so many bytes for later, which counts for
    /// [`super::Config::receive_queue_limit`]. To be called while the message is dispatched.
    pub fn hold(&self, bytes: usize) {
        self.link.hold.add(bytes + COST_OF_EVENT);
    }

    /// Says that a message for which [`hold`](Self::hold) was called does not wait any more.
    pub fn release(&self, bytes: usize) {
        if self.link.hold.take(bytes + COST_OF_EVENT) {
            self.queue.resume(self.target());
        }
    }

    /// Has the loop take a turn, even if there is nothing to do for this connection.
    pub fn wake(&self) {
        self.queue.resume(self.target()); // which does nothing unless the peer is paused
    }

    /// Forbids sending, in a forked child that has a copy of the connection.
    pub fn sever(&self) {
        self.link.open.store(false, Ordering::SeqCst);
    }

    pub(super) fn target(&self) -> Target {
        self.link.target()
    }
}

impl<C> Clone for Connection<C> {
    fn clone(&self) -> Self {
        Self { link: Arc::clone(&self.link), queue: Arc::clone(&self.queue) }
    }
}

impl<C> fmt::Debug for Connection<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("link", &self.link).finish_non_exhaustive()
    }
}
