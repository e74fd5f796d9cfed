//! A socket with the session on it, for those who read and answer requests.

use std::io::{self, IoSlice};
use std::net::{Shutdown, TcpStream};

use super::Session;

/// A nonblocking socket, and the session on it.
#[derive(Debug)]
pub struct Secured {
    socket: TcpStream,
    session: Box<Session>,
}

impl Secured {
    /// A socket with its session, whose handshake is over.
    #[must_use]
    pub fn new(socket: TcpStream, session: Box<Session>) -> Self {
        Self { socket, session }
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

    /// Reads at most `size` bytes from the socket, and returns the plaintext that came of it, all of
    /// it; `None` when the peer has ended the session, or the connection.
    /// [`io::ErrorKind::WouldBlock`]: there is no plaintext yet.
    pub fn receive(&mut self, size: usize) -> io::Result<Option<Vec<u8>>> {
        match self.session.read_all(&mut self.socket, size)? {
            Some(plain) if plain.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
            plain => Ok(plain),
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
