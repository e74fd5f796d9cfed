//! One client that has come.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

use mio::Interest;

use crate::http;
use crate::stream::Stream;
use crate::tls::{Session, is_not_tls};

/// Reads that one client may have before the others get their turn.
const MAX_READS: usize = 8;

static COUNT: AtomicU64 = AtomicU64::new(0);

/// What a step with a guest came to.
#[derive(Debug)]
pub(super) enum Step {
    /// It waits for the client; for something else than before, if that is told.
    Waits(Option<Interest>),
    /// There may be more, but the others come first.
    Again(Interest),
    /// It has a head, or something that will never be one.
    Arrived,
    /// It speaks no TLS.
    NotTls,
    /// It has left.
    Gone,
    /// Something is wrong with the connection, or its session.
    Failed(io::Error),
}

/// A client, and what it has said so far.
#[derive(Debug)]
pub struct Guest<T> {
    stream: Stream,
    address: Option<SocketAddr>,
    received: Vec<u8>,
    /// How much of that was searched for the end of the head.
    scanned: usize,
    head_end: Option<usize>,
    /// Whether the poll tells of room in the socket, too.
    wants_room: bool,
    id: u64,
    owner: T,
}

/// What a guest is made of, when it is somebody else's.
#[derive(Debug)]
pub struct Parts<T> {
    /// Nonblocking.
    pub socket: TcpStream,
    /// `None`: there is none.
    pub session: Option<Box<Session>>,
    /// `None`: it came by a unix socket.
    pub address: Option<SocketAddr>,
    /// The head, and perhaps more.
    pub received: Vec<u8>,
    /// Of whoever has brought it.
    pub owner: T,
}

impl<T> Guest<T> {
    /// A client with a nonblocking socket, and the session that it has to begin.
    pub fn new(
        socket: mio::net::TcpStream,
        session: Option<Box<Session>>,
        address: Option<SocketAddr>,
        owner: T,
    ) -> Self {
        Self {
            stream: Stream::new(socket, session),
            address,
            received: Vec::new(),
            scanned: 0,
            head_end: None,
            wants_room: false,
            id: COUNT.fetch_add(1, Ordering::Relaxed),
            owner,
        }
    }

    /// What it has said that is no TLS, but for empty lines at the beginning.
    #[must_use]
    pub fn received(&self) -> &[u8] {
        &self.received
    }

    /// How much of that is the head, if it has one.
    #[must_use]
    pub fn head_end(&self) -> Option<usize> {
        self.head_end
    }

    /// See [`Parts::address`].
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// See [`Parts::owner`].
    #[must_use]
    pub fn owner(&self) -> &T {
        &self.owner
    }

    /// Whether it has a TLS session.
    #[must_use]
    pub fn speaks_tls(&self) -> bool {
        self.stream.session().is_some()
    }

    /// Lets go of it.
    #[must_use]
    pub fn into_parts(self) -> Parts<T> {
        let (socket, session) = self.stream.into_parts();
        let Self { address, received, owner, .. } = self;
        Parts { socket: OwnedFd::from(socket).into(), session, address, received, owner }
    }

    pub(crate) fn descriptor(&self) -> RawFd {
        self.stream.socket.as_raw_fd()
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.socket.as_fd()
    }

    /// A number that no other has.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn host(&self) -> String {
        self.address.map(|address| address.ip().to_canonical().to_string()).unwrap_or_default()
    }

    /// Without its session.
    pub(super) fn in_the_clear(self) -> Self {
        let (socket, _) = self.stream.into_parts();
        Self { stream: Stream::new(socket, None), ..self }
    }

    /// Reads on. Stops at a read that was short, since there will be another event when more comes;
    /// but there is none if the client `has_hung_up`.
    pub(super) fn go_on(&mut self, buffer: &mut [u8], limit: usize, has_hung_up: bool) -> Step {
        if self.stream.unsent() > 0 {
            let _ = self.stream.flush(); // reading tells what is wrong
        }
        for _ in 0..MAX_READS {
            match self.stream.read(buffer) {
                Ok(Some(arrival)) => {
                    if arrival.count > 0 && self.take_in(&buffer[..arrival.count], limit) {
                        return Step::Arrived;
                    }
                    if !arrival.more && !has_hung_up {
                        return self.wait();
                    }
                }
                Ok(None) => return Step::Gone,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.wait(),
                Err(error) if is_not_tls(&error) => return Step::NotTls,
                Err(error) => return Step::Failed(error),
            }
        }
        Step::Again(self.interest())
    }

    /// Says whether it is to be answered now.
    fn take_in(&mut self, bytes: &[u8], limit: usize) -> bool {
        self.received.extend_from_slice(bytes);
        let empty = http::empty_lines(&self.received);
        if empty > 0 {
            self.received.drain(..empty);
            self.scanned = 0;
        }
        let end = http::find_end(&self.received, self.scanned, limit);
        self.scanned = self.received.len();
        self.head_end = end.unwrap_or_default();
        end != Ok(None)
    }

    fn wait(&mut self) -> Step {
        let wanted_room = self.wants_room;
        let interest = self.interest();
        Step::Waits((self.wants_room || wanted_room).then_some(interest))
    }

    fn interest(&mut self) -> Interest {
        self.wants_room = self.stream.unsent() > 0;
        if self.wants_room { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE }
    }

    /// Closes it; the client is told that its session is over, as far as the socket takes that.
    pub(crate) fn close(mut self) {
        let _ = self.stream.say_goodbye();
    }
}
