//! Where clients come from.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use mio::net::{TcpListener, TcpStream, UnixListener};

/// A nonblocking socket that listens.
#[derive(Debug)]
pub enum Listener {
    /// Of TCP, with `TCP_NODELAY`, which what it accepts inherits.
    Tcp(TcpListener),
    /// A unix socket.
    Unix(UnixListener),
}

impl Listener {
    /// A client's socket, nonblocking, and its address; there is none if it came by a unix socket.
    pub(super) fn accept(&self) -> io::Result<(TcpStream, Option<SocketAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (socket, address) = listener.accept()?;
                Ok((socket, Some(address)))
            }
            Self::Unix(listener) => {
                let socket: OwnedFd = listener.accept()?.0.into();
                // Both are streams, and nothing is asked of it that only one has.
                Ok((TcpStream::from_std(socket.into()), None))
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}
