//! What a connection has still to send: the 101 response, and then whole frames, end to end.
//!
//! Small frames are copied into a chunk of the connection's own, borrowed from a pool that all
//! connections share, so that an idle connection owns no buffer. A large frame keeps the buffer it
//! was encoded into, or stands around a payload that the application has lent, and a broadcast is
//! one buffer that all its receivers share by reference.
//!
//! Messages can be dropped again, the oldest first, but never a part of one: the frame that has
//! begun to go out is finished, and control frames keep their places. Where frames lie end to end
//! they are found by walking from one to the next. That is done for what is dropped only, and each
//! frame is passed once: a chunk remembers how far it has been sent or dropped.

mod chunk;
mod lent;
mod pool;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::ops::Range;
use std::sync::Arc;

use crate::proto::MAX_CONTROL_PAYLOAD;

pub use lent::Lent;

pub(super) use chunk::Dropped;
pub(super) use lent::LentFrame;
pub(super) use pool::BufferPool;

use chunk::{Bytes, Chunk, Popped};

/// Pieces that one vectored write takes. More than this many wait for the next one.
const MAX_SLICES: usize = 64;

/// A chunk of its own is filled up to this many bytes; what does not fit begins another one. It is
/// freed as a whole, so that of one which is half dropped the other half costs as much.
const CHUNK_SIZE: usize = 32 * 1024;

/// A control frame is not larger.
const CONTROL_SIZE: usize = 2 + MAX_CONTROL_PAYLOAD;

/// What one call of [`Output::write_to`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// Nothing is left.
    All,
    /// The socket takes no more for now; an event will say when it does.
    Blocked,
}

/// The unsent frames of one connection, in the order in which they go out.
#[derive(Debug, Default)]
pub(super) struct Output {
    chunks: VecDeque<Chunk>,
    /// Unsent bytes of all the chunks.
    unsent: usize,
    /// So many chunks at the front have to go out: the response, the frame that has begun, and
    /// control frames that stood between messages which were dropped. Nothing is added to them
    /// but more of those. What follows them begins with a whole frame.
    kept: usize,
    /// Where a frame of the first chunk begins, not behind the first byte that is unsent.
    boundary: usize,
}

impl Output {
    /// What begins with the response to a handshake.
    pub(super) fn new(response: Vec<u8>) -> Self {
        if response.is_empty() {
            return Self::default();
        }
        let unsent = response.len();
        let chunks = VecDeque::from([Chunk::new(Bytes::Response(response))]);
        Self { chunks, unsent, kept: 1, boundary: 0 }
    }

    /// Unsent bytes.
    pub(super) fn len(&self) -> usize {
        self.unsent
    }

    pub(super) fn is_empty(&self) -> bool {
        self.unsent == 0
    }

    // What comes in.

    /// Copies small frames behind what waits already.
    pub(super) fn append(&mut self, frames: &[u8], pool: &mut BufferPool) {
        self.append_about(frames.len(), pool, |chunk| chunk.extend_from_slice(frames));
    }

    /// Lets `encode` append a control frame behind what waits already.
    pub(super) fn append_with(&mut self, pool: &mut BufferPool, encode: impl FnOnce(&mut Vec<u8>)) {
        self.append_about(CONTROL_SIZE, pool, encode);
    }

    /// Lets `encode` append whole frames behind what waits already, which are about so large.
    pub(super) fn append_about(
        &mut self,
        size: usize,
        pool: &mut BufferPool,
        encode: impl FnOnce(&mut Vec<u8>),
    ) {
        if !self.has_room(size) {
            self.chunks.push_back(Chunk::new(Bytes::Own(pool.take())));
        }
        let Some(Chunk { bytes: Bytes::Own(chunk), .. }) = self.chunks.back_mut() else { return };
        let before = chunk.len();
        encode(chunk);
        self.unsent += chunk.len() - before;
        if chunk.is_empty()
            && let Some(chunk) = self.chunks.pop_back()
        {
            chunk.release(pool);
        }
    }

    /// Whether there is a chunk at the end that frames of this size may be added to.
    fn has_room(&self, size: usize) -> bool {
        let last = self.chunks.back().filter(|_| self.chunks.len() > self.kept);
        match last.map(|chunk| &chunk.bytes) {
            Some(Bytes::Own(chunk)) => chunk.len() + size <= CHUNK_SIZE,
            Some(Bytes::Response(_) | Bytes::Shared(_) | Bytes::Lent(_)) | None => false,
        }
    }

    /// Takes a large frame, in the buffer that it was encoded into.
    pub(super) fn push(&mut self, frame: Vec<u8>) {
        if frame.is_empty() {
            return;
        }
        self.unsent += frame.len();
        self.chunks.push_back(Chunk::new(Bytes::Own(frame)));
    }

    /// Takes a frame whose payload stays where it is until it has gone out.
    pub(super) fn push_lent(&mut self, frame: Box<LentFrame>) {
        self.unsent += frame.len();
        self.chunks.push_back(Chunk::new(Bytes::Lent(frame)));
    }

    /// Takes a share of frames that go to many connections.
    pub(super) fn push_shared(&mut self, frames: &Arc<[u8]>) {
        self.unsent += frames.len();
        self.chunks.push_back(Chunk::new(Bytes::Shared(Arc::clone(frames))));
    }

    /// Takes what is left of such a share, of which so many bytes have gone out: they had nothing
    /// before them.
    pub(super) fn push_rest(&mut self, frames: &Arc<[u8]>, sent: usize) {
        if sent < frames.len() {
            self.unsent += frames.len() - sent;
            self.chunks.push_back(Chunk { bytes: Bytes::Shared(Arc::clone(frames)), start: sent });
        }
    }

