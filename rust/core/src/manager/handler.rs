//! How the loop talks to the outside: one call a turn, with all that has happened.

use crate::proto::{CloseFrame, Payload};

use super::connection::Connection;

/// Receives the events of a turn, all in one call.
///
/// The batch is not part of the loop's state, and no lock is held: an implementation may send,
/// broadcast and close through any [`Connection`] or [`super::Handle`]. What it sends goes out
/// when the call has returned, in one write for each connection. It must not panic.
pub trait Handler {
    /// What an adoption carries from the thread that made it to [`Event::Established`].
    type Context: Send;

    /// Takes every event of the batch, in order. Meanwhile another thread may drive the loop.
    fn dispatch(&mut self, batch: &mut Batch<Self::Context>);

    /// Whether [`dispatch`](Self::dispatch) is to be called soon, even if nothing happens.
    fn is_owed(&self) -> bool {
        false
    }
}

/// The events of one turn, and the bytes that their payloads stand in.
#[derive(Debug)]
pub struct Batch<C> {
    /// What happened, in order for each connection. The handler drains it.
    pub events: Vec<Event<C>>,
    pub(super) arena: Vec<u8>,
}

impl<C> Batch<C> {
    pub(super) fn new(arena_size: usize) -> Self {
        Self { events: Vec::new(), arena: vec![0; arena_size] }
    }

    pub(super) fn make_room(&mut self, arena_size: usize) {
        self.arena.resize(arena_size, 0);
    }

    pub(super) fn forget_arena(&mut self) {
        self.arena = Vec::new();
    }

    /// Takes the events out, beside the arena that [`bytes`] looks payloads up in.
    pub fn drain(&mut self) -> (std::vec::Drain<'_, Event<C>>, &[u8]) {
        (self.events.drain(..), &self.arena)
    }
}

/// The bytes of a payload of the batch whose arena this is.
#[must_use]
pub fn bytes<'a>(payload: &'a Payload, arena: &'a [u8]) -> &'a [u8] {
    match payload {
        Payload::InPlace(range) => &arena[range.clone()],
        Payload::Assembled(bytes) => bytes,
    }
}

/// One thing that happened to one connection.
///
/// `slot` is the connection's place in a table that the handler may keep: it belongs to one
/// connection from its `Established` to its `Closed`, and then to another one. For each
/// connection, `Established` is first and `Closed` last, each exactly once.
#[derive(Debug)]
pub enum Event<C> {
    /// A socket was adopted and is a WebSocket connection from now on.
    Established {
        /// The connection, to keep and to send by.
        connection: Connection<C>,
        /// What came with the adoption.
        context: C,
    },
    /// A whole text message; its payload is valid UTF-8.
    Text {
        /// The connection's place.
        slot: usize,
        /// To be read with [`bytes`].
        payload: Payload,
    },
    /// A whole binary message.
    Binary {
        /// The connection's place.
        slot: usize,
        /// To be read with [`bytes`].
        payload: Payload,
    },
    /// A CLOSE frame came. What is sent before `dispatch` returns still goes out, if the
    /// connection was open: the answering CLOSE follows it.
    CloseMessage {
        /// The connection's place.
        slot: usize,
        /// What the frame said.
        frame: CloseFrame,
    },
    /// Only of connections whose adoption is `deferred`, and not a message: what stands behind it
    /// in the stream is our CLOSE, because the peer has sent one or has broken the protocol. It
    /// goes out when [`Connection::answer`] is called.
    Answer {
        /// The connection's place.
        slot: usize,
    },
    /// The connection's queue, which was more than half full, is empty again: whoever was told
    /// [`super::Sent::Backpressure`] or [`super::Sent::Dropped`] may go on.
    Drained {
        /// The connection's place.
        slot: usize,
    },
    /// The connection is over; [`Connection::end`] says how.
    Closed {
        /// The connection's place, free for another connection from now on.
        slot: usize,
    },
}
