//! A real manager with its stand-in, a handler, and a client: what the models of the whole are made
//! of, and those of starting, lending and stopping.
//!
//! A model's poll looks at its sockets when it begins and when its waker has rung. So a client here
//! that has written something has the loop woken, too.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use loom::thread;

use crate::manager::sync::model::Bell;
use crate::manager::{
    Adoption, Batch, Compress, Config, Connection, Event, Handle, Handler, Manager, Sent,
    WaitError, bytes,
};

use super::{explore, join};

/// Stands for the response to the handshake.
const RESPONSE: &[u8] = b"101";

/// The CLOSE frame of a server that stops.
const SERVER_STOP: &[u8] = b"\x88\x0d\x03\xe9server stop";

/// The CLOSE frame of a client.
pub(super) const CLOSE: &[u8] = b"\x88\x82\0\0\0\0\x03\xe8";

/// A deadline that does not come.
pub(super) const NEVER: Duration = Duration::from_secs(1 << 32);

/// Nothing happens at a time of its own.
pub(super) fn config() -> Config {
    let (ping_interval, write_timeout) = (None, None);
    Config { close_timeout: NEVER, ping_interval, write_timeout, ..Config::default() }
}

/// A message of one byte, as a client sends it.
pub(super) fn message(byte: u8) -> [u8; 7] {
    [0x82, 0x81, 0, 0, 0, 0, byte]
}

/// Sends a message of one byte. Whether it was accepted is one or zero.
pub(super) fn send(connection: &Connection<()>, byte: u8) -> usize {
    let sent = connection.send_binary(&[byte], Compress::Never);
    assert_ne!(sent, Ok(Sent::Dropped));
    usize::from(sent.is_ok())
}

/// Where the handler and the other threads meet.
pub(super) struct Exchange {
    connection: Mutex<Option<Connection<()>>>,
    established: Bell,
    /// What a model makes of it.
    pub(super) bell: Bell,
    pub(super) other_bell: Bell,
}

impl Exchange {
    /// Gives the connection to the thread that waits for it.
    pub(super) fn establish(&self, connection: &Connection<()>) {
        *self.connection.lock().unwrap() = Some(connection.clone());
        self.established.ring();
    }

    /// Waits until there is a connection.
    pub(super) fn connection(&self) -> Connection<()> {
        self.established.wait();
        self.known()
    }

    /// The connection that there is.
    pub(super) fn known(&self) -> Connection<()> {
        self.connection.lock().unwrap().clone().unwrap()
    }
}

type Reaction<T> = Box<dyn FnMut(&Exchange, T)>;

/// Does what the model says.
pub(super) struct Host {
    exchange: Arc<Exchange>,
    greeting: Reaction<Connection<()>>,
    pub(super) event: Reaction<Event<()>>,
    /// One more call, which lasts until the bell rings.
    owes: bool,
    pub(super) received: Vec<u8>,
    closed: usize,
}

impl Handler for Host {
    type Context = ();

    fn dispatch(&mut self, batch: &mut Batch<()>) {
        let (events, arena) = batch.drain();
        let is_extra = self.owes && events.len() == 0;
        for event in events {
            match event {
                Event::Established { connection, context: () } => {
                    (self.greeting)(&self.exchange, connection);
                }
                Event::Closed { .. } => self.closed += 1,
                Event::Text { ref payload, .. } | Event::Binary { ref payload, .. } => {
                    self.received.extend_from_slice(bytes(payload, arena));
                    (self.event)(&self.exchange, event);
                }
                Event::CloseMessage { .. } | Event::Answer { .. } | Event::Drained { .. } => {
                    (self.event)(&self.exchange, event);
                }
            }
        }
        if is_extra {
            self.owes = false;
            self.exchange.bell.wait();
        }
    }

    fn is_owed(&self) -> bool {
        self.owes
    }
}

/// A manager that runs, with one client.
pub(super) struct Running {
    pub(super) handle: Handle<()>,
    manager: Manager<()>,
    pub(super) host: Host,
    pub(super) client: UnixStream,
    /// The last that the client is sent.
    pub(super) end: &'static [u8],
}

impl Running {
    /// One that sends "a" to greet the client.
    fn new() -> Self {
        Self::with(config(), false, |exchange, connection| {
            send(&connection, b'a');
            exchange.establish(&connection);
        })
    }

    pub(super) fn with(
        config: Config,
        deferred: bool,
        greeting: impl FnMut(&Exchange, Connection<()>) + 'static,
    ) -> Self {
        let handle = Handle::new(config);
        let manager = Manager::new(&handle).unwrap();
        let (client, server) = UnixStream::pair().unwrap();
        client.set_nonblocking(true).unwrap();
        let adoption = Adoption {
            response: RESPONSE.into(),
            deferred,
            ..Adoption::new(OwnedFd::from(server).into(), ())
        };
        handle.adopt(adoption).unwrap();
        let exchange = Exchange {
            connection: Mutex::new(None),
            established: Bell::new(),
            bell: Bell::new(),
            other_bell: Bell::new(),
        };
        let host = Host {
            exchange: Arc::new(exchange),
            greeting: Box::new(greeting),
            event: Box::new(|_, _| ()),
            owes: false,
            received: Vec::new(),
            closed: 0,
        };
        Self { handle, manager, host, client, end: SERVER_STOP }
    }

    pub(super) fn exchange(&self) -> Arc<Exchange> {
        Arc::clone(&self.host.exchange)
    }

