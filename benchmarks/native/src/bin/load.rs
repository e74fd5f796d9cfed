//! A client that keeps WebSocket messages in flight, on one thread.
//!
//!     load ADDRESS echo|broadcast|all CONNECTIONS DEPTH SIZE binary|ascii|mixed
//!
//! It opens the connections and prints `ready`. Then it does what its standard input says, a line
//! at a time, and answers with a line of JSON when nothing is in flight any more:
//!
//!     keep COUNT         keep messages in flight until COUNT have come
//!     pace COUNT RATE    send COUNT messages, RATE each second, whatever comes back
//!
//! With `echo` each message is sent back to its connection, and DEPTH are in flight on each. With
//! `broadcast` it is the first connection that sends, and all get it; with `all` each connection
//! sends, and all get it. There, DEPTH messages of each sender are in flight, and what is counted
//! are deliveries. Every message has SIZE bytes, which is checked of what comes.
//!
//! The answer has the number of messages that came, the seconds from the first one sent to the last
//! one come, and how long the sender's own messages took to come back, in seconds: the median, the
//! 99th percentile and the 99.9th. With `all`, where nobody knows whose message comes, there are no
//! times.
//!
//! With `pace` a message's time counts from the moment when it was to be sent, so that a server that
//! stops for a while is charged for all that it keeps waiting, and a broadcast's times are those of
//! all who get it. The client never sleeps: it looks for what is due after each few connections that
//! it has read from, and says how late it was to send nevertheless, the 99th and 99.9th percentile.
//! That lateness is a part of the times.

use std::collections::VecDeque;
use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use std::{env, net};

use handy_ws_benchmarks::frames::{Counter, Payload};
use handy_ws_benchmarks::tally::Tally;
use handy_ws_benchmarks::{ACCEPT, REQUEST, contains};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

const STALLED: Duration = Duration::from_secs(20);
const READ_SIZE: usize = 1 << 18;
const MAX_EVENTS: usize = 1024;
/// As many are read from before it is looked what is due, and sent before it is looked what has
/// come: that takes about ten microseconds.
const MAX_EVENTS_PACED: usize = 4;
const USAGE: &str =
    "usage: load ADDRESS echo|broadcast|all CONNECTIONS DEPTH SIZE binary|ascii|mixed";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [address, kind, connections, depth, size, payload] = arguments.as_slice() else {
        return Err(USAGE.into());
    };
    let size = size.parse()?;
    let frame = Payload::named(payload)?.frame(size);
    let work = Work { kind: Kind::named(kind)?, depth: depth.parse()?, size, frame: frame.len() };
    let mut load = Load::new(address.parse()?, connections.parse()?, work, &frame)?;
    writeln!(io::stdout(), "ready")?;
    for line in io::stdin().lines() {
        let line = line?;
        let outcome = match line.split(' ').collect::<Vec<_>>().as_slice() {
            ["keep", count] => load.keep(count.parse()?)?,
            ["pace", count, rate] => load.pace(count.parse()?, rate.parse()?)?,
            _ => return Err(format!("what is {line:?}?").into()),
        };
        writeln!(io::stdout(), "{outcome}")?;
    }
    Ok(())
}

/// Who sends, and who gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Echo,
    Broadcast,
    All,
}

