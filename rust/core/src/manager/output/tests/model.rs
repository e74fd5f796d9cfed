//! An output beside a model that has none of its cleverness, through random steps.

use std::collections::VecDeque;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A frame of the model.
#[derive(Debug, Clone)]
struct Frame {
    bytes: Vec<u8>,
    is_message: bool,
    is_kept: bool,
}

/// What an output does, without any of its cleverness.
#[derive(Debug, Default)]
struct Model {
    frames: VecDeque<Frame>,
    /// Bytes of the first frame that are sent.
    sent: usize,
}

impl Model {
    fn take(&mut self, mut count: usize) {
        while count > 0 {
            let left = self.frames[0].bytes.len() - self.sent;
            if count < left {
                self.sent += count;
                return;
            }
            count -= left;
            self.sent = 0;
            self.frames.pop_front();
        }
    }

    fn drop_oldest(&mut self, needed: usize) -> Dropped {
        let mut dropped = Dropped::default();
        let mut index = usize::from(self.sent > 0);
        while dropped.bytes < needed && index < self.frames.len() {
            if self.frames[index].is_message {
                dropped.messages += 1;
                dropped.bytes += self.frames.remove(index).unwrap().bytes.len();
            } else {
                index += 1;
            }
        }
        dropped
    }

    fn drop_unsent(&mut self) -> Dropped {
        let is_kept = self.frames.front().is_some_and(|frame| self.sent > 0 || frame.is_kept);
        messages_of(&self.frames.split_off(usize::from(is_kept)))
    }

    fn bytes(&self) -> Vec<u8> {
        let all: Vec<u8> = self.frames.iter().flat_map(|frame| frame.bytes.clone()).collect();
        all[self.sent..].to_vec()
    }
}

fn messages_of(frames: &VecDeque<Frame>) -> Dropped {
    let mut messages = Dropped::default();
    for frame in frames.iter().filter(|frame| frame.is_message) {
        messages += Dropped { messages: 1, bytes: frame.bytes.len() };
    }
    messages
}

#[derive(Debug, Clone)]
enum Step {
    /// Frames end to end, in one of three ways.
    Add(Vec<(Opcode, usize)>, How),
    /// A message of that size.
    Lend(usize),
    Write(usize),
    DropOldest(usize),
    DropUnsent,
}

#[derive(Debug, Clone, Copy)]
enum How {
    Append,
    Push,
    Share,
}

fn a_frame() -> impl Strategy<Value = (Opcode, usize)> {
    let message = prop_oneof![
        10 => 0..20_usize,
        3 => 100..300_usize,
        1 => 30_000..70_000_usize,
    ];
    prop_oneof![
        3 => (Just(Opcode::Text), message.clone()),
        1 => (Just(Opcode::Binary), message),
        1 => (Just(Opcode::Ping), 0..20_usize),
        1 => (Just(Opcode::Pong), 0..126_usize),
    ]
}

fn a_step() -> impl Strategy<Value = Step> {
    let how = prop_oneof![Just(How::Append), Just(How::Push), Just(How::Share)];
    prop_oneof![
        6 => (vec(a_frame(), 1..6), how).prop_map(|(frames, how)| Step::Add(frames, how)),
        3 => prop_oneof![0..300_usize, 30_000..70_000_usize].prop_map(Step::Lend),
        4 => prop_oneof![0..10_usize, 0..300_usize, 0..100_000_usize].prop_map(Step::Write),
        4 => prop_oneof![0..10_usize, 0..300_usize, 0..100_000_usize].prop_map(Step::DropOldest),
        1 => Just(Step::DropUnsent),
    ]
}

proptest! {
    #[test]
    fn what_comes_out_is_what_came_in_without_what_was_dropped(
        response in vec(any::<u8>(), 0..10),
        steps in vec(a_step(), 0..60),
    ) {
        let mut pool = BufferPool::default();
        let mut output = Output::default();
        let mut model = Model::default();
        if !response.is_empty() {
            output = Output::new(response.clone());
            model.frames.push_back(Frame { bytes: response, is_message: false, is_kept: true });
        }
        let mut number = 0_u8;
        for step in steps {
            match step {
                Step::Add(frames, how) => {
                    let mut run = Vec::new();
                    for (opcode, length) in frames {
                        let start = run.len();
                        number = number.wrapping_add(1);
                        proto::encode_frame(&mut run, opcode, &vec![number; length]);
                        let bytes = run[start..].to_vec();
                        let is_message = !opcode.is_control();
                        model.frames.push_back(Frame { bytes, is_message, is_kept: false });
                    }
                    match how {
                        How::Append => output.append(&run, &mut pool),
                        How::Push => output.push(run),
                        How::Share => output.push_shared(&Arc::from(run)),
                    }
                }
                Step::Lend(length) => {
                    number = number.wrapping_add(1);
                    let payload = vec![number; length];
                    output.push_lent(Box::new(lent(&payload)));
                    let bytes = frame(&payload);
                    model.frames.push_back(Frame { bytes, is_message: true, is_kept: false });
                }
                Step::Write(room) => {
                    let expected = model.bytes();
                    let mut socket = Narrow { taken: Vec::new(), room };
                    output.write_to(&mut socket, &mut pool).unwrap();
                    prop_assert!(expected.starts_with(&socket.taken));
                    prop_assert_eq!(socket.taken.len(), room.min(expected.len()));
                    model.take(socket.taken.len());
                }
                Step::DropOldest(needed) => {
                    prop_assert_eq!(output.drop_oldest(needed, &mut pool), model.drop_oldest(needed));
                }
                Step::DropUnsent => {
                    prop_assert_eq!(output.drop_unsent_frames(), model.drop_unsent());
                }
            }
            prop_assert_eq!(output.len(), model.bytes().len());
            prop_assert_eq!(output.unsent_messages(), messages_of(&model.frames));
        }
        let mut socket = Narrow { taken: Vec::new(), room: usize::MAX };
        output.write_to(&mut socket, &mut pool).unwrap();
        prop_assert_eq!(socket.taken, model.bytes());
    }
}