    /// What stops it, on any thread. The client answers the CLOSE.
    pub(super) fn stop(&self) -> impl FnOnce() + 'static {
        let (handle, mut client) = (self.handle.clone(), self.client.try_clone().unwrap());
        move || {
            handle.shut_down(NEVER);
            client.write_all(CLOSE).unwrap();
            handle.finish();
        }
    }

    /// Runs until it is stopped. Returns what the client was sent between the response and the
    /// end.
    pub(super) fn run(mut self) -> (Host, Vec<u8>) {
        self.manager.run(&mut self.host).unwrap();
        assert_eq!(self.host.closed, 1);
        drop(self.manager);
        let mut received = Vec::new();
        self.client.read_to_end(&mut received).unwrap();
        let rest = received.strip_prefix(RESPONSE).unwrap();
        let frames = rest.strip_suffix(self.end).unwrap().chunks(3);
        let messages = frames.map(|frame| frame.strip_prefix(b"\x82\x01").unwrap()[0]);
        (self.host, messages.collect())
    }
}

#[test]
fn a_stop_whose_time_is_over_ends_the_manager() {
    explore(3, || {
        let Running { handle, mut manager, mut host, .. } = Running::new();
        let stopper = thread::spawn(move || {
            handle.shut_down(Duration::ZERO);
            handle.finish();
        });
        manager.run(&mut host).unwrap();
        assert_eq!(host.closed, 1);
        drop(manager);
        join(stopper);
    });
}

#[test]
fn all_that_was_accepted_arrives_in_order_and_then_the_close() {
    explore(2, || {
        let running = Running::with(config(), false, |exchange, connection| {
            exchange.establish(&connection);
        });
        let sender = thread::spawn({
            let exchange = running.exchange();
            move || {
                let connection = exchange.connection();
                send(&connection, b'a') + send(&connection, b'b')
            }
        });
        let stopper = thread::spawn(running.stop());
        let (_, received) = running.run();
        assert_eq!(received, b"ab"[..join(sender)]);
        join(stopper);
    });
}

#[test]
fn what_others_send_during_the_greeting_comes_behind_it() {
    explore(3, || {
        let running = Running::with(config(), false, |exchange, connection| {
            exchange.establish(&connection);
            exchange.bell.wait();
        });
        let sender = thread::spawn({
            let exchange = running.exchange();
            let stop = running.stop();
            move || {
                let connection = exchange.connection();
                assert_eq!(send(&connection, b'a') + send(&connection, b'b'), 2);
                stop();
                exchange.bell.ring();
            }
        });
        assert_eq!(running.run().1, b"ab");
        join(sender);
    });
}

#[test]
fn what_others_send_while_a_dispatch_lasts_is_written_by_the_stand_in() {
    explore(2, || {
        let mut running = Running::new();
        running.host.owes = true;
        let sender = thread::spawn({
            let exchange = running.exchange();
            let stop = running.stop();
            move || {
                let connection = exchange.connection();
                assert_eq!(send(&connection, b'b') + send(&connection, b'c'), 2);
                assert_eq!(connection.wait_drained(None), Ok(true));
                exchange.bell.ring();
                stop();
            }
        });
        assert_eq!(running.run().1, b"abc");
        join(sender);
    });
}

#[test]
fn what_comes_while_a_dispatch_lasts_is_delivered_once_and_in_order() {
    explore(2, || {
        let mut running = Running::new();
        running.host.owes = true;
        let mut missing = 3;
        running.host.event = Box::new(move |exchange, event| {
            missing -= usize::from(matches!(event, Event::Binary { .. }));
            if missing == 0 {
                exchange.other_bell.ring();
            }
        });
        let peer = thread::spawn({
            let exchange = running.exchange();
            let mut client = running.client.try_clone().unwrap();
            let stop = running.stop();
            move || {
                let connection = exchange.connection();
                for byte in *b"xyz" {
                    client.write_all(&message(byte)).unwrap();
                    connection.wake();
                    exchange.bell.ring();
                }
                exchange.other_bell.wait();
                stop();
            }
        });
        let (host, received) = running.run();
        assert_eq!((host.received.as_slice(), received.as_slice()), (&b"xyz"[..], &b"a"[..]));
        join(peer);
    });
}

#[test]
fn a_loop_that_is_left_behind_ends_while_another_one_runs() {
    explore(2, || {
        let Running { handle, mut manager, mut host, .. } = Running::new();
        let successor = thread::spawn({
            let handle = handle.clone();
            move || {
                handle.leave_behind();
                Manager::new(&handle).unwrap()
            }
        });
        manager.run(&mut host).unwrap();
        let established = host.exchange.connection.lock().unwrap().is_some();
        assert_eq!(host.closed, usize::from(established));
        drop(manager);
        let successor = join(successor);
        assert!(handle.is_running());
        drop(successor);
        assert!(!handle.is_running());
    });
}

/// The manager is dropped while the stand-in may have the loop.
#[test]
fn a_handler_that_panics_ends_the_manager_and_its_connection() {
    explore(3, || {
        let running = Running::with(config(), false, |exchange, connection| {
            exchange.establish(&connection);
            resume_unwind(Box::new("without a message"));
        });
        let sender = thread::spawn({
            let exchange = running.exchange();
            move || {
                let connection = exchange.connection();
                send(&connection, b'a');
                assert_eq!(connection.wait_drained(None), Err(WaitError::Closed));
                connection
            }
        });
        let Running { handle, mut manager, mut host, mut client, .. } = running;
        let panicked = catch_unwind(AssertUnwindSafe(|| manager.run(&mut host)));
        assert!(panicked.is_err());
        drop(manager);
        assert_eq!(send(&join(sender), b'b'), 0);
        assert!(!handle.is_running());
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    });
}
