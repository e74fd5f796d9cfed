//! A manager on a thread of its own, and clients that speak raw frames to it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use handy_ws_core::manager::{
    Adoption, Batch, CloseCause, Compress, Config, Connection, End, Event, Handle, Handler,
    Manager, Permit, bytes,
};
use handy_ws_core::proto::deflate::Agreement;
use handy_ws_core::proto::{Opcode, apply_mask};
use socket2::{Domain, Socket, Type};

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// What the buffers of a narrow connection hold, about.
pub(crate) const NARROW: usize = 16 * 1024;

/// An event, as a test looks at it. The first number is the one that the adoption carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Established(u32),
    Text(u32, String),
    Binary(u32, Vec<u8>),
    CloseMessage(u32, u16, String),
    Answer(u32),
    Drained(u32),
    Closed(u32, End),
}

/// What a test does when an event comes, on the loop's thread.
type Reaction = dyn FnMut(&Seen, &Connection<u32>, &Handle<u32>) + Send;

struct Recorder {
    handle: Handle<u32>,
    slots: Vec<Option<(u32, Connection<u32>)>>,
    seen: mpsc::Sender<Seen>,
    reaction: Box<Reaction>,
}

impl Recorder {
    fn entry(&self, slot: usize) -> (u32, Connection<u32>) {
        self.slots[slot].clone().expect("the slot is taken")
    }
}

impl Handler for Recorder {
    type Context = u32;

    fn dispatch(&mut self, batch: &mut Batch<u32>) {
        let (events, arena) = batch.drain();
        for event in events {
            let (seen, connection) = match event {
                Event::Established { connection, context } => {
                    let slot = connection.slot();
                    if self.slots.len() <= slot {
                        self.slots.resize(slot + 1, None);
                    }
                    assert!(self.slots[slot].is_none(), "the slot was free");
                    self.slots[slot] = Some((context, connection.clone()));
                    (Seen::Established(context), connection)
                }
                Event::Text { slot, payload } => {
                    let text = String::from_utf8(bytes(&payload, arena).to_vec()).expect("UTF-8");
                    let (number, connection) = self.entry(slot);
                    (Seen::Text(number, text), connection)
                }
                Event::Binary { slot, payload } => {
                    let (number, connection) = self.entry(slot);
                    (Seen::Binary(number, bytes(&payload, arena).to_vec()), connection)
                }
                Event::CloseMessage { slot, frame } => {
                    let (number, connection) = self.entry(slot);
                    let (code, reason) = (frame.code().as_u16(), frame.reason().to_owned());
                    (Seen::CloseMessage(number, code, reason), connection)
                }
                Event::Answer { slot } => {
                    let (number, connection) = self.entry(slot);
                    (Seen::Answer(number), connection)
                }
                Event::Drained { slot } => {
                    let (number, connection) = self.entry(slot);
                    (Seen::Drained(number), connection)
                }
                Event::Closed { slot } => {
                    let (number, connection) = self.slots[slot].take().expect("closed once");
                    let end = connection.end().expect("an end is set").clone();
                    (Seen::Closed(number, end), connection)
                }
            };
            (self.reaction)(&seen, &connection, &self.handle);
            let _ = self.seen.send(seen);
        }
    }
}

/// A running manager.
pub(crate) struct Server {
    pub(crate) handle: Handle<u32>,
    pub(crate) turns: Arc<AtomicUsize>,
    listener: TcpListener,
    seen: Mutex<Receiver<Seen>>,
    connections: Arc<Mutex<Vec<Connection<u32>>>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// One that only records.
    pub(crate) fn new(config: Config) -> Self {
        Self::reacting(config, |_, _, _| {})
    }

    /// One that echoes text and binary messages.
    pub(crate) fn echo(config: Config) -> Self {
        Self::reacting(config, |seen, connection, _| {
            let _ = match seen {
                Seen::Text(_, text) => connection.send_text(text, Compress::Allow),
                Seen::Binary(_, bytes) => connection.send_binary(bytes, Compress::Allow),
                Seen::Established(_)
                | Seen::CloseMessage(..)
                | Seen::Answer(_)
                | Seen::Drained(_)
                | Seen::Closed(..) => return,
            };
        })
    }

