//! What becomes of a message when it is sent: queued, or dropped because too much waits already.

use std::sync::atomic::Ordering;

use crate::proto::{self, Opcode};

use super::super::SlowConsumer;
use super::super::connection::{CloseCause, Closed, Compress, Link, Sent};
use super::super::output::{Dropped, Lent, LentFrame};
use super::super::sync::MutexGuard;
use super::{
    ARENA_FRAME_SIZE, Address, Audience, Command, Commands, Frames, Queue, State, Target,
    close_command, push, slow_consumer_frame, wake,
};

impl<C> Queue<C> {
    pub(in super::super) fn send(
        &self,
        link: &Link,
        opcode: Opcode,
        body: Body<'_>,
        compress: Compress,
    ) -> Result<Sent, Closed> {
        let compress = if link.compresses { compress } else { Compress::Never };
        let frame = Frame::new(opcode, body, compress);
        let size = frame.size();
        let mut state = self.lock();
        if !link.open.load(Ordering::Relaxed) {
            return Err(Closed);
        }
        let mut waiting = link.buffered.load(Ordering::Relaxed);
        let presses = waiting + size > self.send_limit / 2;
        if presses {
            link.press();
            waiting = link.buffered.load(Ordering::SeqCst); // behind it: see `drain.rs`
            if self.exceeds(waiting, size) && !self.will_make_room(&state, link, opcode, size) {
                return Ok(self.refuse(state, link, opcode, size));
            }
        }
        link.buffered.fetch_add(size, Ordering::Relaxed);
        self.note_queued(&state, link, size);
        let address = Address { audience: Audience::One(link.target()), compress };
        self.push_frame(&mut state.commands, address, opcode, frame);
        wake(state);
        Ok(if presses { Sent::Backpressure } else { Sent::Queued })
    }

    /// Whether a frame does not fit. One that alone is over the limit goes out if nothing waits
    /// before it.
    fn exceeds(&self, waiting: usize, size: usize) -> bool {
        waiting > 0 && waiting + size > self.send_limit
    }

    /// Whether the loop will drop older messages for a frame. Those that it has not taken yet it
    /// cannot drop, so they must not exceed the limit themselves; and what is dropped are messages,
    /// so that PINGs have to fit.
    fn will_make_room(&self, state: &State<C>, link: &Link, opcode: Opcode, size: usize) -> bool {
        match self.policy {
            SlowConsumer::Close | SlowConsumer::DropNewest => false,
            SlowConsumer::DropOldest => {
                !opcode.is_control() && queued(state, link) + size <= self.send_limit
            }
        }
    }

    fn note_queued(&self, state: &State<C>, link: &Link, size: usize) {
        if self.policy == SlowConsumer::DropOldest {
            link.queued.store(queued(state, link) + size, Ordering::Relaxed);
            link.queued_since.store(state.takings, Ordering::Relaxed);
        }
    }

    fn refuse(
        &self,
        mut state: MutexGuard<'_, State<C>>,
        link: &Link,
        opcode: Opcode,
        size: usize,
    ) -> Sent {
        if !opcode.is_control() {
            state.losses.messages += Dropped { messages: 1, bytes: size };
        }
        match self.policy {
            SlowConsumer::Close => {
                let frame = slow_consumer_frame();
                push(state, close_command(link, frame, CloseCause::SlowConsumer));
            }
            SlowConsumer::DropNewest | SlowConsumer::DropOldest => {}
        }
        Sent::Dropped
    }

    /// Sends to all connections that are open when the loop takes the command. Without a running
    /// loop there are none.
    pub(in super::super) fn broadcast(
        &self,
        opcode: Opcode,
        payload: &[u8],
        except: Option<Target>,
        compress: Compress,
    ) -> Sent {
        let frame = Frame::new(opcode, Body::Copied(payload), compress);
        let size = frame.size();
        let mut state = self.lock();
        if state.waker.is_none() {
            return Sent::Queued;
        }
        let before = state.commands.broadcast_bytes;
        let waiting = before + size;
        if before > 0 && waiting > self.broadcast_limit {
            state.losses.broadcasts += 1;
            return Sent::Dropped;
        }
        state.commands.broadcast_bytes = waiting;
        let address = Address { audience: Audience::All { except }, compress };
        self.push_frame(&mut state.commands, address, opcode, frame);
        wake(state);
        if waiting > self.broadcast_limit / 2 { Sent::Backpressure } else { Sent::Queued }
    }

    #[inline]
    fn push_frame(
        &self,
        commands: &mut Commands<C>,
        address: Address,
        opcode: Opcode,
        frame: Frame<'_>,
    ) {
        match frame {
            Frame::Small(payload) => commands.push_small(address, opcode, payload, self.run_limit),
            Frame::Large(frames) => {
                let messages = 1; // a control frame is never large
                commands.list.push(Command::Send { address, frames, messages });
            }
        }
    }
}

/// What of a connection's bytes is in the queue.
fn queued<C>(state: &State<C>, link: &Link) -> usize {
    let is_current = link.queued_since.load(Ordering::Relaxed) == state.takings;
    if is_current { link.queued.load(Ordering::Relaxed) } else { 0 }
}

/// The payload of a message to one connection.
pub(in super::super) enum Body<'a> {
    Copied(&'a [u8]),
    /// Unless it is compressed, it is not copied.
    Lent(Lent),
}

/// A frame on its way into the queue, made as far as that can be done before any lock is taken.
enum Frame<'a> {
    /// To be encoded into the arena.
    Small(&'a [u8]),
    Large(Frames),
}

impl<'a> Frame<'a> {
    #[inline]
    fn new(opcode: Opcode, body: Body<'a>, compress: Compress) -> Self {
        match body {
            Body::Copied(payload) if proto::encoded_size(payload.len()) <= ARENA_FRAME_SIZE => {
                Self::Small(payload)
            }
            body => Self::Large(large(opcode, body, compress)),
        }
    }

    #[inline]
    fn size(&self) -> usize {
        match self {
            Self::Small(payload) => proto::encoded_size(payload.len()),
            Self::Large(frames) => frames.len(),
        }
    }
}

#[inline(never)]
fn large(opcode: Opcode, body: Body<'_>, compress: Compress) -> Frames {
    match (body, compress) {
        (Body::Copied(payload), _) => encoded(opcode, payload),
        (Body::Lent(payload), Compress::Allow) => encoded(opcode, (*payload).as_ref()),
        (Body::Lent(payload), Compress::Never) => {
            Frames::Lent(Box::new(LentFrame::new(opcode, payload)))
        }
    }
}

fn encoded(opcode: Opcode, payload: &[u8]) -> Frames {
    let mut frame = Vec::with_capacity(proto::encoded_size(payload.len()));
    proto::encode_frame(&mut frame, opcode, payload);
    Frames::Own(frame)
}
