//! Models of what threads do to one another here. loom runs each of them in every order in which
//! the threads may come, up to a number of preemptions, and with every value that an atomic may
//! have in the eyes of a thread. A thread that is never woken is a deadlock, which loom reports.
//!
//! `make loom` runs them. What takes time is left out: a deadline never comes, so nothing is saved
//! by one; and the stand-in may take over at once or never. Those in `running` and `telling` have a
//! whole manager and a client at a socket.

mod hand_over;
mod queue;
mod running;
mod telling;

use std::iter;
use std::sync::Arc;

use loom::model::Builder;
use loom::thread::JoinHandle;

use crate::proto::Opcode;

use super::Config;
use super::connection::{Closed, Compress, Link, Sent};
use super::queue::{Body, Command, Commands, Queue};
use super::sync::Waker;
use super::sync::model::Bell;

/// Runs a model in all orders with so many preemptions, or with `LOOM_MAX_PREEMPTIONS`. Where a
/// thread waits, any other one may come next.
fn explore(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    builder.check(model);
}

/// A frame of the messages here: its header, who sent it, and which of his it is.
const FRAME_SIZE: usize = 4;

/// A connection as its senders see it.
#[derive(Clone)]
struct Sender {
    queue: Arc<Queue<()>>,
    link: Arc<Link>,
}

impl Sender {
    fn send(&self, sender: u8, number: u8) -> Result<Sent, Closed> {
        let payload = [sender, number];
        self.queue.send(&self.link, Opcode::Binary, Body::Copied(&payload), Compress::Never)
    }

    /// Sends until nothing is accepted any more, `count` messages at most, and returns how many
    /// were. Once it is closed it stays so.
    fn send_all(&self, sender: u8, count: u8) -> usize {
        let sent: Vec<_> = (0..count).map(|number| self.send(sender, number)).collect();
        let accepted = sent.iter().take_while(|sent| sent.is_ok()).count();
        assert!(sent[accepted..].iter().all(Result::is_err));
        accepted
    }
}

/// The part of the loop that takes commands, and what it has taken.
struct Taker {
    queue: Arc<Queue<()>>,
    link: Arc<Link>,
    /// Where it sleeps, and what wakes it.
    bell: Arc<Bell>,
    waker: Arc<Waker>,
    messages: Vec<(u8, u8)>,
    adoptions: usize,
    closes: usize,
    shut_down: bool,
}

impl Taker {
    /// One that takes the commands of a new queue.
    fn new(send_limit: usize) -> (Self, Sender) {
        let bell = Arc::new(Bell::new());
        let config = Config { send_queue_limit: send_limit, ..Config::default() };
        let (queue, link) = (Arc::new(Queue::new(&config)), Arc::new(Link::new(0, false)));
        let waker = Arc::new(Waker::of(&bell));
        assert!(queue.open(&waker));
        let sender = Sender { queue: Arc::clone(&queue), link: Arc::clone(&link) };
        let (messages, adoptions, closes, shut_down) = (Vec::new(), 0, 0, false);
        (Self { queue, link, bell, waker, messages, adoptions, closes, shut_down }, sender)
    }

    /// What a turn does up to `Loop::take_commands`.
    fn turn(&mut self) {
        if self.queue.prepare_to_sleep(&self.waker) {
            self.bell.wait();
        } else {
            self.bell.silence(); // a poll that does not wait has this effect
        }
        self.take(false);
    }

    /// What `Loop::take_commands` does, for a peer that is to be answered with a CLOSE or not.
    fn take(&mut self, answers: bool) {
        let mut commands = Commands::default();
        let closing = answers.then_some(&*self.link);
        let all = iter::once(&*self.link);
        assert!(self.queue.take(&mut commands, &self.waker, closing.into_iter(), all));
        self.shut_down |= commands.shuts_down.is_some();
        for command in commands.list.drain(..) {
            match command {
                Command::Send { frames, .. } => {
                    assert_eq!(self.closes, 0, "sent behind a CLOSE");
                    let bytes = frames.bytes(&commands.arena);
                    let frames = bytes.chunks_exact(FRAME_SIZE);
                    assert!(frames.remainder().is_empty());
                    self.messages.extend(frames.map(|frame| (frame[2], frame[3])));
                }
                Command::Adopt(_) => self.adoptions += 1,
                Command::Close { .. } => self.closes += 1,
                Command::Advance { .. }
                | Command::Answer(_)
                | Command::Resume(_)
                | Command::Finish => unreachable!("nobody here says so"),
            }
        }
    }

    /// The numbers of one sender's messages, in order.
    fn numbers(&self, sender: u8) -> Vec<u8> {
        let its = self.messages.iter().filter(|message| message.0 == sender);
        its.map(|message| message.1).collect()
    }

    fn has_taken_all(&self) -> bool {
        self.queue.prepare_to_sleep(&self.waker)
    }
}

fn join<T>(thread: JoinHandle<T>) -> T {
    thread.join().expect("a thread of the model panicked")
}
