//! One socket of the loop: its stream, its protocol state, its output.

mod backlog;
mod intake;

use std::io::{self, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Instant;

use crate::proto::deflate::{Agreement, OutboundDeflate};
use crate::proto::{self, CloseCode, CloseFrame, Inflation};

use super::admission::Permit;
use super::connection::{CloseCause, End, Link};
use super::counters::Counters;
use super::deadlines::Deadlines;
use super::output::{BufferPool, Output, Written};
use super::rate::MessageRate;
use crate::stream::Stream;

pub(super) use intake::Intake;

/// The life of a socket. The closing handshake is `protocol`'s; this is the TCP connection's end.
///
/// ```text
///  Adopted
///     │ the handler gets `Established`; of a deferred peer: it says that it greets
///     ▼
///  Greeting
///     │ it has had it; of a deferred peer: it says that it has greeted
///     ▼     our CLOSE was the last word          the peer's FIN, or the deadline
///  Talking ─────────────────────────────▶ Lingering ─────────────────────────────▶ Gone
///     │                                                                             ▲
///     └── the peer has answered our CLOSE; its FIN; a network error; the deadline ──┘
/// ```
///
/// What is adopted gets nothing yet, not even the 101: so whatever the peer causes once it has
/// seen that comes behind what the handler says first. While the handler says that, messages are
/// taken but nothing is written.
///
/// Lingering sends our FIN and discards what still comes: closing a socket with unread bytes would
/// send a reset, and a reset can overtake the CLOSE frame (RFC 6455 section 7.1.1). A peer that
/// has answered our CLOSE has read it, and needs no such care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Adopted,
    Greeting,
    Talking,
    Lingering,
    Gone,
}

/// What is looked at for each receiver of a broadcast comes first, in two cache lines: the system's
/// calls for the one before have used the caches, and so each line more is one to wait for.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Peer {
    pub(super) output: Output,
    /// There if compression was agreed on.
    pub(super) deflate: Option<OutboundDeflate>,
    pub(super) stream: Stream,
    pub(super) stage: Stage,
    /// The socket took less than it was offered and has not said since that it is writable.
    pub(super) blocked: bool,
    /// On the loop's list of sockets to flush.
    pub(super) listed_dirty: bool,
    /// On the loop's list of sockets to read.
    pub(super) listed_ready: bool,
    /// An event said that the peer's FIN is there: a short read is not the end of the data.
    pub(super) read_closed: bool,
    /// The output was more than half full, or a message was dropped, or a sender was told so: when
    /// nothing waits any more, a `Drained` is due.
    pub(super) pressed: bool,
    /// What waits for the handler is too much, and the socket is not read.
    pub(super) is_paused: bool,
    /// See `Adoption::deferred`.
    pub(super) deferred: bool,
    /// The bytes of `output` that `link.buffered` contains.
    accounted: usize,
    pub(super) protocol: proto::Connection,
    pub(super) link: Arc<Link>,
    pub(super) rate: MessageRate,
    /// What its messages take that wait for the handler, beyond a turn, in bytes.
    pub(super) waiting: usize,
    /// Bytes that have been read and wait for the next turn, because this one has inflated enough.
    held: Vec<u8>,
    /// Bytes of PONG that were put into the output since it was last empty.
    pub(super) pong_backlog: usize,
    /// The batch that has the last `Drained`.
    drained_in: u64,
    /// What ended the connection; the first cause stands.
    pub(super) cause: Option<CloseCause>,
    /// The peer's CLOSE came behind ours, or its FIN behind a CLOSE.
    close_answered: bool,
    /// The peer's FIN has been read: nothing more will come.
    fin: bool,
    pub(super) deadlines: Deadlines,
    /// Behind the stream, and so given back when that is closed: fields are dropped in order.
    permit: Option<Permit>,
}

impl Peer {
    /// A peer that is sent the 101 response first.
    pub(super) fn new(
        stream: Stream,
        slot: usize,
        response: Vec<u8>,
        deflate: Option<Agreement>,
        permit: Option<Permit>,
        deadlines: impl FnOnce(u64) -> Deadlines,
        rate: MessageRate,
    ) -> Self {
        let inflation = deflate.map_or(Inflation::Off, |agreed| agreed.inflation());
        let link = Link::new(slot, deflate.is_some());
        Self {
            output: Output::new(response),
            deflate: deflate.map(|agreed| agreed.outbound()),
            stream,
            stage: Stage::Adopted,
            blocked: false,
            listed_dirty: false,
            listed_ready: false,
            read_closed: false,
            pressed: false,
            is_paused: false,
            deferred: false,
            accounted: 0,
            protocol: proto::Connection::new(inflation),
            deadlines: deadlines(link.id),
            link: Arc::new(link),
            rate,
            waiting: 0,
            held: Vec::new(),
            pong_backlog: 0,
            drained_in: 0,
            cause: None,
            close_answered: false,
            fin: false,
            permit,
        }
    }

    /// Whether the socket has ended with a FIN, and the peer may still get something.
    pub(super) fn may_still_read(&self) -> bool {
        self.fin && (self.protocol.is_open() || self.protocol.needs_answer())
    }

