//! What the loop does with sockets: whole turns of a real manager, on the thread that is counted.
//!
//! Counts need turns that are always the same. So the clients live on this thread too and speak
//! only between turns, and the sockets are pairs of the Unix kind, where what one end has written
//! can be read at the other at once; over TCP that is up to the kernel. No deadline is set that
//! might come.
//! The manager's second thread waits for a callback that takes long, and these do not: callgrind
//! runs one thread at a time, and changes threads too seldom for it to see one twice.

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use handy_ws_benchmarks::frames::Payload;
use handy_ws_core::manager::{
    Adoption, Batch, Compress, Config, Connection, Event, Handle, Handler, Manager, bytes,
};
use handy_ws_core::proto::encoded_size;

use super::codec::expect;
use super::{Outcome, Work};

/// For what should be there already.
const PATIENCE: Duration = Duration::from_secs(5);

/// A manager with its handler, and all of its clients.
struct Server {
    handle: Handle<()>,
    manager: Manager<()>,
    echo: EchoHandler,
    clients: Vec<UnixStream>,
    /// What a client reads.
    buffer: Vec<u8>,
}

impl Server {
    fn new(connections: usize) -> Result<Self, Box<dyn Error>> {
        let config = Config { ping_interval: None, write_timeout: None, ..Config::default() };
        let handle = Handle::new(config);
        let manager = Manager::new(&handle)?;
        let (echo, clients) = (EchoHandler::default(), Vec::new());
        let mut server = Self { handle, manager, echo, clients, buffer: Vec::new() };
        for _ in 0..connections {
            let (client, socket) = UnixStream::pair()?;
            client.set_read_timeout(Some(PATIENCE))?;
            server.clients.push(client);
            server.adopt(TcpStream::from(OwnedFd::from(socket)))?;
        }
        server.turn()?;
        expect("connections", server.echo.connections.len(), connections)?;
        Ok(server)
    }

    fn adopt(&self, stream: TcpStream) -> Outcome {
        Ok(self.handle.adopt(Adoption::new(stream, ()))?)
    }

    fn turn(&mut self) -> Outcome {
        let goes_on = self.manager.turn(&mut self.echo)?;
        if goes_on { Ok(()) } else { Err("the manager has stopped".into()) }
    }

    /// Each client reads what the last turn has sent, of which nothing may be missing.
    fn read(&mut self, size: usize) -> Outcome {
        self.buffer.resize(size, 0);
        for client in &mut self.clients {
            client.read_exact(&mut self.buffer)?;
        }
        Ok(())
    }

    fn takeovers(&self) -> u64 {
        self.handle.counters().takeovers
    }
}

/// Sends back what comes.
#[derive(Default)]
struct EchoHandler {
    connections: Vec<Connection<()>>,
}

impl Handler for EchoHandler {
    type Context = ();

    fn dispatch(&mut self, batch: &mut Batch<()>) {
        let (events, arena) = batch.drain();
        for event in events {
            match event {
                // Slots are given out from 0 on, and nobody leaves.
                Event::Established { connection, .. } => self.connections.push(connection),
                Event::Binary { slot, payload } => {
                    let payload = bytes(&payload, arena);
                    // Whoever cannot send will miss its message.
                    let _ = self.connections[slot].send_binary(payload, Compress::Allow);
                }
                Event::Text { .. }
                | Event::CloseMessage { .. }
                | Event::Answer { .. }
                | Event::Drained { .. }
                | Event::Closed { .. } => {}
            }
        }
    }
}

/// A turn in which messages from all clients are sent back.
pub(super) struct Echo {
    server: Server,
    depth: usize,
    size: usize,
    frames: Vec<u8>,
}

impl Echo {
    pub(super) fn new(
        connections: usize,
        depth: usize,
        size: usize,
    ) -> Result<Self, Box<dyn Error>> {
        let frames = Payload::Binary.frame(size).repeat(depth);
        Ok(Self { server: Server::new(connections)?, depth, size, frames })
    }
}

impl Work for Echo {
    fn units(&self) -> usize {
        self.server.clients.len() * self.depth
    }

    fn prepare(&mut self) -> Outcome {
        for client in &mut self.server.clients {
            client.write_all(&self.frames)?;
        }
        Ok(())
    }

    fn work(&mut self) -> Outcome {
        self.server.turn()
    }

    fn check(&mut self) -> Outcome {
        self.server.read(self.depth * encoded_size(self.size))
    }

    fn takeovers(&self) -> u64 {
        self.server.takeovers()
    }
}

/// Broadcasts to 100 connections, and the turn in which they go out.
pub(super) struct Broadcast {
    server: Server,
    broadcasts: usize,
    payload: Vec<u8>,
}

impl Broadcast {
    const CONNECTIONS: usize = 100;
    const SIZE: usize = 128;

    pub(super) fn new(broadcasts: usize) -> Result<Self, Box<dyn Error>> {
        let server = Server::new(Self::CONNECTIONS)?;
        Ok(Self { server, broadcasts, payload: Payload::Binary.bytes(Self::SIZE) })
    }
}

impl Work for Broadcast {
    fn units(&self) -> usize {
        self.broadcasts * Self::CONNECTIONS
    }

    fn prepare(&mut self) -> Outcome {
        Ok(())
    }

    fn work(&mut self) -> Outcome {
        for _ in 0..self.broadcasts {
            let _ = self.server.handle.broadcast_binary(&self.payload, None, Compress::Allow);
        }
        self.server.turn()
    }

    fn check(&mut self) -> Outcome {
        self.server.read(self.broadcasts * encoded_size(Self::SIZE))
    }

    fn takeovers(&self) -> u64 {
        self.server.takeovers()
    }
}
