//! What an output promises, tried with sockets of every width.

mod model;

use super::*;
use crate::proto::{self, Opcode};

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

fn lent(payload: &[u8]) -> LentFrame {
    LentFrame::new(Opcode::Binary, Box::new(payload.to_vec()))
}

/// Four frames in four kinds of chunk, and all their bytes.
fn mixed(pool: &mut BufferPool) -> (Output, Vec<u8>) {
    let (small, large, shared) = (frame(b"small"), frame(&[7; 4000]), frame(b"shared"));
    let mut output = Output::default();
    output.append(&small, pool);
    output.push(large.clone());
    output.push_lent(Box::new(lent(&[8; 992])));
    output.push_shared(&Arc::from(shared.clone()));
    (output, [small, large, frame(&[8; 992]), shared].concat())
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
    for room in [1, 2, 6, 7, 8, 4010, 4011, 4012, 4015, 4016, 5006, 5007, 5008, 5015] {
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
fn of_a_share_that_has_begun_without_us_the_frame_that_has_begun_is_finished() {
    let shared: Arc<[u8]> = Arc::from([frame(b"one"), frame(b"two"), frame(b"three")].concat());
    for sent in 0..=shared.len() {
        let mut pool = BufferPool::default();
        let mut output = Output::default();
        output.push_rest(&shared, sent);
        assert_eq!(output.len(), shared.len() - sent);
        assert_eq!(
            output.drop_oldest(usize::MAX, &mut pool).messages,
            3 - sent.div_ceil(5).min(3) as u64
        );
        let mut socket = Narrow { taken: Vec::new(), room: 100 };
        output.write_to(&mut socket, &mut pool).unwrap();
        let end = [0, 5, 10, 17].into_iter().find(|end| *end >= sent).unwrap();
        assert_eq!(socket.taken, shared[sent..end], "{sent} bytes sent");
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
    for sent in 0..=5015 {
        let mut pool = BufferPool::default();
        let (mut output, all) = mixed(&mut pool);
        let mut socket = Narrow { taken: Vec::new(), room: sent };
        output.write_to(&mut socket, &mut pool).unwrap();
        let dropped = output.drop_unsent_frames();
        socket.room = 100_000;
        output.write_to(&mut socket, &mut pool).unwrap();
        let ends = [0, 7, 4011, 5007, all.len()];
        let boundary = ends.into_iter().find(|&end| end >= sent).unwrap();
        let messages = ends.into_iter().filter(|&end| end > boundary).count() as u64;
        assert_eq!(socket.taken, all[..boundary], "{sent} bytes were sent");
        assert_eq!(dropped, Dropped { messages, bytes: all.len() - boundary });
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
        assert_eq!(output.drop_unsent_frames(), Dropped { messages: 1, bytes: 7 });
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

#[test]
fn what_is_dropped_is_the_oldest_and_no_more_than_is_needed() {
    let mut pool = BufferPool::default();
    let (mut output, all) = mixed(&mut pool);
    assert_eq!(output.drop_oldest(0, &mut pool), Dropped::default());
    assert_eq!(output.drop_oldest(7, &mut pool), Dropped { messages: 1, bytes: 7 });
    assert_eq!(output.drop_oldest(1, &mut pool), Dropped { messages: 1, bytes: 4004 });
    assert_eq!(output.drop_oldest(1, &mut pool), Dropped { messages: 1, bytes: 996 });
    assert_eq!(output.len(), 8);
    let mut socket = Narrow { taken: Vec::new(), room: 1 };
    output.write_to(&mut socket, &mut pool).unwrap();
    assert_eq!(output.drop_oldest(1, &mut pool), Dropped::default(), "it has begun");
    socket.room = 100;
    output.write_to(&mut socket, &mut pool).unwrap();
    assert_eq!(socket.taken, all[5007..]);
}

#[test]
fn a_share_is_cut_for_one_and_whole_for_the_others() {
    let mut pool = BufferPool::default();
    let shared: Arc<[u8]> = Arc::from([frame(b"one"), frame(b"two"), frame(b"three")].concat());
    let mut outputs = [Output::default(), Output::default()];
    for output in &mut outputs {
        output.push_shared(&shared);
    }
    let [slow, other] = &mut outputs;
    assert_eq!(slow.drop_oldest(6, &mut pool), Dropped { messages: 2, bytes: 10 });
    assert_eq!(Arc::strong_count(&shared), 3, "nothing was copied");
    for (output, expected) in [(slow, &shared[10..]), (other, &shared[..])] {
        let mut socket = Narrow { taken: Vec::new(), room: 100 };
        output.write_to(&mut socket, &mut pool).unwrap();
        assert_eq!(socket.taken, expected);
    }
}

#[test]
fn what_is_lent_is_kept_until_it_is_sent_or_dropped() {
    let mut pool = BufferPool::default();
    let payload: Arc<[u8]> = Arc::from(*b"lent");
    let lent = || LentFrame::new(Opcode::Text, Box::new(Arc::clone(&payload)));
    let mut output = Output::default();
    output.push_lent(Box::new(lent()));
    output.push_lent(Box::new(lent()));
    assert_eq!(Arc::strong_count(&payload), 3);
    let mut socket = Narrow { taken: Vec::new(), room: 5 };
    output.write_to(&mut socket, &mut pool).unwrap();
    assert_eq!(Arc::strong_count(&payload), 3, "one byte is missing");
    assert_eq!(output.drop_oldest(1, &mut pool), Dropped { messages: 1, bytes: 6 });
    socket.room = 100;
    output.write_to(&mut socket, &mut pool).unwrap();
    assert_eq!(socket.taken, b"\x81\x04lent");
    assert_eq!(Arc::strong_count(&payload), 1);
    output.push_lent(Box::new(lent()));
    output.drop_unsent_frames();
    assert_eq!(Arc::strong_count(&payload), 1);
}

#[test]
fn dropping_one_of_very_many_again_and_again_is_cheap() {
    // If each time had to walk over what was dropped before, this would take hours.
    const COUNT: u64 = 1_000_000;
    let mut pool = BufferPool::default();
    let tiny = frame(b"");
    for chunks_are_small in [true, false] {
        let mut output = Output::default();
        if chunks_are_small {
            for _ in 0..COUNT {
                output.append(&tiny, &mut pool);
            }
        } else {
            output.push(tiny.repeat(1_000_000));
        }
        let mut socket = Narrow { taken: Vec::new(), room: 1 };
        output.write_to(&mut socket, &mut pool).unwrap();
        let mut dropped = Dropped::default();
        for _ in 1..COUNT {
            output.append(&tiny, &mut pool);
            dropped += output.drop_oldest(1, &mut pool);
        }
        assert_eq!(dropped.messages, COUNT - 1);
        assert_eq!(output.len(), tiny.len() * 1_000_000 - 1);
    }
}
