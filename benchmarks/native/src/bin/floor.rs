//! The least that a server on one thread can do: a lower bound of its cost, and no server.
//!
//!     floor handshake|echo|broadcast [CERTIFICATE PRIVATE_KEY [client-chooses]]
//!
//! It listens on a free port of this machine and prints it. Whatever comes on a connection first is
//! answered with the 101 that goes with the key of RFC 6455 section 1.3. What comes then ends the
//! connection, or each frame is sent back, or sent to all connections, unmasked; what has come
//! together goes out in one piece, as from any good server. Nothing is checked, and whoever does not
//! read is waited for.
//!
//! With two PEM files it speaks TLS, for handshakes only, with rustls and nothing around it. The cipher
//! is that which `handy_ws` would choose, or the first that the client offers.

use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::{env, mem};

use handy_ws_benchmarks::frames::unmask;
use handy_ws_benchmarks::{RESPONSE, tls_server};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use rustls::{ServerConfig, ServerConnection};
use slab::Slab;

const LISTENER: Token = Token(usize::MAX);
const READ_SIZE: usize = 1 << 18;
const MAX_EVENTS: usize = 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (does, tls) = match arguments.as_slice() {
        [does] => (Does::named(does)?, None),
        [does, certificate, key, rest @ ..] if does == "handshake" && is_known(rest) => {
            let tls = tls_server(Path::new(certificate), Path::new(key), !rest.is_empty())?;
            (Does::Handshake, Some(tls))
        }
        _ => return Err(Does::USAGE.into()),
    };
    let mut listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
    let poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    writeln!(io::stdout(), "{}", listener.local_addr()?.port())?;
    Floor { does, tls, poll, connections: Slab::new(), out: Vec::new() }.run(&listener)
}

fn is_known(rest: &[String]) -> bool {
    rest.is_empty() || rest == ["client-chooses"]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Handshake,
    Echo,
    Broadcast,
}

impl Does {
    const USAGE: &str =
        "usage: floor handshake|echo|broadcast [CERTIFICATE PRIVATE_KEY [client-chooses]]";

    fn named(name: &str) -> Result<Self, Box<dyn Error>> {
        match name {
            "handshake" => Ok(Self::Handshake),
            "echo" => Ok(Self::Echo),
            "broadcast" => Ok(Self::Broadcast),
            _ => Err(Self::USAGE.into()),
        }
    }
}

struct Floor {
    does: Does,
    tls: Option<Arc<ServerConfig>>,
    poll: Poll,
    connections: Slab<Connection>,
    /// Frames that are to be sent.
    out: Vec<u8>,
}

impl Floor {
    fn run(&mut self, listener: &TcpListener) -> Result<(), Box<dyn Error>> {
        let mut events = Events::with_capacity(MAX_EVENTS);
        let mut buffer = vec![0; READ_SIZE];
        loop {
            self.poll.poll(&mut events, None)?;
            for event in &events {
                if event.token() == LISTENER {
                    self.accept(listener)?;
                } else if self.serve(event.token().0, &mut buffer).is_err() {
                    self.connections.remove(event.token().0);
                }
            }
        }
    }

    fn accept(&mut self, listener: &TcpListener) -> Result<(), Box<dyn Error>> {
        loop {
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            stream.set_nodelay(true)?;
            let entry = self.connections.vacant_entry();
            let token = Token(entry.key());
            self.poll.registry().register(&mut stream, token, Interest::READABLE)?;
            entry.insert(Connection::new(stream, self.tls.as_ref())?);
        }
    }

    /// Takes what has come. An error ends the connection.
    fn serve(&mut self, number: usize, buffer: &mut [u8]) -> io::Result<()> {
        loop {
            let connection = &mut self.connections[number];
            let count = match connection.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            if !mem::replace(&mut connection.is_open, true) {
                connection.write_all(RESPONSE)?;
            } else if self.does == Does::Handshake {
                return Err(ErrorKind::UnexpectedEof.into());
            } else {
                connection.take_frames(&buffer[..count], &mut self.out);
                self.deliver(number)?;
            }
            if count < buffer.len() {
                return Ok(());
            }
        }
    }

    fn deliver(&mut self, number: usize) -> io::Result<()> {
        if self.does == Does::Echo {
            self.connections[number].write_all(&self.out)?;
        } else {
            for (_, connection) in self.connections.iter_mut().filter(|(_, each)| each.is_open) {
                let _ = connection.write_all(&self.out); // who has gone is seen when it is read
            }
        }
        self.out.clear();
        Ok(())
    }
}

struct Connection {
    stream: TcpStream,
    session: Option<Box<ServerConnection>>,
    is_open: bool,
    /// The beginning of a frame.
    held: Vec<u8>,
}

impl Connection {
    fn new(stream: TcpStream, tls: Option<&Arc<ServerConfig>>) -> Result<Self, rustls::Error> {
        let session = tls.map(|config| ServerConnection::new(Arc::clone(config))).transpose()?;
        Ok(Self { stream, session: session.map(Box::new), is_open: false, held: Vec::new() })
    }

    /// Reads once, or with TLS until there is plaintext. It also does the handshake.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(session) = &mut self.session else { return self.stream.read(buffer) };
        loop {
            if session.read_tls(&mut self.stream)? == 0 {
                return Ok(0);
            }
            let state = session.process_new_packets().map_err(io::Error::other)?;
            while session.wants_write() {
                session.write_tls(&mut self.stream)?;
            }
            match state.plaintext_bytes_to_read().min(buffer.len()) {
                0 => {}
                count => return session.reader().read(&mut buffer[..count]),
            }
        }
    }

    /// Sends everything, however long that takes.
    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if let Some(session) = &mut self.session {
            session.writer().write_all(bytes)?;
            while session.wants_write() {
                session.write_tls(&mut self.stream)?;
            }
            return Ok(());
        }
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Appends all frames that are whole now to `out`, unmasked.
    fn take_frames(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.held.is_empty() {
            let used = unmask(bytes, out);
            self.held.extend_from_slice(&bytes[used..]);
        } else {
            self.held.extend_from_slice(bytes);
            let used = unmask(&self.held, out);
            self.held.drain(..used);
        }
    }
}
