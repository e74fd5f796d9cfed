//! The handshakes of many clients, a step at a time.
//!
//! A handshake is some hundred microseconds of arithmetic in two or three steps, and each of them
//! waits for the client. Whoever serves requests has them done here: [`Handshakes::add`] takes care
//! of a session, and [`Handshakes::turn`] tells when its first plaintext is there, or what has come
//! in its place. In the meantime it can be closed at any moment.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::secured::{Progress, Secured};

/// When so many steps were taken, a turn polls for no more: some ten milliseconds, at the worst
/// twenty.
const MAX_STEPS: usize = 64;

/// A stream that more than one owner may know; `None`: closed, or given away.
pub type SharedStream = Arc<Mutex<Option<Secured>>>;

/// Sessions that are about to begin. Nothing here waits.
#[derive(Debug)]
pub struct Handshakes {
    poll: Poll,
    events: Events,
    /// By the numbers of their descriptors.
    waiting: HashMap<usize, SharedStream>,
}

impl Handshakes {
    /// Without any.
    pub fn new() -> io::Result<Self> {
        let events = Events::with_capacity(MAX_STEPS);
        Ok(Self { poll: Poll::new()?, events, waiting: HashMap::new() })
    }

    /// A descriptor that is readable while [`turn`](Self::turn) has something to do.
    #[must_use]
    pub fn descriptor(&self) -> RawFd {
        self.poll.as_raw_fd()
    }

    /// Takes care of a stream, until it is done or forgotten.
    pub fn add(&mut self, fd: RawFd, stream: &SharedStream) -> io::Result<()> {
        let token = token(fd);
        self.poll.registry().register(&mut SourceFd(&fd), token, Interest::READABLE)?;
        self.waiting.insert(token.0, Arc::clone(stream));
        Ok(())
    }

    /// Forgets a stream, unless it is done. To be called before its descriptor is closed.
    pub fn forget(&mut self, fd: RawFd) {
        if self.waiting.remove(&token(fd).0).is_some() {
            let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
        }
    }

    /// Goes on with those whose clients have said something, and with those who say something
    /// meanwhile: whoever is told has more to do, and does it at less cost for many together.
    /// Returns the descriptors of those for which [`Secured::receive`] has something to tell from
    /// now on, each once.
    pub fn turn(&mut self) -> io::Result<Vec<RawFd>> {
        let mut done = Vec::new();
        let mut steps = 0;
        while steps < MAX_STEPS {
            match self.poll.poll(&mut self.events, Some(Duration::ZERO)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            let count = self.events.iter().count();
            if count == 0 {
                break;
            }
            steps += count;
            self.go_on(&mut done);
        }
        Ok(done)
    }

    /// Takes a step with each of those that the poll has told of.
    fn go_on(&mut self, done: &mut Vec<RawFd>) {
        let registry = self.poll.registry();
        for event in &self.events {
            let token = event.token();
            let Some(stream) = self.waiting.get(&token.0) else { continue };
            let fd = descriptor(token);
            match step(stream, event) {
                Step::Waits => {}
                // Then there is another event, even if nothing new happens.
                Step::Again(interest) => {
                    let _ = registry.reregister(&mut SourceFd(&fd), token, interest);
                }
                Step::Done => {
                    self.waiting.remove(&token.0);
                    let _ = registry.deregister(&mut SourceFd(&fd));
                    done.push(fd);
                }
            }
        }
    }
}

enum Step {
    /// For the peer.
    Waits,
    /// For the others, since it has had its share; or for the socket to take what is to be said.
    Again(Interest),
    Done,
}

fn step(stream: &SharedStream, event: &Event) -> Step {
    let mut place = stream.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(secured) = place.as_mut() else { return Step::Waits };
    // What is wrong with one session is nothing to the others.
    match catch_unwind(AssertUnwindSafe(|| secured.shake_hands(event.is_read_closed()))) {
        Ok(Progress::Done) => Step::Done,
        Ok(Progress::HasMore) => Step::Again(Interest::READABLE),
        // It stays so: there is little to be said from here on.
        Ok(Progress::Waits) if secured.session().unsent() > 0 => {
            Step::Again(Interest::READABLE | Interest::WRITABLE)
        }
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

fn descriptor(token: Token) -> RawFd {
    RawFd::try_from(token.0).unwrap_or(-1)
}
