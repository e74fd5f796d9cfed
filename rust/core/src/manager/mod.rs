//! The loop that owns every WebSocket of a server.
//!
//! A [`Handle`] is what other threads hold: they adopt sockets, broadcast and stop through it. One
//! thread makes a [`Manager`] of it and calls [`Manager::turn`] until it returns false. A turn
//! reads top to bottom: wait, take commands, read, dispatch, flush, deadlines, reap.
//!
//! The outside is a [`Handler`], which gets all the events of a turn in one call. While it runs, no
//! lock is held and it borrows nothing of the loop; what it sends comes back as commands, which are
//! taken before the flush, so that replies leave in the same turn, one write a connection. If it
//! takes long, another thread drives the loop in the meantime: see `manager.rs`.
//!
//! Sockets are edge-triggered and registered once for both directions. A short read means that a
//! socket is empty. A peer that has more than its budget waits on the ready list, and nobody
//! starves. Closing only marks; the end of the turn removes.

mod admission;
mod clock;
mod commands;
mod connection;
mod counters;
mod deadlines;
mod delivery;
mod drain;
mod fork;
mod hand_over;
mod handler;
mod hold;
#[expect(clippy::module_inception, reason = "the manager's own file")]
mod manager;
#[cfg(loom)]
#[cfg(test)]
mod models;
mod output;
mod peer;
mod queue;
mod rate;
mod read;
mod send;
mod sync;
mod turn;
mod variants;
mod wheel;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::proto::{Limits, Opcode};

pub use admission::{Check, Permit, Refusals, Refused};
pub use connection::{CloseCause, Closed, Compress, Connection, End, Sent};
pub use counters::Counters;
pub use drain::WaitError;
pub use fork::{PerProcess, before_fork, generation, in_forked_child};
pub use handler::{Batch, Event, Handler, bytes};
pub use manager::Manager;
pub use output::Lent;
pub use queue::{Adoption, NotRunning};

use admission::Admission;
use counters::SharedCounters;
use queue::Queue;

/// What becomes of a message that does not fit into the queue of a connection whose peer does not
/// read. Whatever it is, nobody else notices, and nothing waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlowConsumer {
    /// It is dropped, with all that has not begun to go out, and the connection is closed with 1008.
    Close,
    /// It is dropped.
    DropNewest,
    /// It is queued, and the oldest messages of which no byte has gone out are dropped.
    DropOldest,
}

/// The limits of a manager. Sizes are in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// What a peer may send.
    pub limits: Limits,
    /// Unsent bytes that a connection may accumulate.
    pub send_queue_limit: usize,
    /// What happens beyond it.
    pub slow_consumer: SlowConsumer,
    /// Bytes of broadcasts that may wait for the loop to take them; beyond it they are dropped.
    pub broadcast_queue_limit: usize,
    /// What the messages of one connection may take that wait for the handler, payloads and
    /// overhead; beyond it the socket is not read.
    pub receive_queue_limit: usize,
    /// From our CLOSE frame to the end of the TCP connection.
    pub close_timeout: Duration,
    /// Between two PINGs of ours to a connection; `None` is without.
    pub ping_interval: Option<Duration>,
    /// For any byte of the peer, after a PING.
    pub ping_timeout: Option<Duration>,
    /// For a text or binary message of the peer.
    pub idle_timeout: Option<Duration>,
    /// For a full socket to take a byte.
    pub write_timeout: Option<Duration>,
    /// Connections, from their [`Permit`] to the end of their socket; `None`: no limit.
    pub max_connections: Option<usize>,
    /// Those of one IPv4 address, or of one IPv6 network of 64 bits; `None`: no limit.
    pub max_connections_per_address: Option<usize>,
    /// Those that have a permit, but not yet their 101.
    pub max_pending_handshakes: usize,
    /// Text and binary messages a second from one peer, of which a second's worth, one at least,
    /// may come at once; `None`: no limit.
    pub max_message_rate: Option<f64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            send_queue_limit: 1 << 20,
            slow_consumer: SlowConsumer::Close,
            broadcast_queue_limit: 16 << 20,
            receive_queue_limit: 128 << 10,
            close_timeout: Duration::from_secs(10),
            ping_interval: Some(Duration::from_secs(20)),
            ping_timeout: Some(Duration::from_secs(20)),
            idle_timeout: None,
            write_timeout: Some(Duration::from_secs(30)),
            max_connections: None,
            max_connections_per_address: None,
            max_pending_handshakes: 1024,
            max_message_rate: None,
        }
    }
}

