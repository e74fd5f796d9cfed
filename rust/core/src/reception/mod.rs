//! Clients that have come, until each has said what it wants.
//!
//! A client connects, makes its TLS session if there is to be one, and sends the head of its first
//! request. Until that is whole nobody needs to know of it: [`Reception`] accepts it, takes every
//! step without waiting, and closes it if it leaves or takes too long. Whoever serves requests waits
//! with [`Poll::wait`], for sockets of its own at the same time, calls [`Reception::turn`], and gets
//! an [`Arrival`] for each client that is to be answered.
//!
//! A step of a TLS handshake is some hundred microseconds of arithmetic. Few are taken in one turn:
//! who has arrived is waited for, and so are the clients themselves. If all of them get their answers
//! at the same moment, they ask again at the same moment, too, and in between nobody has anything to
//! do, and goes to sleep, and has to be woken.

mod due;
mod guest;
mod listener;
mod poll;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use mio::Interest;

use crate::tls::{Session, Settings};

pub use guest::{Guest, Parts};
pub use listener::Listener;
pub use poll::{Happened, Poll};

use due::Due;
use guest::Step;

/// When so many steps were taken, the others get their turn: with TLS half a millisecond later, or
/// some ten if as many clients as one wait can tell of have said something.
const MAX_STEPS: usize = 4;
/// Clients that are let go in one turn because they are late.
const MAX_LATE: usize = 64;
/// The most that is read from one client at once.
const READ_SIZE: usize = 8 * 1024;

/// What clients may do before they have made a request.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the accept to the end of the head.
    pub head_timeout: Duration,
    /// The longest head, in bytes.
    pub max_head_size: usize,
}

/// Why a client is to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Its head is whole, or will never be one: [`crate::http::find_end`] tells.
    Head,
    /// Its head is not whole, and its time is over.
    Late,
    /// It speaks no TLS, as it should. The session is gone, and so is what it has said.
    NotTls,
}

/// A client that is to be answered, and no other's any more.
#[derive(Debug)]
pub struct Arrival<T> {
    /// The client.
    pub guest: Guest<T>,
    /// Why it is.
    pub reason: Reason,
}

/// Where clients come in.
#[derive(Clone, Copy)]
pub struct Door<'a> {
    /// Where they come from.
    pub listener: &'a Listener,
    /// What they begin a session with; `None`: with none. It is asked for each when it has come, since
    /// there may be new ones at any time.
    pub tls: &'a dyn Fn() -> io::Result<Option<Settings>>,
}

/// What a turn has come to.
#[derive(Debug)]
pub struct Come<T> {
    /// The clients that are to be answered.
    pub arrivals: Vec<Arrival<T>>,
    /// Why no more can be accepted at the moment: the system cannot give more. It may cost a client,
    /// but nothing else is lost.
    pub shortage: Option<io::Error>,
}

/// The clients. Time is that since any moment, always the same, as whoever is here tells it. With each
/// client comes a `T` of whoever has brought it.
#[derive(Debug)]
pub struct Reception<T> {
    limits: Limits,
    poll: Arc<Poll>,
    /// By their descriptors.
    guests: HashMap<RawFd, Guest<T>>,
    due: Due,
    arrivals: Vec<Arrival<T>>,
    buffer: Vec<u8>,
}

impl<T> Reception<T> {
    /// Without any. The poll tells when [`turn`](Self::turn) has something to do, but for
    /// [`next_due`](Self::next_due).
    #[must_use]
    pub fn new(limits: Limits, poll: Arc<Poll>) -> Self {
        Self {
            limits,
            poll,
            guests: HashMap::new(),
            due: Due::default(),
            arrivals: Vec::new(),
            buffer: vec![0; READ_SIZE],
        }
    }

    /// Takes care of a client that has been accepted.
    pub fn add(&mut self, now: Duration, mut guest: Guest<T>) -> io::Result<()> {
        let step = take_step(&mut guest, &mut self.buffer, &self.limits, false);
        let interest = match step {
            Step::Waits(interest) => interest.unwrap_or(Interest::READABLE),
            Step::Again(interest) => interest,
            it_leaves => {
                self.leave(guest, it_leaves);
                return Ok(());
            }
        };
        let fd = guest.descriptor();
        self.poll.greet(guest.as_fd(), interest)?;
        self.due.add(now + self.limits.head_timeout, fd, guest.id());
        self.guests.insert(fd, guest);
        Ok(())
    }