    pub(crate) fn reacting(
        config: Config,
        mut reaction: impl FnMut(&Seen, &Connection<u32>, &Handle<u32>) + Send + 'static,
    ) -> Self {
        let handle = Handle::new(config);
        let (sender, seen) = mpsc::channel();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&connections);
        let mut manager = Manager::new(&handle).expect("a manager");
        let mut recorder = Recorder {
            handle: handle.clone(),
            slots: Vec::new(),
            seen: sender,
            reaction: Box::new(move |seen, connection, handle| {
                if let Seen::Established(_) = seen {
                    kept.lock().unwrap().push(connection.clone());
                }
                reaction(seen, connection, handle);
            }),
        };
        let turns = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&turns);
        let thread = std::thread::spawn(move || {
            while manager.turn(&mut recorder).expect("the loop goes on") {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
        let seen = Mutex::new(seen);
        Self { handle, turns, listener, seen, connections, thread: Some(thread) }
    }

    /// Connects a client and hands its other end over. Does not wait for `Established`.
    pub(crate) fn connect(&self, number: u32) -> Client {
        self.connect_with(number, &[])
    }

    /// As `connect`, with bytes that came behind the handshake.
    pub(crate) fn connect_with(&self, number: u32, received: &[u8]) -> Client {
        self.adopt(number, b"", received, None, None, false)
    }

    /// As `connect`, with a response to the handshake.
    pub(crate) fn connect_answering(&self, number: u32, response: &[u8]) -> Client {
        self.adopt(number, response, b"", None, None, false)
    }

    /// As `connect`, with a response and what came behind the handshake; the handler deals with the
    /// events of this connection when it likes.
    pub(crate) fn connect_deferred(&self, number: u32, response: &[u8], received: &[u8]) -> Client {
        self.adopt(number, response, received, None, None, true)
    }

    /// As `connect`, with compression; waits until it is established, as `established` does.
    pub(crate) fn compressing(
        &self,
        number: u32,
        agreement: Agreement,
    ) -> (Client, Connection<u32>) {
        let client = self.adopt(number, b"", b"", Some(agreement), None, false);
        (client, self.just_established(number))
    }

    /// As `connect_answering`, with a place among the connections.
    pub(crate) fn connect_permitted(&self, number: u32, permit: Permit, response: &[u8]) -> Client {
        self.adopt(number, response, b"", None, Some(permit), false)
    }

    fn adopt(
        &self,
        number: u32,
        response: &[u8],
        received: &[u8],
        deflate: Option<Agreement>,
        permit: Option<Permit>,
        deferred: bool,
    ) -> Client {
        let client = TcpStream::connect(self.address()).expect("connected");
        let (response, received) = (response.to_vec(), received.to_vec());
        self.hand_over(client, |stream| Adoption {
            response,
            received,
            deflate,
            deferred,
            permit,
            ..Adoption::new(stream, number)
        })
    }

    /// As `established`, with so little room in the buffers of both sockets that a client which
    /// does not read is soon a slow one.
    pub(crate) fn narrow(
        &self,
        number: u32,
        deflate: Option<Agreement>,
    ) -> (Client, Connection<u32>) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(NARROW).expect("a small buffer");
        socket.connect(&self.address().into()).expect("connected");
        let client = self.hand_over(socket.into(), |stream| {
            make_narrow(&stream);
            Adoption { deflate, ..Adoption::new(stream, number) }
        });
        (client, self.just_established(number))
    }

    fn hand_over(
        &self,
        client: TcpStream,
        adopt: impl FnOnce(TcpStream) -> Adoption<u32>,
    ) -> Client {
        let stream = self.accept();
        self.handle.adopt(adopt(stream)).expect("the manager runs");
        client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        client.set_nodelay(true).expect("no delay");
        Client { stream: client }
    }

    /// As `connect`, and waits until it is established. Only if nothing else is to be seen.
    pub(crate) fn established(&self, number: u32) -> (Client, Connection<u32>) {
        let client = self.connect(number);
        (client, self.just_established(number))
    }

    /// The other end of a socket that has connected.
    pub(crate) fn accept(&self) -> TcpStream {
        self.listener.accept().expect("accepted").0
    }

    pub(crate) fn just_established(&self, number: u32) -> Connection<u32> {
        assert_eq!(self.next(), Seen::Established(number));
        self.connections.lock().unwrap().last().expect("just made").clone()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("bound")
    }

    /// The next event.
    pub(crate) fn next(&self) -> Seen {
        self.seen.lock().unwrap().recv_timeout(PATIENCE).expect("an event comes")
    }

    /// Waits for the end of a connection.
    pub(crate) fn closed(&self, number: u32) -> End {
        loop {
            if let Seen::Closed(which, end) = self.next()
                && which == number
            {
                return end;
            }
        }
    }

    /// Stops, waits for the loop to end, and returns the events that were not looked at.
    pub(crate) fn stop(mut self, timeout: Duration) -> Vec<Seen> {
        self.handle.shut_down(timeout);
        self.handle.finish();
        self.thread.take().expect("stopped once").join().expect("the loop did not panic");
        self.seen.lock().unwrap().try_iter().collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.handle.shut_down(Duration::ZERO);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the loop panicked");
        }
    }
}

