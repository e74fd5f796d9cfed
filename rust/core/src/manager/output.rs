//! What a connection has still to send: the 101 response, and then whole frames, end to end.
//!
//! Small frames are copied into a chunk of the connection's own, borrowed from a pool that all
//! connections share, so that an idle connection owns no buffer. A large frame keeps the buffer it
//! was encoded into, and a broadcast is one buffer that all its receivers share by reference.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::sync::Arc;

use crate::proto;

/// Chunks that one vectored write takes. More than this many wait for the next one.
const MAX_SLICES: usize = 64;

/// A chunk of its own is filled up to this many bytes before another one is begun.
const CHUNK_SIZE: usize = 64 * 1024;

/// Bytes that the pool keeps for the next connections that have something to say. Giving memory
/// back to the system and asking for it again costs more than sending it does.
const POOL_SIZE: usize = 4 << 20;

/// A buffer that has grown beyond this is not kept.
const MAX_POOLED: usize = 4 * CHUNK_SIZE;

/// Empty buffers for reuse.
#[derive(Debug, Default)]
pub(super) struct BufferPool {
    buffers: Vec<Vec<u8>>,
    /// The capacities of the buffers, added up.
    size: usize,
}

impl BufferPool {
    fn take(&mut self) -> Vec<u8> {
        let buffer = self.buffers.pop().unwrap_or_default();
        self.size -= buffer.capacity();
        buffer
    }

    fn give_back(&mut self, mut buffer: Vec<u8>) {
        let capacity = buffer.capacity();
        if capacity <= MAX_POOLED && self.size + capacity <= POOL_SIZE {
            buffer.clear();
            self.size += capacity;
            self.buffers.push(buffer);
        }
    }
}

#[derive(Debug)]
enum Chunk {
    /// The response to the handshake, which is no frame.
    Response(Vec<u8>),
    Own(Vec<u8>),
    Shared(Arc<[u8]>),
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Response(bytes) | Self::Own(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

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
    /// Bytes of the first chunk that are sent.
    sent: usize,
    /// Unsent bytes of all the chunks.
    unsent: usize,
}

impl Output {
    /// What begins with the response to a handshake.
    pub(super) fn new(response: Vec<u8>) -> Self {
        let unsent = response.len();
        Self { chunks: VecDeque::from([Chunk::Response(response)]), sent: 0, unsent }
    }

    /// Unsent bytes.
    pub(super) fn len(&self) -> usize {
        self.unsent
    }

    pub(super) fn is_empty(&self) -> bool {
        self.unsent == 0
    }

    /// Copies small frames behind what waits already.
    pub(super) fn append(&mut self, frames: &[u8], pool: &mut BufferPool) {
        self.append_with(pool, |chunk| chunk.extend_from_slice(frames));
    }

    /// Lets `encode` append whole frames behind what waits already.
    pub(super) fn append_with(&mut self, pool: &mut BufferPool, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut chunk = match self.chunks.pop_back() {
            Some(Chunk::Own(chunk)) if chunk.len() < CHUNK_SIZE => chunk,
            Some(full) => {
                self.chunks.push_back(full);
                pool.take()
            }
            None => pool.take(),
        };
        let before = chunk.len();
        encode(&mut chunk);
        self.unsent += chunk.len() - before;
        self.chunks.push_back(Chunk::Own(chunk));
    }

    /// Takes a large frame, in the buffer that it was encoded into.
    pub(super) fn push(&mut self, frame: Vec<u8>) {
        self.unsent += frame.len();
        self.chunks.push_back(Chunk::Own(frame));
    }

    /// Takes a share of frames that go to many connections.
    pub(super) fn push_shared(&mut self, frames: &Arc<[u8]>) {
        self.unsent += frames.len();
        self.chunks.push_back(Chunk::Shared(Arc::clone(frames)));
    }

    /// Drops all frames of which no byte has gone out. Returns the bytes dropped.
    pub(super) fn drop_unsent_frames(&mut self) -> usize {
        let before = self.unsent;
        self.chunks.truncate(1);
        self.unsent = 0;
        if let Some(first) = self.chunks.pop_front() {
            let end = match &first {
                Chunk::Response(response) => response.len(),
                Chunk::Own(_) | Chunk::Shared(_) => proto::frame_end(first.bytes(), self.sent),
            };
            self.unsent = end - self.sent;
            if self.unsent == 0 {
                self.sent = 0;
            } else {
                let rest = first.bytes()[self.sent..end].to_vec();
                self.sent = 0;
                self.chunks.push_back(match first {
                    Chunk::Response(_) => Chunk::Response(rest),
                    Chunk::Own(_) | Chunk::Shared(_) => Chunk::Own(rest),
                });
            }
        }
        before - self.unsent
    }

    /// Writes until nothing is left or the socket takes no more: one system call, except when more
    /// than [`MAX_SLICES`] chunks wait.
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
        Ok(Written::All)
    }

    /// One write of as many chunks as it takes: its result, and the bytes that it was offered.
    fn write_once(&self, stream: &mut impl Write) -> (io::Result<usize>, usize) {
        let mut unsent = self.chunks.iter().map(Chunk::bytes);
        let first = unsent.next().map_or(&[][..], |bytes| &bytes[self.sent..]);
        if self.chunks.len() == 1 {
            return (stream.write(first), first.len());
        }
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let mut offered = 0;
        let mut count = 0;
        for (slot, bytes) in slices.iter_mut().zip(std::iter::once(first).chain(unsent)) {
            *slot = IoSlice::new(bytes);
            offered += bytes.len();
            count += 1;
        }
        (stream.write_vectored(&slices[..count]), offered)
    }