impl Kind {
    fn named(name: &str) -> Result<Self, Box<dyn Error>> {
        match name {
            "echo" => Ok(Self::Echo),
            "broadcast" => Ok(Self::Broadcast),
            "all" => Ok(Self::All),
            _ => Err(USAGE.into()),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Work {
    kind: Kind,
    depth: usize,
    /// Bytes of a message.
    size: usize,
    /// Bytes of its frame.
    frame: usize,
}

struct Load {
    work: Work,
    poll: Poll,
    connections: Vec<Connection>,
    /// As many as may leave in one write.
    frames: Vec<u8>,
    buffer: Vec<u8>,
}

impl Load {
    fn new(
        address: SocketAddr,
        connections: usize,
        work: Work,
        frame: &[u8],
    ) -> Result<Self, Box<dyn Error>> {
        let poll = Poll::new()?;
        let mut opened = Vec::with_capacity(connections);
        for number in 0..connections {
            let mut stream = open(address)?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut stream, Token(number), interest)?;
            opened.push(Connection::new(stream));
        }
        let frames = frame.repeat(work.depth);
        Ok(Self { work, poll, connections: opened, frames, buffer: vec![0; READ_SIZE] })
    }

    /// How many connections get each message.
    fn receivers(&self) -> u64 {
        if self.work.kind == Kind::Echo { 1 } else { self.connections.len() as u64 }
    }

    fn senders(&self) -> usize {
        if self.work.kind == Kind::Broadcast { 1 } else { self.connections.len() }
    }

    /// Keeps messages in flight until `count` have come.
    fn keep(&mut self, count: u64) -> Result<String, Box<dyn Error>> {
        for connection in &mut self.connections {
            (connection.sent, connection.came) = (0, 0);
        }
        let mut tally = Tally::new();
        let (depth, senders, receivers) = (self.work.depth, self.senders(), self.receivers());
        for number in 0..senders {
            self.send(number, depth, Instant::now())?;
        }
        let mut due = (depth * senders) as u64 * receivers;
        while tally.messages() < due {
            let mut heard = self.wait(STALLED, MAX_EVENTS, &mut tally)?;
            if self.work.kind == Kind::Broadcast {
                heard = vec![(0, 0)]; // whoever got it, it is the first one that goes on
            }
            for (number, came) in heard {
                if tally.messages() >= count {
                    break;
                }
                let more = self.may_send(number, came, &tally);
                if more > 0 {
                    self.send(number, more, Instant::now())?;
                    due += more as u64 * receivers;
                }
            }
        }
        Ok(tally.json())
    }

    /// How many messages a sender may have sent, now that some more have come.
    fn may_send(&mut self, number: usize, came: u64, tally: &Tally) -> usize {
        let receivers = self.receivers();
        let connection = &mut self.connections[number];
        match self.work.kind {
            Kind::Echo => usize::try_from(came).unwrap_or(usize::MAX),
            // The slowest of all has to have got it, too.
            Kind::Broadcast => {
                let waiting = connection.sent.saturating_sub(tally.messages() / receivers);
                let waiting = usize::try_from(waiting).unwrap_or(usize::MAX);
                self.work.depth.saturating_sub(waiting.max(connection.sent_at.len()))
            }
            // One for each that came from each.
            Kind::All => {
                connection.came += came;
                let rounds = connection.came / receivers;
                connection.came %= receivers;
                usize::try_from(rounds).unwrap_or(usize::MAX)
            }
        }
    }

    /// Sends `count` messages at that rate.
    fn pace(&mut self, count: u64, rate: f64) -> Result<String, Box<dyn Error>> {
        let mut tally = Tally::new();
        let begun = Instant::now();
        let (mut sent, due) = (0, count * self.receivers());
        let mut heard = begun;
        while tally.messages() < due {
            // Whoever is behind reads nevertheless, or what has come would wait for it unseen.
            let burst = count.min(sent + MAX_EVENTS_PACED as u64);
            while sent < burst {
                #[expect(clippy::cast_precision_loss, reason = "there are not that many")]
                let at = begun + Duration::from_secs_f64(sent as f64 / rate);
                let Some(late) = Instant::now().checked_duration_since(at) else { break };
                tally.sent_late(late);
                self.send(usize::try_from(sent)? % self.senders(), 1, at)?;
                if self.work.kind == Kind::Broadcast {
                    self.connections[1..].iter_mut().for_each(|one| one.sent_at.push_back(at));
                }
                sent += 1;
            }
            if !self.wait(Duration::ZERO, MAX_EVENTS_PACED, &mut tally)?.is_empty() {
                heard = Instant::now();
            } else if heard.elapsed() > STALLED {
                return Err("nothing has come for a long time".into());
            }
        }
        Ok(tally.json())
    }

    fn send(&mut self, number: usize, count: usize, at: Instant) -> io::Result<()> {
        let connection = &mut self.connections[number];
        connection.sent += count as u64;
        if self.work.kind != Kind::All {
            connection.sent_at.extend(std::iter::repeat_n(at, count));
        }
        connection.unsent += count * self.work.frame;
        connection.flush(&self.frames)
    }

    /// Waits until something has come for at most so many, or the time is over; returns from whom,
    /// and how much.
    fn wait(
        &mut self,
        timeout: Duration,
        most: usize,
        tally: &mut Tally,
    ) -> Result<Vec<(usize, u64)>, Box<dyn Error>> {
        let mut events = Events::with_capacity(most);
        self.poll.poll(&mut events, Some(timeout))?;
        if events.is_empty() && timeout == STALLED {
            return Err("nothing has come for a long time".into());
        }
        let mut heard = Vec::new();
        for event in &events {
            let number = event.token().0;
            let connection = &mut self.connections[number];
            if event.is_writable() {
                connection.flush(&self.frames)?;
            }
            let came = connection.receive(&mut self.buffer, self.work.size)?;
            if came > 0 {
                tally.came(came);
                tally.took(&mut connection.sent_at, came);
                heard.push((number, came));
            }
        }
        Ok(heard)
    }
}

/// Connects, and does the handshake.
fn open(address: SocketAddr) -> Result<TcpStream, Box<dyn Error>> {
    let mut stream = net::TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(STALLED))?;
    stream.write_all(REQUEST)?;
    let (mut response, mut buffer) = (Vec::new(), [0; 1024]);
    while !contains(&response, b"\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => return Err("the server has closed a connection".into()),
            count => response.extend_from_slice(&buffer[..count]),
        }
    }
    if !response.starts_with(b"HTTP/1.1 101 ") || !contains(&response, ACCEPT) {
        return Err(format!("refused: {}", String::from_utf8_lossy(&response)).into());
    }
    stream.set_nonblocking(true)?;
    Ok(TcpStream::from_std(stream))
}

struct Connection {
    stream: TcpStream,
    counter: Counter,
    /// Bytes that are to be sent, and how far the first frame of them has got.
    unsent: usize,
    at: usize,
    /// Messages that it has sent.
    sent: u64,
    /// When those were sent that have not come back.
    sent_at: VecDeque<Instant>,
    /// Of everybody's messages, since the last one that it sent.
    came: u64,
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            counter: Counter::default(),
            unsent: 0,
            at: 0,
            sent: 0,
            sent_at: VecDeque::new(),
            came: 0,
        }
    }

    fn flush(&mut self, frames: &[u8]) -> io::Result<()> {
        while self.unsent > 0 {
            let end = frames.len().min(self.at + self.unsent);
            match self.stream.write(&frames[self.at..end]) {
                Ok(count) => {
                    self.unsent -= count;
                    self.at = (self.at + count) % frames.len();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8], size: usize) -> Result<u64, Box<dyn Error>> {
        let mut messages = 0;
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err("the server has closed a connection".into()),
                Ok(count) => {
                    messages += self.counter.feed(&buffer[..count], size)?;
                    if count < buffer.len() {
                        return Ok(messages);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(messages),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
