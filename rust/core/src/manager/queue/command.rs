//! What can be asked of the loop, and how it waits for it.

use std::borrow::Cow;
use std::ops::Range;
use std::time::Duration;

use crate::proto::deflate::Agreement;
use crate::proto::{self, CloseFrame, Opcode};
use crate::tls::Session;

use super::super::admission::Permit;
use super::super::connection::{CloseCause, Compress};
use super::super::output::{Dropped, LentFrame};
use super::super::peer::Stage;

/// What is usual, an arena keeps and as much again; but not less than this, nor more.
const MIN_KEPT_ARENA: usize = 64 << 10;
const MAX_KEPT_ARENA: usize = 1 << 20;
/// A longer list of commands is not kept.
const MAX_KEPT_COMMANDS: usize = 4096;

/// A socket whose handshake was accepted, on its way to the loop.
#[derive(Debug)]
pub struct Adoption<C> {
    /// The socket, which the loop owns from now on.
    pub stream: std::net::TcpStream,
    /// The TLS session on it, whose handshake is over; `None`: the socket carries plaintext.
    pub session: Option<Box<Session>>,
    /// The 101 response. The loop sends it, and so whatever happens after the client has seen it
    /// happens after the adoption: no broadcast is missed.
    pub response: Vec<u8>,
    /// What the client sent behind its handshake.
    pub received: Vec<u8>,
    /// What the response says about compression.
    pub deflate: Option<Agreement>,
    /// The handler passes the events of this connection on, to be dealt with elsewhere and later.
    /// What otherwise follows when it returns, follows when it is told: the 101 by
    /// [`super::super::Connection::greeted`], the answering CLOSE by [`super::super::Connection::answer`]; and what it keeps
    /// of messages, it tells by [`super::super::Connection::hold`].
    pub deferred: bool,
    /// The connection's place, which it keeps until its socket is closed; `None`: it is not counted.
    pub permit: Option<Permit>,
    /// Goes to [`super::super::Event::Established`].
    pub context: C,
}

impl<C> Adoption<C> {
    /// That of a plain socket whose client has its 101 already, and has said nothing since.
    pub fn new(stream: std::net::TcpStream, context: C) -> Self {
        Self {
            stream,
            session: None,
            response: Vec::new(),
            received: Vec::new(),
            deflate: None,
            deferred: false,
            permit: None,
            context,
        }
    }
}

/// A connection that a command is for. The id tells whether the slot still belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Target {
    pub(in super::super) slot: usize,
    pub(in super::super) id: u64,
}

/// Who gets a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Audience {
    One(Target),
    All { except: Option<Target> },
}

/// Where frames go, and what may become of them on the way. Runs are made of what is equal here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Address {
    pub(in super::super) audience: Audience,
    pub(in super::super) compress: Compress,
}

/// Whole frames, end to end.
#[derive(Debug)]
pub(in super::super) enum Frames {
    /// In the arena of the [`Commands`] that they came with.
    Arena(Range<usize>),
    /// A large one, in its own buffer.
    Own(Vec<u8>),
    /// A message whose payload is lent.
    Lent(Box<LentFrame>),
}

impl Frames {
    pub(in super::super) fn len(&self) -> usize {
        match self {
            Self::Arena(range) => range.len(),
            Self::Own(frame) => frame.len(),
            Self::Lent(frame) => frame.len(),
        }
    }

    /// Their bytes, given the arena that they came with; a copy of those that are lent.
    pub(in super::super) fn bytes<'a>(&'a self, arena: &'a [u8]) -> Cow<'a, [u8]> {
        match self {
            Self::Arena(range) => Cow::Borrowed(&arena[range.clone()]),
            Self::Own(frame) => Cow::Borrowed(frame),
            Self::Lent(frame) => Cow::Owned(frame.to_vec()),
        }
    }

    /// What dropping all of them comes to.
    pub(in super::super) fn as_dropped(&self, arena: &[u8]) -> Dropped {
        match self {
            Self::Lent(frame) => frame.as_dropped(),
            Self::Arena(_) | Self::Own(_) => Dropped::all_of(&self.bytes(arena)),
        }
    }
}