    /// Notes that the socket has ended. True if that was a FIN behind a CLOSE: such a peer may
    /// still read, and is owed what we have not sent yet.
    pub(super) fn hang_up(&mut self) -> bool {
        let had_its_say = self.protocol.needs_answer() || self.protocol.is_closed();
        let is_owed = self.fin && had_its_say && self.stage <= Stage::Talking;
        self.close_answered |= is_owed; // then there is nothing to linger for
        is_owed
    }

    /// The handler has had `Established`, and the 101 may go out.
    pub(super) fn begin(&mut self) {
        if self.stage == Stage::Greeting {
            self.stage = Stage::Talking;
            if let Some(permit) = &mut self.permit {
                permit.established();
            }
        }
    }

    /// Whether a message is taken: from `Established` to our CLOSE frame.
    pub(super) fn takes_messages(&self) -> bool {
        self.protocol.is_open() || self.protocol.needs_answer()
    }

    /// Whether a broadcast is taken, too: who has not been greeted yet is not there yet.
    pub(super) fn takes_broadcasts(&self) -> bool {
        self.stage != Stage::Adopted && self.takes_messages()
    }

    /// Starts the closing handshake, if the connection is open. A slow consumer loses all frames
    /// that have not begun to go out: behind them the CLOSE would be of no use.
    pub(super) fn close(
        &mut self,
        frame: CloseFrame,
        cause: CloseCause,
        pool: &mut BufferPool,
        counters: &mut Counters,
    ) {
        if !self.protocol.is_open() {
            return;
        }
        self.link.close();
        self.cause.get_or_insert(cause);
        if cause == CloseCause::SlowConsumer {
            counters.take_back(self.output.drop_unsent_frames());
        }
        self.output.append_with(pool, |out| {
            self.protocol.close(frame, out);
        });
    }

    /// Appends the CLOSE frame that a peer's CLOSE, or its fault, is owed.
    pub(super) fn answer(&mut self, pool: &mut BufferPool) {
        self.output.append_with(pool, |out| {
            self.protocol.answer(out);
        });
    }

    /// Writes what the socket takes. When the last CLOSE is out, the connection is over: then it
    /// lingers or is to be let go, as `stage` says.
    pub(super) fn flush(
        &mut self,
        pool: &mut BufferPool,
        counters: &mut Counters,
        now: Instant,
    ) -> io::Result<()> {
        if self.stage < Stage::Talking {
            return Ok(());
        }
        if !self.blocked && self.unsent() > 0 {
            let (before, queued) = (self.unsent(), self.output.len());
            let written = self.output.write_to(&mut self.stream, pool);
            counters.bytes_sent += (queued - self.output.len()) as u64;
            // What is encrypted is longer than it was before.
            self.deadlines.wrote(before.saturating_sub(self.unsent()), self.unsent(), now);
            self.blocked = written? == Written::Blocked;
            if self.output.is_empty() {
                self.pong_backlog = 0;
            }
        }
        self.publish_buffered();
        if self.protocol.is_closed() && self.unsent() == 0 && self.stage == Stage::Talking {
            self.end_writing()?;
        }
        Ok(())
    }

    /// Whether a flush would do nothing, and what is to be sent could be written now.
    pub(super) fn has_nothing_to_flush(&self) -> bool {
        let may_write = self.stage == Stage::Talking && !self.blocked;
        may_write && !self.listed_dirty && self.output.is_empty()
    }

    /// Writes frames, if there is nothing to flush, that are in nobody's accounts. Returns how many
    /// bytes were taken. The rest waits in the output; and so does all, if that fails: the flush
    /// will find out why.
    pub(super) fn write_past_output(&mut self, frames: &Arc<[u8]>) -> usize {
        let written = self.stream.write(frames).unwrap_or(0);
        self.output.push_rest(frames, written);
        written
    }

    /// Ends our half of the connection, behind the last CLOSE.
    fn end_writing(&mut self) -> io::Result<()> {
        match self.stream.say_goodbye() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.blocked = true; // it goes out like everything else
                return Ok(());
            }
            result => result?,
        }
        if self.close_answered {
            self.stage = Stage::Gone;
            return Ok(());
        }
        self.stage = Stage::Lingering;
        self.stream.shutdown(Shutdown::Write)
    }

    /// Bytes that the socket has not taken.
    pub(super) fn unsent(&self) -> usize {
        self.output.len() + self.stream.unsent()
    }

    /// Says how the connection ended. True for the first call only.
    pub(super) fn finish(&mut self) -> bool {
        self.link.shut();
        let cause = self.cause.unwrap_or(CloseCause::NetworkError);
        let (code, reason) = match self.protocol.close_frame() {
            Some(frame) => (frame.code(), frame.reason().into()),
            None => (CloseCode::ABNORMAL, "".into()),
        };
        self.link.end.set(End { code, reason, cause }).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::mem::{offset_of, size_of};

    use super::*;

    #[test]
    fn a_broadcast_looks_at_two_cache_lines() {
        // In builds with assertions mio notes more beside a socket.
        let stream = size_of::<Stream>().min(16);
        // The discriminant of the protocol's state is the last that it looks at.
        assert!(offset_of!(Peer, protocol) - size_of::<Stream>() + stream < 2 * 64);
        assert_eq!(align_of::<Peer>(), 64);
    }
}