    /// Sees to what has happened: accepts some of those who wait at the door, and goes on with those who
    /// have said something. Then it does so with what has happened meanwhile, but not for long, nor if
    /// that concerns others. Lets go of those who are late.
    /// `clock` tells what time it is.
    pub fn turn(
        &mut self,
        clock: impl Fn() -> Duration,
        happened: &mut Happened,
        door: Option<Door<'_>>,
    ) -> io::Result<Come<T>>
    where
        T: Default,
    {
        let mut steps = 0;
        let mut shortage = None;
        loop {
            steps += happened.len();
            self.go_on(happened);
            if let Some(door) = door
                && happened.can_accept()
            {
                match self.accept(&clock, door) {
                    Ok(count) => steps += count,
                    Err(error) => shortage = Some(error),
                }
            }
            let may_say_more = !self.guests.is_empty() && !happened.concerns_others();
            if steps >= MAX_STEPS || shortage.is_some() || !may_say_more {
                break;
            }
            self.poll.wait(happened, Some(Duration::ZERO))?;
            if happened.is_empty() {
                break;
            }
        }
        self.let_go_of_late(clock());
        Ok(Come { arrivals: std::mem::take(&mut self.arrivals), shortage })
    }

    /// When a turn has something to do even if nothing happens: the next client is late then, or one
    /// that was [added](Self::add) has arrived already.
    pub fn next_due(&mut self) -> Option<Duration> {
        if !self.arrivals.is_empty() {
            return Some(Duration::ZERO);
        }
        self.due.next(|fd, id| is_here(&self.guests, fd, id))
    }

    /// The descriptors of all that are here.
    pub fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        let guests = self.guests.values().map(Guest::descriptor);
        guests.chain(self.arrivals.iter().map(|arrival| arrival.guest.descriptor()))
    }

    /// Closes the connections of all.
    pub fn let_go(&mut self) {
        for (_, guest) in self.guests.drain() {
            guest.close();
        }
        for arrival in self.arrivals.drain(..) {
            arrival.guest.close();
        }
    }

    /// Takes the first step with each that waits at the door: most have said something by now. Says how
    /// many these are.
    fn accept(&mut self, clock: impl Fn() -> Duration, door: Door<'_>) -> io::Result<usize>
    where
        T: Default,
    {
        let mut count = 0;
        while count < MAX_STEPS {
            match door.listener.accept() {
                Ok((socket, address)) => {
                    let tls = (door.tls)()?;
                    let session = tls.as_ref().map(Session::new).transpose()?.map(Box::new);
                    // Its time begins now, not with the turn.
                    self.add(clock(), Guest::new(socket, session, address, T::default()))?;
                    count += 1;
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => break,
                    // It has given up already.
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
        Ok(count)
    }

    /// Takes a step with each that has said something.
    fn go_on(&mut self, happened: &Happened) {
        for (fd, has_hung_up) in happened.guests() {
            let Some(guest) = self.guests.get_mut(&fd) else { continue };
            let step = take_step(guest, &mut self.buffer, &self.limits, has_hung_up);
            if !follow(&step, &self.poll, guest)
                && let Some(guest) = self.guests.remove(&fd)
            {
                self.leave(guest, step);
            }
        }
    }

    /// What becomes of a guest that does not wait any more.
    fn leave(&mut self, guest: Guest<T>, step: Step) {
        match step {
            Step::Arrived => self.arrivals.push(Arrival { guest, reason: Reason::Head }),
            Step::NotTls => {
                self.arrivals.push(Arrival { guest: guest.in_the_clear(), reason: Reason::NotTls });
            }
            Step::Failed(error) => {
                if guest.speaks_tls() {
                    log::debug!("TLS with {} failed: {error}", guest.host());
                }
                guest.close();
            }
            Step::Gone | Step::Waits(_) | Step::Again(_) => guest.close(),
        }
    }

    fn let_go_of_late(&mut self, now: Duration) {
        for _ in 0..MAX_LATE {
            let is_here = |fd, id| is_here(&self.guests, fd, id);
            let Some(fd) = self.due.pop(now, is_here) else { break };
            let Some(guest) = self.guests.remove(&fd) else { continue };
            let _ = self.poll.unregister(guest.as_fd());
            if guest.received().is_empty() {
                guest.close();
            } else {
                self.arrivals.push(Arrival { guest, reason: Reason::Late });
            }
        }
    }
}

fn is_here<T>(guests: &HashMap<RawFd, Guest<T>>, fd: RawFd, id: u64) -> bool {
    guests.get(&fd).is_some_and(|guest| guest.id() == id)
}

/// Has the poll wait for what the guest waits for, or for nothing. Says whether it waits.
fn follow<T>(step: &Step, poll: &Poll, guest: &Guest<T>) -> bool {
    match step {
        Step::Waits(None) => true,
        Step::Waits(Some(interest)) | Step::Again(interest) => {
            poll.greet_again(guest.as_fd(), *interest).is_ok()
        }
        _it_leaves => {
            let _ = poll.unregister(guest.as_fd());
            false
        }
    }
}

/// What is wrong with one session is nothing to the others.
fn take_step<T>(
    guest: &mut Guest<T>,
    buffer: &mut [u8],
    limits: &Limits,
    has_hung_up: bool,
) -> Step {
    let step = || guest.go_on(buffer, limits.max_head_size, has_hung_up);
    catch_unwind(AssertUnwindSafe(step))
        .unwrap_or_else(|_panic| Step::Failed(io::ErrorKind::InvalidData.into()))
}
