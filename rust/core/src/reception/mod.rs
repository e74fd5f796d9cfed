//! Clients that have come, until each has said what it wants.
//!
//! A client connects, makes its TLS session if there is to be one, and sends the head of its first
//! request. Until that is whole nobody needs to know of it: [`Reception`] accepts it, takes every
//! step without waiting, and closes it if it leaves or takes too long. Whoever serves requests calls
//! [`Reception::turn`], and gets an [`Arrival`] for each client that is to be answered.
//!
//! A step of a TLS handshake is some hundred microseconds of arithmetic. Many are taken in one turn,
//! since whoever is told has more to do, and does it at less cost for many together; but not so many
//! that the others would wait for long.

mod due;
mod guest;
mod listener;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token};

use crate::tls::{Session, Settings};

pub use guest::{Guest, Parts};
pub use listener::Listener;

use due::Due;
use guest::Step;

/// When so many steps were taken, the others get their turn: with TLS some ten milliseconds later, at
/// the worst twenty.
const MAX_STEPS: usize = 64;
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

/// The clients. Nothing here waits, or asks what time it is: that is the time since any moment, always
/// the same. With each client comes a `T` of whoever has brought it.
#[derive(Debug)]
pub struct Reception<T> {
    limits: Limits,
    poll: Poll,
    events: Events,
    /// By the numbers of their descriptors.
    guests: HashMap<usize, Guest<T>>,
    due: Due,
    arrivals: Vec<Arrival<T>>,
    buffer: Vec<u8>,
}

impl<T> Reception<T> {
    /// Without any.
    pub fn new(limits: Limits) -> io::Result<Self> {
        Ok(Self {
            limits,
            poll: Poll::new()?,
            events: Events::with_capacity(MAX_STEPS),
            guests: HashMap::new(),
            due: Due::default(),
            arrivals: Vec::new(),
            buffer: vec![0; READ_SIZE],
        })
    }

    /// A descriptor that is readable while [`turn`](Self::turn) has something to do, but for what is
    /// accepted and for [`next_due`](Self::next_due).
    #[must_use]
    pub fn descriptor(&self) -> RawFd {
        self.poll.as_raw_fd()
    }

    /// Accepts those who wait, and takes the first step with each: most have said something by now.
    /// Goes on, not for too long, while more of them come or say something. With `tls` they begin a
    /// session.
    ///
    /// An error says that the system cannot give more at the moment; it may cost a client, but
    /// nothing else is lost.
    pub fn accept(
        &mut self,
        now: Duration,
        listener: &Listener,
        tls: Option<&Settings>,
        owner: impl Fn() -> T,
    ) -> io::Result<()> {
        let mut steps = 0;
        while steps < MAX_STEPS {
            match listener.accept() {
                Ok((socket, address)) => {
                    let session = tls.map(Session::new).transpose()?.map(Box::new);
                    self.add(now, Guest::new(socket, session, address, owner()))?;
                    steps += 1;
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => match self.poll_once()? {
                        0 => break,
                        count => steps += count,
                    },
                    // It has given up already.
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
        Ok(())
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
        self.poll.registry().register(&mut SourceFd(&fd), token(fd), interest)?;
        self.due.add(now + self.limits.head_timeout, fd, guest.id());
        self.guests.insert(token(fd).0, guest);
        Ok(())
    }

    /// Goes on with those who have said something, and with those who say something meanwhile, and
    /// lets go of those who are late. Returns the clients that are to be answered.
    pub fn turn(&mut self, now: Duration) -> io::Result<Vec<Arrival<T>>> {
        let mut steps = 0;
        while steps < MAX_STEPS {
            match self.poll_once()? {
                0 => break,
                count => steps += count,
            }
        }
        self.let_go_of_late(now);
        Ok(std::mem::take(&mut self.arrivals))
    }

    /// Whether a turn has something to do by then even if nothing has happened.
    pub fn is_due(&mut self, now: Duration) -> bool {
        !self.arrivals.is_empty() || self.next_due().is_some_and(|due| due <= now)
    }

    /// When the next client is late.
    pub fn next_due(&mut self) -> Option<Duration> {
        self.due.next(|fd, id| is_here(&self.guests, fd, id))
    }

    /// The descriptors of all that are here, that of the poll included.
    pub fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        let guests = self.guests.values().map(Guest::descriptor);
        let arrivals = self.arrivals.iter().map(|arrival| arrival.guest.descriptor());
        guests.chain(arrivals).chain([self.descriptor()])
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

    /// Takes a step with each of those that have said something, and says how many.
    fn poll_once(&mut self) -> io::Result<usize> {
        if self.guests.is_empty() {
            return Ok(0);
        }
        while let Err(error) = self.poll.poll(&mut self.events, Some(Duration::ZERO)) {
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            let key = event.token().0;
            let Some(guest) = self.guests.get_mut(&key) else { continue };
            let step = take_step(guest, &mut self.buffer, &self.limits, event.is_read_closed());
            if !follow(&step, self.poll.registry(), guest.descriptor())
                && let Some(guest) = self.guests.remove(&key)
            {
                self.leave(guest, step);
            }
        }
        self.events = events;
        Ok(self.events.iter().count())
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
            let Some(guest) = self.guests.remove(&token(fd).0) else { continue };
            let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
            if guest.received().is_empty() {
                guest.close();
            } else {
                self.arrivals.push(Arrival { guest, reason: Reason::Late });
            }
        }
    }
}

fn is_here<T>(guests: &HashMap<usize, Guest<T>>, fd: RawFd, id: u64) -> bool {
    guests.get(&token(fd).0).is_some_and(|guest| guest.id() == id)
}

/// Has the poll wait for what the guest waits for, or for nothing. Says whether it waits.
fn follow(step: &Step, registry: &Registry, fd: RawFd) -> bool {
    match step {
        Step::Waits(None) => true,
        // Then there is another event, even if nothing new happens.
        Step::Waits(Some(interest)) | Step::Again(interest) => {
            registry.reregister(&mut SourceFd(&fd), token(fd), *interest).is_ok()
        }
        _it_leaves => {
            let _ = registry.deregister(&mut SourceFd(&fd));
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

/// A descriptor that is in use is not negative.
fn token(fd: RawFd) -> Token {
    Token(fd.unsigned_abs() as usize)
}
