//! The pieces that an output consists of, and the frames in them.

use std::sync::Arc;

use crate::proto::server_frames;

use super::BufferPool;

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
}

impl Chunk {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self { bytes, start: 0 }
    }

    pub(super) fn all(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Response(bytes) | Bytes::Own(bytes) => bytes,
            Bytes::Shared(bytes) => bytes,
        }
    }

    /// What is to be sent yet.
    pub(super) fn rest(&self) -> &[u8] {
        &self.all()[self.start..]
    }

    /// Takes the frame out that is the first of the rest, if the rest begins with one.
    pub(super) fn pop_frame(&mut self) -> Option<Popped> {
        let frame = server_frames(self.rest()).next()?;
        let size = frame.bytes.len();
        let popped = if frame.opcode.is_control() {
            Popped::Control(frame.bytes.to_vec())
        } else {
            Popped::Message(size)
        };
        self.start += size;
        Some(popped)
    }

    /// Drops the frames behind `end`; the response to the handshake is none.
    pub(super) fn cut(&mut self, end: usize) -> Dropped {
        let dropped = match &self.bytes {
            Bytes::Response(_) => return Dropped::default(),
            Bytes::Own(bytes) => Dropped::all_of(&bytes[end..]),
            Bytes::Shared(bytes) => Dropped::all_of(&bytes[end..]),
        };
        match &mut self.bytes {
            Bytes::Own(bytes) => bytes.truncate(end),
            Bytes::Shared(bytes) if end < bytes.len() => {
                self.bytes = Bytes::Own(bytes[..end].to_vec());
            }
            Bytes::Response(_) | Bytes::Shared(_) => {}
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
