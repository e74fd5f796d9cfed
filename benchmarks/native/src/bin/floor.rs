//! The cheapest server that a WebSocket handshake can be made with: a lower bound, and no server.
//!
//!     floor [CERTIFICATE PRIVATE_KEY]
//!
//! With two PEM files it speaks TLS, with rustls and nothing around it. It listens on a free port of
//! this machine and prints it. Whatever comes on a connection first is answered with the 101 that
//! goes with the key of RFC 6455 section 1.3; what comes then ends it. One thread, no checks, no
//! Python.

use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::{env, mem};

use handy_ws_benchmarks::{RESPONSE, tls_server};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use rustls::{ServerConfig, ServerConnection};
use slab::Slab;

const LISTENER: Token = Token(usize::MAX);
const READ_SIZE: usize = 4096;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let tls = match arguments.as_slice() {
        [certificate, key] => Some(tls_server(Path::new(certificate), Path::new(key))?),
        _ => None,
    };
    let mut listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    writeln!(io::stdout(), "{}", listener.local_addr()?.port())?;
    let mut connections: Slab<Connection> = Slab::new();
    let mut events = Events::with_capacity(1024);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() != LISTENER {
                match connections[event.token().0].go_on() {
                    Err(error) if error.kind() != ErrorKind::WouldBlock => {
                        connections.remove(event.token().0);
                    }
                    _ => {}
                }
                continue;
            }
            while let Some(mut stream) = accept(&listener)? {
                stream.set_nodelay(true)?;
                let entry = connections.vacant_entry();
                poll.registry().register(&mut stream, Token(entry.key()), Interest::READABLE)?;
                entry.insert(Connection::new(stream, tls.as_ref())?);
            }
        }
    }
}

fn accept(listener: &TcpListener) -> io::Result<Option<TcpStream>> {
    match listener.accept() {
        Ok((stream, _)) => Ok(Some(stream)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

struct Connection {
    stream: TcpStream,
    session: Option<Box<ServerConnection>>,
    is_open: bool,
}

impl Connection {
    fn new(stream: TcpStream, tls: Option<&Arc<ServerConfig>>) -> Result<Self, rustls::Error> {
        let session = tls.map(|config| ServerConnection::new(Arc::clone(config))).transpose()?;
        Ok(Self { stream, session: session.map(Box::new), is_open: false })
    }

    /// Takes what has come, which is never much, and answers the first of it. An error ends the
    /// connection.
    fn go_on(&mut self) -> io::Result<()> {
        let mut buffer = [0; READ_SIZE];
        let Some(session) = &mut self.session else {
            if self.stream.read(&mut buffer)? == 0 || mem::replace(&mut self.is_open, true) {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            return self.stream.write_all(RESPONSE);
        };
        if session.read_tls(&mut self.stream)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let state = session.process_new_packets().map_err(io::Error::other)?;
        let came = state.plaintext_bytes_to_read();
        if came > 0 {
            session.reader().read_exact(&mut buffer[..came])?;
            if mem::replace(&mut self.is_open, true) {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            session.writer().write_all(RESPONSE)?;
        }
        while session.wants_write() {
            session.write_tls(&mut self.stream)?;
        }
        Ok(())
    }
}
