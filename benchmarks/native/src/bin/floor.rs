//! The cheapest server that a WebSocket handshake can be made with: a lower bound, and no server.
//!
//!     floor
//!
//! It listens on a free port of this machine and prints it. Whatever comes on a connection first is
//! answered with the 101 that goes with the key of RFC 6455 section 1.3; what comes then ends it.
//! One thread, no checks, no Python.

use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};

use handy_ws_benchmarks::RESPONSE;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

const LISTENER: Token = Token(usize::MAX);
const READ_SIZE: usize = 4096;

fn main() -> Result<(), Box<dyn Error>> {
    let mut listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    writeln!(io::stdout(), "{}", listener.local_addr()?.port())?;
    let mut connections: Slab<Connection> = Slab::new();
    let mut events = Events::with_capacity(1024);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                accept(&listener, &poll, &mut connections)?;
            } else if !connections[event.token().0].go_on() {
                connections.remove(event.token().0);
            }
        }
    }
}

fn accept(listener: &TcpListener, poll: &Poll, to: &mut Slab<Connection>) -> io::Result<()> {
    loop {
        let (mut stream, _) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        stream.set_nodelay(true)?;
        let entry = to.vacant_entry();
        poll.registry().register(&mut stream, Token(entry.key()), Interest::READABLE)?;
        entry.insert(Connection { stream, is_open: false });
    }
}

struct Connection {
    stream: TcpStream,
    is_open: bool,
}

impl Connection {
    /// Takes what has come; returns whether the connection lives on.
    fn go_on(&mut self) -> bool {
        let mut buffer = [0; READ_SIZE];
        match self.stream.read(&mut buffer) {
            // Nobody sends so much: what has come has all been read.
            Ok(1..) if !self.is_open => {
                self.is_open = true;
                self.stream.write_all(RESPONSE).is_ok()
            }
            Ok(_) => false,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }
}