#[derive(Debug)]
pub(in super::super) enum Command<C> {
    Adopt(Box<Adoption<C>>),
    /// So many of the frames are messages; the others are PINGs.
    Send {
        address: Address,
        frames: Frames,
        messages: u64,
    },
    Close {
        target: Target,
        frame: CloseFrame,
        cause: CloseCause,
    },
    /// Of a deferred peer: the handler greets it, or has done so.
    Advance {
        target: Target,
        stage: Stage,
    },
    /// A deferred peer gets the CLOSE that it is owed.
    Answer(Target),
    /// A peer that was not read because the handler held too much of it can be read again.
    Resume(Target),
    Finish,
}

/// Commands, and the arena that their small frames stand in.
#[derive(Debug)]
pub(in super::super) struct Commands<C> {
    pub(in super::super) list: Vec<Command<C>>,
    pub(in super::super) arena: Vec<u8>,
    /// Everything is to be closed, behind what the other commands say.
    pub(in super::super) shuts_down: Option<Duration>,
    /// Bytes of the broadcasts among them.
    pub(super) broadcast_bytes: usize,
    /// About the most that the arena has held of late: it falls slowly.
    usual: usize,
}

impl<C> Default for Commands<C> {
    fn default() -> Self {
        Self { list: Vec::new(), arena: Vec::new(), shuts_down: None, broadcast_bytes: 0, usual: 0 }
    }
}

impl<C> Commands<C> {
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty() && self.shuts_down.is_none()
    }

    /// Empties it for the next swap. Memory is kept, unless it was a rare burst that needed it.
    pub(in super::super) fn clear(&mut self) {
        self.list.clear();
        self.list.shrink_to(MAX_KEPT_COMMANDS);
        self.usual = self.arena.len().max(self.usual - self.usual / 1024);
        self.arena.clear();
        let kept = self.usual.clamp(MIN_KEPT_ARENA, MAX_KEPT_ARENA);
        if self.arena.capacity() > 2 * kept {
            self.arena.shrink_to(kept);
        }
        self.broadcast_bytes = 0;
    }

    /// The messages among them that go to one connection.
    pub(in super::super) fn messages(&self) -> Dropped {
        let mut messages = Dropped::default();
        for command in &self.list {
            if let Command::Send { address, frames, messages: _ } = command
                && let Audience::One(_) = address.audience
            {
                messages += frames.as_dropped(&self.arena);
            }
        }
        messages
    }

    /// Encodes a small frame into the arena, as part of the last command if that has the same
    /// address and its frames end where the arena does.
    pub(super) fn push_small(
        &mut self,
        address: Address,
        opcode: Opcode,
        payload: &[u8],
        run_limit: usize,
    ) {
        let start = self.arena.len();
        let count = u64::from(!opcode.is_control());
        proto::encode_frame(&mut self.arena, opcode, payload);
        if let Some(Command::Send { address: last, frames: Frames::Arena(range), messages }) =
            self.list.last_mut()
            && *last == address
            && range.end == start
            && self.arena.len() - range.start <= run_limit
        {
            range.end = self.arena.len();
            *messages += count;
            return;
        }
        let frames = Frames::Arena(start..self.arena.len());
        self.list.push(Command::Send { address, frames, messages: count });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Uses the arena for so many bytes.
    fn fill(commands: &mut Commands<()>, size: usize) {
        commands.arena.resize(size, 0);
        commands.clear();
    }

    #[test]
    fn an_arena_follows_what_is_usual() {
        let mut commands = Commands::default();
        fill(&mut commands, 1 << 20);
        for _ in 0..500 {
            fill(&mut commands, 1000);
        }
        assert!(commands.arena.capacity() >= 1 << 20, "it may be needed again soon");
        for _ in 0..5000 {
            fill(&mut commands, 1000);
        }
        assert!(commands.arena.capacity() <= 2 * MIN_KEPT_ARENA);
    }

    #[test]
    fn of_a_huge_arena_a_part_is_kept() {
        let mut commands = Commands::default();
        fill(&mut commands, 3 * MAX_KEPT_ARENA);
        assert!(commands.arena.capacity() <= 2 * MAX_KEPT_ARENA);
    }
}
