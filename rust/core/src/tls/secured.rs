//! A socket with the session on it, for those who read and answer requests.

use std::io::{self, IoSlice};
use std::net::{Shutdown, TcpStream};

use super::session::NotTls;
use super::{Session, Settings};

/// The most that is read at once while nobody has asked for a size.
const FIRST_READ: usize = 8 * 1024;

/// Reads that one handshake may have before the others get their turn.
const MAX_READS: usize = 8;

/// How far a handshake has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// The socket has nothing to read.
    Waits,
    /// It may have more.
    HasMore,
    Done,
}

/// What reading came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// All that could be decrypted.
    Plaintext(Vec<u8>),
    /// The peer has ended the session, or the connection.
    End,
    /// What came first is no TLS.
    NotTls,
}

/// A nonblocking socket, and the session on it.
#[derive(Debug)]
pub struct Secured {
    socket: TcpStream,
    session: Box<Session>,
    /// What the handshake has ended in, until it is asked for.
    first: Option<io::Result<Received>>,
}

impl Secured {
    /// Begins a session on a socket.
    pub fn new(settings: &Settings, socket: TcpStream) -> io::Result<Self> {
        let session = Box::new(Session::new(settings)?);
        Ok(Self { socket, session, first: None })
    }

    /// The socket and the session on it.
    #[must_use]
    pub fn into_parts(self) -> (TcpStream, Box<Session>) {
        (self.socket, self.session)
    }

    /// What is known of the session.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Goes on with the handshake, until there is something to [`receive`](Self::receive): the first
    /// plaintext, or what has come in its place. Stops at a read that was short, since there will be
    /// another event when more comes; but there is none if the peer `has_hung_up`.
    pub(super) fn shake_hands(&mut self, has_hung_up: bool) -> Progress {
        if self.session.unsent() > 0 {
            let _ = self.session.flush(&mut self.socket); // reading tells what is wrong
        }
        for _ in 0..MAX_READS {
            match self.read(FIRST_READ) {
                Ok((Received::Plaintext(plain), more)) if plain.is_empty() => {
                    if !more && !has_hung_up {
                        return Progress::Waits;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Progress::Waits,
                result => {
                    self.first = Some(result.map(|(received, _)| received));
                    return Progress::Done;
                }
            }
        }
        Progress::HasMore
    }

    /// Ends the handshake with an error.
    pub(super) fn break_off(&mut self) {
        self.first = Some(Err(io::ErrorKind::InvalidData.into()));
    }

    /// What [`receive`](Self::receive) would return without reading, if there is something.
    pub fn take_first(&mut self) -> Option<io::Result<Received>> {
        self.first.take()
    }

    /// Reads at most `size` bytes from the socket, and returns what came of it. Also does the
    /// handshake. [`io::ErrorKind::WouldBlock`]: there is no plaintext yet.
    pub fn receive(&mut self, size: usize) -> io::Result<Received> {
        if let Some(first) = self.take_first() {
            return first;
        }
        match self.read(size)? {
            (Received::Plaintext(plain), _) if plain.is_empty() => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            (received, _) => Ok(received),
        }
    }

    /// Reads once; there may be no plaintext although something has come. Also says whether there
    /// may be more at once.
    fn read(&mut self, size: usize) -> io::Result<(Received, bool)> {
        match self.session.read_all(&mut self.socket, size) {
            Ok(Some((plain, more))) => Ok((Received::Plaintext(plain), more)),
            Ok(None) => Ok((Received::End, false)),
            Err(error) => match error.get_ref() {
                Some(reason) if reason.is::<NotTls>() => Ok((Received::NotTls, false)),
                _ => Err(error),
            },
        }
    }

    /// See [`Session::write`].
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.session.write(&mut self.socket, &[IoSlice::new(bytes)])
    }

    /// See [`Session::flush`].
    pub fn flush(&mut self) -> io::Result<()> {
        self.session.flush(&mut self.socket)
    }

    /// Ends one or both halves of the connection. The peer is told that nothing more comes, as far
    /// as the socket takes it.
    pub fn shutdown(&mut self, how: Shutdown) -> io::Result<()> {
        if how != Shutdown::Read {
            self.say_goodbye();
        }
        self.socket.shutdown(how)
    }

    /// The same, and closes the socket.
    pub fn close(mut self) {
        self.say_goodbye();
    }

    fn say_goodbye(&mut self) {
        let _ = self.session.close(&mut self.socket);
    }
}
