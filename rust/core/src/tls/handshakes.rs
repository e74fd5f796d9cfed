//! The handshakes of many clients, on a thread that does nothing else.
//!
//! A handshake is some hundred microseconds of arithmetic in two or three steps, and each of them
//! waits for the client. Whoever serves requests has them done here: [`Handshakes::add`] gives a
//! session to the thread, [`Handshakes::take_done`] tells when its first plaintext is there, or
//! what has come in its place. In the meantime it can be closed at any moment.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token, Waker};

use super::secured::{Progress, Secured};

const WAKER: Token = Token(usize::MAX);
const MAX_POLLED: usize = 256;

/// How long somebody who is done may wait for others who are, too.
const PATIENCE: Duration = Duration::from_millis(1);

/// A stream that more than one thread may know; `None`: closed, or given away.
pub type SharedStream = Arc<Mutex<Option<Secured>>>;

/// Sessions that are about to begin. All but [`run`](Self::run) returns at once.
#[derive(Debug)]
pub struct Handshakes {
    poll: Mutex<Poll>,
    registry: Registry,
    waker: Waker,
    guests: Mutex<Guests>,
    is_over: AtomicBool,
}

#[derive(Debug, Default)]
struct Guests {
    /// By the numbers of their descriptors.
    waiting: HashMap<usize, SharedStream>,
    done: Vec<RawFd>,
}

impl Handshakes {
    /// Without any.
    pub fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let waker = Waker::new(&registry, WAKER)?;
        let guests = Mutex::default();
        Ok(Self {
            poll: Mutex::new(poll),
            registry,
            waker,
            guests,
            is_over: AtomicBool::new(false),
        })
    }

    /// Takes care of a stream, until it is done or forgotten.
    pub fn add(&self, fd: RawFd, stream: &SharedStream) -> io::Result<()> {
        let token = token(fd);
        lock(&self.guests).waiting.insert(token.0, Arc::clone(stream));
        let result = self.registry.register(&mut SourceFd(&fd), token, Interest::READABLE);
        if result.is_err() {
            lock(&self.guests).waiting.remove(&token.0);
        }
        result
    }

    /// Forgets a stream, done or not. To be called before its descriptor is closed.
    pub fn forget(&self, fd: RawFd) {
        let mut guests = lock(&self.guests);
        if guests.waiting.remove(&token(fd).0).is_some() {
            let _ = self.registry.deregister(&mut SourceFd(&fd));
        } else {
            guests.done.retain(|&other| other != fd);
        }
    }

    /// Those for which [`Secured::receive`] has something to tell, each once.
    pub fn take_done(&self) -> Vec<RawFd> {
        std::mem::take(&mut lock(&self.guests).done)
    }

    /// Does the handshakes, until [`end`](Self::end). `tell` is called when
    /// [`take_done`](Self::take_done) has something, after it had nothing.
    pub fn run(&self, tell: impl Fn()) -> io::Result<()> {
        let mut poll = lock(&self.poll);
        let mut events = Events::with_capacity(MAX_POLLED);
        while !self.is_over.load(Ordering::Acquire) {
            match poll.poll(&mut events, None) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            // Whoever is told has to be woken, and then has something to do for each of them: that
            // is cheaper for many at a time.
            let mut untold: Option<Instant> = None;
            for event in events.iter().filter(|event| event.token() != WAKER) {
                if self.go_on(event.token()) {
                    untold.get_or_insert_with(Instant::now);
                }
                if untold.take_if(|since| since.elapsed() > PATIENCE).is_some() {
                    tell();
                }
            }
            if untold.is_some() {
                tell();
            }
        }
        Ok(())
    }

    /// Has [`run`](Self::run) return.
    pub fn end(&self) -> io::Result<()> {
        self.is_over.store(true, Ordering::Release);
        self.waker.wake()
    }

    /// Takes a step with one of them; returns whether it is the first that is done.
    fn go_on(&self, token: Token) -> bool {
        let found = lock(&self.guests).waiting.get(&token.0).cloned();
        let Some(stream) = found else { return false };
        let interest = match step(&stream) {
            Step::Closed | Step::Waits => return false,
            Step::Done => return self.finish(token, &stream),
            Step::HasMore => Interest::READABLE,
            // It stays so: there is little to be said from here on.
            Step::IsFull => Interest::READABLE | Interest::WRITABLE,
        };
        let guests = lock(&self.guests);
        if let Some(fd) = guests.descriptor_of(token, &stream) {
            // Then there is another event, even if nothing new happens.
            let _ = self.registry.reregister(&mut SourceFd(&fd), token, interest);
        }
        false
    }

    fn finish(&self, token: Token, stream: &SharedStream) -> bool {
        let mut guests = lock(&self.guests);
        let Some(fd) = guests.descriptor_of(token, stream) else { return false };
        guests.waiting.remove(&token.0);
        let _ = self.registry.deregister(&mut SourceFd(&fd));
        guests.done.push(fd);
        guests.done.len() == 1
    }
}

impl Guests {
    /// The descriptor of a stream, unless it has been forgotten: then the number may be another's.
    fn descriptor_of(&self, token: Token, stream: &SharedStream) -> Option<RawFd> {
        let current = self.waiting.get(&token.0)?;
        if Arc::ptr_eq(current, stream) { RawFd::try_from(token.0).ok() } else { None }
    }
}

enum Step {
    Closed,
    Done,
    /// For the peer.
    Waits,
    /// For the others: it has had its share.
    HasMore,
    /// For the socket to take what is to be said.
    IsFull,
}

fn step(stream: &SharedStream) -> Step {
    let mut place = lock(stream);
    let Some(secured) = place.as_mut() else { return Step::Closed };
    // What is wrong with one session is nothing to the others.
    match catch_unwind(AssertUnwindSafe(|| secured.shake_hands())) {
        Ok(Progress::Done) => Step::Done,
        Ok(Progress::HasMore) => Step::HasMore,
        Ok(Progress::Waits) if secured.session().unsent() > 0 => Step::IsFull,
        Ok(Progress::Waits) => Step::Waits,
        Err(_panic) => {
            secured.break_off();
            Step::Done
        }
    }
}

/// A descriptor that is in use is not negative.
fn token(fd: RawFd) -> Token {
    Token(fd.unsigned_abs() as usize)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
