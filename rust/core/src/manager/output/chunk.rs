//! The pieces that an output consists of, and the frames in them.

use std::ops::Range;
use std::sync::Arc;

use crate::proto::{frame_around, server_frames};

use super::{BufferPool, LentFrame};

/// A run of whole frames, or the response to the handshake.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) bytes: Bytes,
    /// The bytes before are sent, or dropped.
    pub(super) start: usize,
}

#[derive(Debug)]
pub(super) enum Bytes {
    /// The response to the handshake, which is no frame.
    Response(Vec<u8>),
    Own(Vec<u8>),
    /// Others have it too, and it is never changed.
    Shared(Arc<[u8]>),
    /// One message, which is not in one place.
    Lent(Box<LentFrame>),
}

impl Chunk {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self { bytes, start: 0 }
    }

    /// What stands in one place; of a lent frame nothing does.
    pub(super) fn all(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Response(bytes) | Bytes::Own(bytes) => bytes,
            Bytes::Shared(bytes) => bytes,
            Bytes::Lent(_) => &[],
        }
    }

    /// What is to be sent yet, in two places at most.
    pub(super) fn rest(&self) -> [&[u8]; 2] {
        match &self.bytes {
            Bytes::Lent(frame) => frame.parts_from(self.start),
            Bytes::Response(_) | Bytes::Own(_) | Bytes::Shared(_) => {
                [&self.all()[self.start..], &[]]
            }
        }
    }

    /// Bytes of the rest.
    pub(super) fn left(&self) -> usize {
        self.len() - self.start
    }

    pub(super) fn len(&self) -> usize {
        match &self.bytes {
            Bytes::Lent(frame) => frame.len(),
            Bytes::Response(_) | Bytes::Own(_) | Bytes::Shared(_) => self.all().len(),
        }
    }

    /// The frame of which a part is sent, if a frame begins at `boundary`; an empty range if there
    /// is none.
    pub(super) fn begun(&self, boundary: usize) -> Range<usize> {
        match &self.bytes {
            Bytes::Response(_) => 0..0,
            Bytes::Own(_) | Bytes::Shared(_) => {
                let frame = frame_around(&self.all()[boundary..], self.start - boundary);
                boundary + frame.start..boundary + frame.end
            }
            Bytes::Lent(_) if self.start == boundary => boundary..boundary,
            Bytes::Lent(frame) => 0..frame.len(),
        }
    }

    /// The messages whose frames stand behind `boundary`.
    pub(super) fn messages(&self, boundary: usize) -> Dropped {
        match &self.bytes {
            Bytes::Own(_) | Bytes::Shared(_) => Dropped::all_of(&self.all()[boundary..]),
            Bytes::Lent(frame) if boundary == 0 => frame.as_dropped(),
            Bytes::Response(_) | Bytes::Lent(_) => Dropped::default(),
        }
    }

    /// Takes the frame out that is the first of the rest, if the rest begins with one.
    pub(super) fn pop_frame(&mut self) -> Option<Popped> {
        let popped = match &self.bytes {
            Bytes::Lent(frame) => (self.start == 0).then(|| Popped::Message(frame.len()))?,
            Bytes::Response(_) | Bytes::Own(_) | Bytes::Shared(_) => {
                let frame = server_frames(&self.all()[self.start..]).next()?;
                if frame.opcode.is_control() {
                    Popped::Control(frame.bytes.to_vec())
                } else {
                    Popped::Message(frame.bytes.len())
                }
            }
        };
        self.start += popped.size();
        Some(popped)
    }

    /// Drops the frames behind `end`; the response to the handshake is none.
    pub(super) fn cut(&mut self, end: usize) -> Dropped {
        let dropped = self.messages(end);
        match &mut self.bytes {
            Bytes::Own(bytes) => bytes.truncate(end),
            Bytes::Shared(bytes) if end < bytes.len() => {
                self.bytes = Bytes::Own(bytes[..end].to_vec());
            }
            Bytes::Lent(_) if end == 0 => self.bytes = Bytes::Own(Vec::new()),
            Bytes::Response(_) | Bytes::Shared(_) | Bytes::Lent(_) => {}
        }
        dropped
    }

    pub(super) fn release(self, pool: &mut BufferPool) {
        if let Bytes::Own(buffer) = self.bytes {
            pool.give_back(buffer);
        }
    }
}

/// A frame that was taken out of a chunk.
pub(super) enum Popped {
    /// With the size of its frame.
    Message(usize),
    Control(Vec<u8>),
}

impl Popped {
    fn size(&self) -> usize {
        match self {
            Self::Message(size) => *size,
            Self::Control(frame) => frame.len(),
        }
    }
}

/// Text and binary messages that will not be sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in super::super) struct Dropped {
    pub(in super::super) messages: u64,
    /// Of their frames, headers included.
    pub(in super::super) bytes: usize,
}

impl Dropped {
    /// The messages in a buffer of whole frames.
    pub(in super::super) fn all_of(frames: &[u8]) -> Self {
        let mut dropped = Self::default();
        for frame in server_frames(frames).filter(|frame| !frame.opcode.is_control()) {
            dropped += Self { messages: 1, bytes: frame.bytes.len() };
        }
        dropped
    }
}

impl std::ops::AddAssign for Dropped {
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
    }
}