    fn advance(&mut self, written: usize, pool: &mut BufferPool) {
        self.unsent -= written;
        self.sent += written;
        while let Some(chunk) = self.chunks.pop_front() {
            let length = chunk.bytes().len();
            if self.sent < length {
                self.chunks.push_front(chunk);
                return;
            }
            self.sent -= length;
            if let Chunk::Own(buffer) = chunk {
                pool.give_back(buffer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Opcode;

    /// Takes at most `room` bytes in all, as a socket buffer does.
    struct Narrow {
        taken: Vec<u8>,
        room: usize,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let count = bytes.len().min(self.room);
            self.room -= count;
            self.taken.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            let mut all: Vec<u8> = Vec::new();
            for slice in slices {
                all.extend_from_slice(slice);
            }
            self.write(&all)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn frame(payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        proto::encode_frame(&mut out, Opcode::Binary, payload);
        out
    }

    /// Three frames in three kinds of chunk, and all their bytes.
    fn mixed(pool: &mut BufferPool) -> (Output, Vec<u8>) {
        let (small, large, shared) = (frame(b"small"), frame(&[7; 5000]), frame(b"shared"));
        let mut output = Output::default();
        output.append(&small, pool);
        output.push(large.clone());
        output.push_shared(&Arc::from(shared.clone()));
        (output, [small, large, shared].concat())
    }

    #[test]
    fn small_frames_share_a_chunk_and_leave_in_one_write() {
        let mut pool = BufferPool::default();
        let mut output = Output::default();
        for payload in [b"one", b"two"] {
            output.append(&frame(payload), &mut pool);
        }
        assert_eq!(output.chunks.len(), 1);
        let mut socket = Narrow { taken: Vec::new(), room: 100 };
        assert_eq!(output.write_to(&mut socket, &mut pool).unwrap(), Written::All);
        assert_eq!(socket.taken, [frame(b"one"), frame(b"two")].concat());
        assert_eq!(pool.buffers.len(), 1, "the buffer went back to the pool");
        assert!(output.chunks.is_empty());
    }

    #[test]
    fn bytes_come_out_in_order_whatever_a_write_takes() {
        for room in [1, 2, 6, 7, 8, 4000, 5010, 5011, 5012, 5018] {
            let mut pool = BufferPool::default();
            let (mut output, expected) = mixed(&mut pool);
            let mut socket = Narrow { taken: Vec::new(), room };
            while output.write_to(&mut socket, &mut pool).unwrap() == Written::Blocked {
                assert_eq!(output.len(), expected.len() - socket.taken.len());
                socket.room = room;
            }
            assert_eq!(socket.taken, expected, "room for {room} bytes a write");
            assert!(output.is_empty());
        }
    }

    #[test]
    fn more_chunks_than_one_write_takes_go_out_in_several() {
        let mut pool = BufferPool::default();
        let shared: Arc<[u8]> = Arc::from(frame(b"x"));
        let mut output = Output::default();
        for _ in 0..=3 * MAX_SLICES {
            output.push_shared(&shared);
        }
        let mut socket = Narrow { taken: Vec::new(), room: 10_000 };
        assert_eq!(output.write_to(&mut socket, &mut pool).unwrap(), Written::All);
        assert_eq!(socket.taken, shared.repeat(3 * MAX_SLICES + 1));
    }

    #[test]
    fn only_a_frame_that_has_begun_survives_the_dropping_of_unsent_frames() {
        for sent in 0..=5018 {
            let mut pool = BufferPool::default();
            let (mut output, all) = mixed(&mut pool);
            let mut socket = Narrow { taken: Vec::new(), room: sent };
            output.write_to(&mut socket, &mut pool).unwrap();
            let dropped = output.drop_unsent_frames();
            socket.room = 100_000;
            output.write_to(&mut socket, &mut pool).unwrap();
            let boundary = [0, 7, 5011, all.len()].into_iter().find(|&end| end >= sent).unwrap();
            assert_eq!(socket.taken, all[..boundary], "{sent} bytes were sent");
            assert_eq!(dropped, all.len() - boundary);
        }
    }

    #[test]
    fn the_response_to_the_handshake_survives_whole() {
        for sent in 0..3 {
            let mut pool = BufferPool::default();
            let mut output = Output::new(b"101".to_vec());
            output.append(&frame(b"small"), &mut pool);
            let mut socket = Narrow { taken: Vec::new(), room: sent };
            output.write_to(&mut socket, &mut pool).unwrap();
            assert_eq!(output.drop_unsent_frames(), 7);
            output.append(&frame(b"more"), &mut pool);
            socket.room = 100;
            output.write_to(&mut socket, &mut pool).unwrap();
            assert_eq!(socket.taken, [b"101", &frame(b"more")[..]].concat());
        }
    }

    #[test]
    fn a_closed_socket_is_an_error() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Ok(0)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut pool = BufferPool::default();
        let mut output = Output::default();
        output.append(&frame(b"lost"), &mut pool);
        assert!(output.write_to(&mut Closed, &mut pool).is_err());
    }
}