    // What is dropped.

    /// Drops messages of which no byte has gone out, the oldest first, until `needed` bytes are
    /// free or none are left.
    pub(super) fn drop_oldest(&mut self, needed: usize, pool: &mut BufferPool) -> Dropped {
        self.keep_what_has_begun(pool);
        let mut dropped = Dropped::default();
        while dropped.bytes < needed
            && let Some(chunk) = self.chunks.get_mut(self.kept)
        {
            match chunk.pop_frame() {
                Some(Popped::Message(size)) => {
                    dropped += Dropped { messages: 1, bytes: size };
                    self.unsent -= size;
                }
                Some(Popped::Control(frame)) => self.keep(&frame, pool),
                // Freed: a pool that is filled by those who are slow would be no help to them.
                None => drop(self.chunks.remove(self.kept)),
            }
        }
        if self.kept == 0 {
            self.boundary = self.chunks.front().map_or(0, |chunk| chunk.start);
        }
        dropped
    }

    /// Drops all frames of which no byte has gone out, control frames too.
    pub(super) fn drop_unsent_frames(&mut self) -> Dropped {
        let mut dropped = Dropped::default();
        for chunk in self.chunks.iter().skip(1) {
            dropped += chunk.messages(chunk.start);
        }
        self.chunks.truncate(1);
        let begun = self.begun();
        if let Some(first) = self.chunks.front_mut() {
            dropped += first.cut(begun.end);
            self.unsent = first.left();
            self.boundary = begun.start;
        }
        if self.unsent == 0 {
            self.chunks.clear();
            self.boundary = 0;
        }
        self.kept = self.chunks.len();
        dropped
    }

    /// The messages that are not, or not wholly, sent.
    pub(super) fn unsent_messages(&self) -> Dropped {
        let mut unsent = Dropped::default();
        for (index, chunk) in self.chunks.iter().enumerate() {
            let boundary = if index == 0 { self.begun().start } else { chunk.start };
            unsent += chunk.messages(boundary);
        }
        unsent
    }

    /// The frame of the first chunk of which a part is sent; an empty range if there is none.
    fn begun(&self) -> Range<usize> {
        self.chunks.front().map_or(0..0, |first| first.begun(self.boundary))
    }

    /// Sees to it that the frame that has begun stands in a chunk that is kept.
    fn keep_what_has_begun(&mut self, pool: &mut BufferPool) {
        if self.kept > 0 {
            return; // it stands there already
        }
        let begun = self.begun();
        self.boundary = begun.start;
        let Some(first) = self.chunks.front_mut() else { return };
        if begun.is_empty() {
            return;
        }
        self.kept = 1;
        if begun.end < first.len() {
            let sent = std::mem::replace(&mut first.start, begun.end) - begun.start;
            let mut frame = pool.take();
            frame.extend_from_slice(&first.all()[begun]);
            self.chunks.push_front(Chunk { bytes: Bytes::Own(frame), start: sent });
            self.boundary = 0;
        }
    }

    /// Puts a control frame behind what is kept.
    fn keep(&mut self, frame: &[u8], pool: &mut BufferPool) {
        let last = self.kept.checked_sub(1).and_then(|last| self.chunks.get_mut(last));
        match last.map(|chunk| &mut chunk.bytes) {
            Some(Bytes::Own(kept)) if kept.len() < CHUNK_SIZE => kept.extend_from_slice(frame),
            Some(Bytes::Response(_) | Bytes::Own(_) | Bytes::Shared(_) | Bytes::Lent(_)) | None => {
                let mut kept = pool.take();
                kept.extend_from_slice(frame);
                self.chunks.insert(self.kept, Chunk::new(Bytes::Own(kept)));
                self.kept += 1;
                if self.kept == 1 {
                    self.boundary = 0;
                }
            }
        }
    }

    // What goes out.

    /// Writes until nothing is left or the socket takes no more: one system call, except when more
    /// than [`MAX_SLICES`] pieces wait.
    pub(super) fn write_to(
        &mut self,
        stream: &mut impl Write,
        pool: &mut BufferPool,
    ) -> io::Result<Written> {
        while self.unsent > 0 {
            let (result, offered) = self.write_once(stream);
            match result {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.advance(written, pool);
                    if written < offered {
                        return Ok(Written::Blocked);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Written::Blocked);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        match stream.flush() {
            Ok(()) => Ok(Written::All),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Written::Blocked),
            Err(error) => Err(error),
        }
    }

    /// One write of as many chunks as it takes: its result, and the bytes that it was offered.
    fn write_once(&self, stream: &mut impl Write) -> (io::Result<usize>, usize) {
        if let (1, Some(only)) = (self.chunks.len(), self.chunks.front())
            && let [rest, []] = only.rest()
        {
            return (stream.write(rest), rest.len());
        }
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let mut offered = 0;
        let mut count = 0;
        let parts = self.chunks.iter().flat_map(Chunk::rest).filter(|part| !part.is_empty());
        for (slot, part) in slices.iter_mut().zip(parts) {
            *slot = IoSlice::new(part);
            offered += part.len();
            count += 1;
        }
        (stream.write_vectored(&slices[..count]), offered)
    }

    fn advance(&mut self, mut written: usize, pool: &mut BufferPool) {
        self.unsent -= written;
        while let Some(first) = self.chunks.front_mut() {
            let left = first.left();
            if written < left {
                first.start += written;
                return;
            }
            written -= left;
            if let Some(sent) = self.chunks.pop_front() {
                sent.release(pool);
            }
            self.kept = self.kept.saturating_sub(1);
            self.boundary = self.chunks.front().map_or(0, |next| next.start);
        }
    }
}
