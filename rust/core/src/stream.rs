//! The byte stream of a peer: a socket, with TLS or without.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;

use mio::net::TcpStream;

use crate::tls::{Arrival, Session};

#[derive(Debug)]
pub(crate) struct Stream {
    /// What is registered with the poll.
    pub(crate) socket: TcpStream,
    session: Option<Box<Session>>,
}

impl Stream {
    pub(crate) fn new(socket: TcpStream, session: Option<Box<Session>>) -> Self {
        Self { socket, session }
    }

    #[cfg(not(loom))]
    pub(crate) fn into_parts(self) -> (TcpStream, Option<Box<Session>>) {
        (self.socket, self.session)
    }

    #[cfg(not(loom))]
    pub(crate) fn session(&self) -> Option<&Session> {
        self.session.as_deref()
    }

    /// Reads once. `None`: nothing more will come.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<Arrival>> {
        if let Some(session) = &mut self.session {
            return session.read(&mut self.socket, buffer);
        }
        loop {
            match self.socket.read(buffer) {
                Ok(0) => return Ok(None),
                Ok(count) => {
                    let more = count == buffer.len();
                    return Ok(Some(Arrival { count, more, cost: count }));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Bytes that were taken to be written, and are not.
    pub(crate) fn unsent(&self) -> usize {
        self.session.as_ref().map_or(0, |session| session.unsent())
    }

    /// Says that nothing more will be written, where a FIN alone does not say it.
    /// [`io::ErrorKind::WouldBlock`]: it waits in [`unsent`](Self::unsent).
    pub(crate) fn say_goodbye(&mut self) -> io::Result<()> {
        match &mut self.session {
            Some(session) => session.close(&mut self.socket),
            None => Ok(()),
        }
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.shutdown(how)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.session {
            Some(session) => session.write(&mut self.socket, &[IoSlice::new(bytes)]),
            None => self.socket.write(bytes),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match &mut self.session {
            Some(session) => session.write(&mut self.socket, slices),
            None => self.socket.write_vectored(slices),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.session {
            Some(session) => session.flush(&mut self.socket),
            None => Ok(()),
        }
    }
}