/// A client that writes what it is told and reads frame by frame.
pub(crate) struct Client<S = TcpStream> {
    pub(crate) stream: S,
}

impl<S: Read + Write> Client<S> {
    pub(crate) fn send(&mut self, opcode: Opcode, payload: &[u8]) {
        self.write(&masked(opcode, payload));
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// The next frame: its first byte and its payload.
    pub(crate) fn read_frame(&mut self) -> (u8, Vec<u8>) {
        self.try_read_frame().expect("a whole frame")
    }

    pub(crate) fn try_read_frame(&mut self) -> std::io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head)?;
        let length = match head[1] {
            126 => {
                let mut length = [0; 2];
                self.stream.read_exact(&mut length)?;
                usize::from(u16::from_be_bytes(length))
            }
            127 => {
                let mut length = [0; 8];
                self.stream.read_exact(&mut length)?;
                usize::try_from(u64::from_be_bytes(length)).expect("it fits")
            }
            length => usize::from(length),
        };
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload)?;
        Ok((head[0], payload))
    }

    pub(crate) fn expect_text(&mut self, text: &str) {
        assert_eq!(self.read_frame(), (0x81, text.as_bytes().to_vec()));
    }

    /// Reads a CLOSE frame: its code and reason.
    pub(crate) fn expect_close(&mut self, code: u16) -> String {
        let (first, payload) = self.read_frame();
        assert_eq!(first, 0x88, "a CLOSE frame");
        assert_eq!(u16::from_be_bytes([payload[0], payload[1]]), code);
        String::from_utf8(payload[2..].to_vec()).expect("UTF-8")
    }

    /// The server has closed its side, and nothing more comes.
    pub(crate) fn expect_end(&mut self) {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).expect("a clean end");
        assert_eq!(rest, b"");
    }

    /// Says CLOSE, reads the answer, and closes as soon as the server has.
    pub(crate) fn close(mut self, code: u16) {
        self.send(Opcode::Close, &code.to_be_bytes());
        self.expect_close(code);
        self.expect_end();
    }
}

impl Client {
    /// Ends the connection with a reset.
    pub(crate) fn reset(self) {
        let linger = Some(Duration::ZERO);
        socket2::SockRef::from(&self.stream).set_linger(linger).expect("a linger time");
    }

    pub(crate) fn shutdown(&self) {
        self.stream.shutdown(Shutdown::Write).expect("open");
    }
}

/// Lets a socket hold little of what its peer does not read.
pub(crate) fn make_narrow(stream: &TcpStream) {
    let buffers = socket2::SockRef::from(stream);
    buffers.set_send_buffer_size(NARROW).expect("a small buffer");
    buffers.set_recv_buffer_size(NARROW).expect("a small buffer");
}

/// A masked frame, as clients send it.
pub(crate) fn masked(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    masked_with(0x80 | opcode as u8, payload)
}

/// A masked frame with any first byte.
pub(crate) fn masked_with(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ ..126 => frame.push(0x80 | u8::try_from(length).expect("small")),
        length @ ..65536 => {
            frame.push(0x80 | 0x7E);
            frame.extend(u16::try_from(length).expect("small").to_be_bytes());
        }
        length => {
            frame.push(0x80 | 0x7F);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    let key = [0x12, 0x34, 0x56, 0x78];
    frame.extend(key);
    let start = frame.len();
    frame.extend(payload);
    apply_mask(&mut frame[start..], key);
    frame
}

pub(crate) fn end(code: handy_ws_core::proto::CloseCode, reason: &str, cause: CloseCause) -> End {
    End { code, reason: reason.into(), cause }
}

/// Waits for a condition that no event announces.
/// Waits until the loop has taken everything that was sent, and has flushed it: the first answer
/// may come out of a turn that has begun before.
pub(crate) fn settle(reader: &mut Client) {
    for _ in 0..2 {
        reader.send(Opcode::Ping, b"");
        while reader.read_frame().0 != 0x8A {}
    }
}

pub(crate) fn wait_until(condition: impl Fn() -> bool) {
    assert!(poll(PATIENCE, condition), "it did not come true in time");
}

pub(crate) fn poll(time: Duration, condition: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + time;
    while Instant::now() < deadline {
        if condition() {
            return true;
        }
        std::thread::yield_now();
    }
    condition()
}