/// A manager as all threads see it. Clones are the same manager.
#[derive(Debug)]
pub struct Handle<C> {
    config: Config,
    queue: Arc<Queue<C>>,
    counters: Arc<SharedCounters>,
    admission: Arc<Admission>,
}

impl<C> Handle<C> {
    /// A manager that does not run yet: see [`Manager::new`].
    #[must_use]
    pub fn new(config: Config) -> Self {
        let queue = Arc::new(Queue::new(&config));
        let admission = Arc::new(Admission::new(&config));
        Self { config, queue, counters: Arc::default(), admission }
    }

    /// Asks whether a client may become a connection, and takes a place for it if so. Whoever has no
    /// address counts for none.
    pub fn admit(&self, address: Option<IpAddr>) -> Result<Permit, Refused> {
        Admission::admit(&self.admission, address)
    }

    /// The same, but a refusal is not counted: somebody will ask again for that client.
    pub fn try_admit(&self, address: Option<IpAddr>) -> Result<Permit, Refused> {
        Admission::try_admit(&self.admission, address)
    }

    /// Counts a handshake that somebody else has refused.
    pub fn count_refusal(&self, check: Check) {
        self.admission.count(check);
    }

    /// How many handshakes were refused since the manager was made.
    #[must_use]
    pub fn refusals(&self) -> Refusals {
        self.admission.refusals()
    }

    /// Hands a socket over whose handshake was accepted. If no loop runs, it is closed.
    pub fn adopt(&self, adoption: Adoption<C>) -> Result<(), NotRunning> {
        self.queue.adopt(adoption)
    }

    /// Adopts as many as `work` does with one wake of the loop, where each of them would wake it.
    /// `work` must not wait for anything.
    pub fn adopting_many<T>(&self, work: impl FnOnce() -> T) -> T {
        struct Held<'a, C>(&'a Queue<C>);
        impl<C> Drop for Held<'_, C> {
            fn drop(&mut self) {
                self.0.hold_adoptions(false);
            }
        }
        self.queue.hold_adoptions(true);
        let _held = Held(&self.queue);
        work()
    }

    /// Sends a text message to every open connection but `except`. It never waits for anybody.
    ///
    /// [`Sent::Dropped`] says that so many broadcasts wait for the loop that nobody gets this one.
    /// Whether each connection gets what is queued, its own queue decides. Without a running loop
    /// there is nobody to miss it, and so it is [`Sent::Queued`].
    pub fn broadcast_text(
        &self,
        payload: &str,
        except: Option<&Connection<C>>,
        compress: Compress,
    ) -> Sent {
        let except = except.map(Connection::target);
        self.queue.broadcast(Opcode::Text, payload.as_bytes(), except, compress)
    }

    /// Sends a binary message. As [`broadcast_text`](Self::broadcast_text) otherwise.
    pub fn broadcast_binary(
        &self,
        payload: &[u8],
        except: Option<&Connection<C>>,
        compress: Compress,
    ) -> Sent {
        let except = except.map(Connection::target);
        self.queue.broadcast(Opcode::Binary, payload, except, compress)
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

    /// Stops waiting for a loop that was told to shut down and has not come to its end, because the
    /// handler has not returned. From here on it is as if it had; [`Manager::new`] may make another
    /// one. The old one cuts its connections off, and ends when it can.
    pub fn leave_behind(&self) {
        self.queue.leave_behind();
    }

    /// Whether a loop runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.queue.is_running()
    }

    /// What has been counted: by the loop up to its last whole turn, and by senders up to now.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut counters = self.counters.load();
        self.queue.add_losses(&mut counters);
        counters
    }
}

impl<C> Clone for Handle<C> {
    fn clone(&self) -> Self {
        Self {
            config: self.config,
            queue: Arc::clone(&self.queue),
            counters: Arc::clone(&self.counters),
            admission: Arc::clone(&self.admission),
        }
    }
}
