//! Many clients and several server threads do random things at once; then everything that was
//! said is compared with everything that was heard.
//!
//! Every message of the server is `sender number size xxx…`, with a number that only grows for each
//! sender. So a client can tell from what it reads alone whether frames were torn, mixed up,
//! doubled or lost. What is done depends on the seed only; when it is done is up to the machine.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failure is what a test is for")]

#[expect(dead_code, reason = "a part of it is for the other tests")]
mod support;

use std::collections::HashMap;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use handy_ws_core::manager::{CloseCause, Compress, Config, Connection, Handle, Sent};
use handy_ws_core::proto::{CloseCode, CloseFrame, Opcode};

use support::{Client, PATIENCE, Seen, Server, masked};

const CLIENTS: u32 = 28;
const SENDERS: u32 = 3;
const ACTIONS: u32 = 150;
const HANDLER: u32 = SENDERS; // the handler is one more sender
const GOING_AWAY: u16 = 1001;

#[test]
fn clients_that_read_miss_nothing() {
    for seed in 1..=4 {
        Round::new(seed, 256 << 20).run();
    }
}

#[test]
fn a_short_queue_tears_and_mixes_nothing() {
    for seed in 101..=104 {
        Round::new(seed, 48 * 1024).run();
    }
}

/// A small generator of numbers that look random (`SplitMix64`).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`.
    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// Mostly small, sometimes beyond what the queue's arena takes.
    fn size(&mut self) -> usize {
        match self.below(20) {
            0 => self.below(100_000),
            1..=3 => self.below(5000),
            _ => self.below(100),
        }
    }
}

/// How a client behaves when its random messages are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Reads and answers the CLOSE. The server closes it only when it stops.
    Stay,
    /// The same, but the server may close it.
    Obey,
    Close,
    Reset,
    HalfClose,
    Break,
    Vanish,
}

impl Kind {
    fn of(number: u32) -> Self {
        match number % 9 {
            0..=2 => Self::Stay,
            3 => Self::Obey,
            4 => Self::Close,
            5 => Self::Reset,
            6 => Self::HalfClose,
            7 => Self::Break,
            _ => Self::Vanish,
        }
    }
}

/// What the senders did.
#[derive(Default)]
struct Said {
    /// By sender: the numbers of its broadcasts, and whom they spared.
    broadcasts: HashMap<u32, Vec<(u64, Option<u32>)>>,
    /// By client and sender: the numbers of what was accepted for that client alone.
    accepted: HashMap<(u32, u32), Vec<u64>>,
    /// Clients to whom a message was refused because they do not read.
    dropped: Vec<u32>,
    /// By client: how many of its messages have come.
    come: HashMap<u32, u64>,
}

type Connections = Arc<Mutex<Vec<(u32, Connection<u32>)>>>;

/// One that sends: a thread, or the handler.
struct Sender {
    number: u32,
    next: u64,
    random: Random,
    handle: Handle<u32>,
    said: Arc<Mutex<Said>>,
}

impl Sender {
    fn new(number: u32, seed: u64, handle: Handle<u32>, said: Arc<Mutex<Said>>) -> Self {
        let random = Random(seed.wrapping_mul(1000) + u64::from(number));
        Self { number, next: 0, random, handle, said }
    }

    fn message(&mut self, size: usize) -> (u64, String) {
        self.next += 1;
        (self.next, format!("{} {} {size} {}", self.number, self.next, "x".repeat(size)))
    }

    fn send(&mut self, client: u32, connection: &Connection<u32>) {
        let is_ping = self.random.one_in(8);
        let size = if is_ping { self.random.below(80) } else { self.random.size() };
        let (number, text) = self.message(size);
        let sent = match self.random.below(4) {
            _ if is_ping => connection.ping(text.as_bytes()),
            0 => connection.send_text(&text, Compress::Allow),
            1 => connection.send_binary(text.as_bytes(), Compress::Allow),
            2 => connection.lend_text(Box::new(text), Compress::Allow),
            _ => connection.lend_binary(Box::new(text), Compress::Allow),
        };
        let mut said = self.said.lock().unwrap();
        match sent {
            Ok(Sent::Queued | Sent::Backpressure) => {
                said.accepted.entry((client, self.number)).or_default().push(number);
            }
            Ok(Sent::Dropped) => said.dropped.push(client),
            Err(_closed) => {}
        }
    }

    fn broadcast(&mut self, except: Option<&(u32, Connection<u32>)>) {
        let size = self.random.size();
        let (number, text) = self.message(size);
        let spared = except.map(|(client, _)| *client);
        self.said.lock().unwrap().broadcasts.entry(self.number).or_default().push((number, spared));
        let except = except.map(|(_, connection)| connection);
        if self.random.one_in(2) {
            self.handle.broadcast_text(&text, except, Compress::Allow);
        } else {
            self.handle.broadcast_binary(text.as_bytes(), except, Compress::Allow);
        }
    }

    fn act(&mut self, client: u32, connection: &Connection<u32>) {
        match self.random.below(40) {
            0 => close(client, connection),
            1..=4 => self.broadcast(None),
            5..=6 => self.broadcast(Some(&(client, connection.clone()))),
            _ => self.send(client, connection),
        }
    }

    /// The body of a thread that sends.
    fn run(mut self, connections: &Connections) {
        for _ in 0..ACTIONS {
            let chosen = {
                let connections = connections.lock().unwrap();
                let index = self.random.below(connections.len().max(1));
                connections.get(index).cloned()
            };
            match chosen {
                Some((client, connection)) => self.act(client, &connection),
                None => std::thread::sleep(Duration::from_millis(1)),
            }
            if self.random.one_in(10) {
                std::thread::sleep(Duration::from_micros(self.random.next() % 3000));
            }
        }
    }
}

/// Closes a client that does not want to stay.
fn close(client: u32, connection: &Connection<u32>) {
    if Kind::of(client) != Kind::Stay {
        let frame = CloseFrame::new(CloseCode::new(4000).unwrap(), "random").unwrap();
        connection.close(frame, CloseCause::Local);
    }
}

/// What a client has read.
struct Heard {
    frames: Vec<(u8, Vec<u8>)>,
    /// The stream ended with a FIN, not with a reset or in the middle of a frame.
    ended_well: bool,
}

/// What a client has sent, and its thread that reads.
struct Talker {
    number: u32,
    /// The messages that were written without an error.
    messages: u64,
    pings: u64,
    reader: JoinHandle<Heard>,
}

fn read_all(mut client: Client, kind: Kind, mut random: Random) -> Heard {
    let answers = matches!(kind, Kind::Stay | Kind::Obey);
    let stalls_at = random.below(60);
    let mut frames = Vec::new();
    let error = loop {
        if frames.len() == stalls_at {
            std::thread::sleep(Duration::from_millis(random.next() % 150));
        } else if random.one_in(50) {
            std::thread::sleep(Duration::from_millis(random.next() % 5));
        }
        match client.try_read_frame() {
            Ok((first, payload)) => {
                if first == 0x88 && answers {
                    let _ = client.stream.write_all(&masked(Opcode::Close, &payload));
                }
                frames.push((first, payload));
            }
            Err(error) => break error,
        }
    };
    let ended_well = error.kind() == std::io::ErrorKind::UnexpectedEof;
    Heard { frames, ended_well }
}

/// Writes in random chops. False if the server is not there any more.
fn write_chopped(stream: &mut TcpStream, mut bytes: &[u8], random: &mut Random) -> bool {
    while !bytes.is_empty() {
        let most = if random.one_in(4) { 7 } else { bytes.len() };
        let (now, later) = bytes.split_at(1 + random.below(most.min(bytes.len())));
        if stream.write_all(now).is_err() {
            return false;
        }
        bytes = later;
    }
    true
}

/// A message in one frame or in two with a PING between them.
fn message(text: &str, random: &mut Random) -> Vec<u8> {
    let text = text.as_bytes();
    if random.one_in(4) {
        let (begin, end) = text.split_at(random.below(text.len()));
        let mut first = masked(Opcode::Text, begin);
        first[0] = 0x01;
        [first, masked(Opcode::Pong, b"unasked"), masked(Opcode::Continuation, end)].concat()
    } else {
        masked(Opcode::Text, text)
    }
}

/// The body of a client's thread.
fn talk(client: Client, number: u32, mut random: Random) -> Talker {
    let kind = Kind::of(number);
    let reading = Client { stream: client.stream.try_clone().unwrap() };
    let reader_random = Random(random.next());
    let reader = std::thread::spawn(move || read_all(reading, kind, reader_random));
    let mut stream = client.stream;
    let (mut messages, mut pings) = (0, 0);
    for _ in 0..random.below(60) {
        let bytes = if random.one_in(5) {
            masked(Opcode::Ping, (pings + 1).to_string().as_bytes())
        } else {
            let text = format!("{} {}", messages + 1, "ä".repeat(random.size() / 4));
            message(&text, &mut random)
        };
        let is_ping = bytes[0] == 0x89;
        if !write_chopped(&mut stream, &bytes, &mut random) {
            break;
        }
        if is_ping {
            pings += 1;
        } else {
            messages += 1;
        }
        if random.one_in(10) {
            std::thread::sleep(Duration::from_millis(random.next() % 4));
        }
    }
    if kind == Kind::Stay {
        let last = message(&format!("{} last", messages + 1), &mut random);
        messages += u64::from(write_chopped(&mut stream, &last, &mut random));
    }
    end(stream, kind, &mut random);
    Talker { number, messages, pings, reader }
}

fn end(mut stream: TcpStream, kind: Kind, random: &mut Random) {
    match kind {
        Kind::Stay | Kind::Obey => {}
        Kind::Close => {
            let close = masked(Opcode::Close, &[0x03, 0xE8]);
            write_chopped(&mut stream, &close, random);
        }
        Kind::Break => {
            let bad: [&[u8]; 5] = [
                &[0xC1, 0x80, 1, 2, 3, 4],                      // RSV1
                &[0x81, 0x01, b'a'],                            // not masked
                &[0x81, 0x82, 0, 0, 0, 0, 0xC3, 0x28],          // not UTF-8
                &[0x83, 0x80, 1, 2, 3, 4],                      // an unknown opcode
                &[0x82, 0xFF, 0, 0, 0, 0x10, 0, 0, 0, 0, 1, 1], // 64 GiB
            ];
            let _ = stream.write_all(bad[random.below(bad.len())]);
        }
        Kind::Reset => {
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            let _ = stream.shutdown(Shutdown::Both); // the reader lets go too
        }
        Kind::HalfClose => {
            let _ = stream.shutdown(Shutdown::Write);
        }
        Kind::Vanish => {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// One server, from start to stop.
struct Round {
    seed: u64,
    queue_limit: usize,
    said: Arc<Mutex<Said>>,
    connections: Connections,
}

impl Round {
    fn new(seed: u64, queue_limit: usize) -> Self {
        Self { seed, queue_limit, said: Arc::default(), connections: Arc::default() }
    }

    /// A client's own source of random numbers.
    fn random(&self, client: u32) -> Random {
        Random(self.seed * 77_777 + u64::from(client))
    }

    fn is_roomy(&self) -> bool {
        self.queue_limit >= 1 << 20
    }

    fn run(self) {
        let server = self.serve();
        let senders: Vec<_> = (0..SENDERS)
            .map(|number| {
                let handle = server.handle.clone();
                let sender = Sender::new(number, self.seed, handle, Arc::clone(&self.said));
                let connections = Arc::clone(&self.connections);
                std::thread::spawn(move || sender.run(&connections))
            })
            .collect();
        let talkers: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (client, random) = (server.connect(number), self.random(number));
                std::thread::spawn(move || talk(client, number, random))
            })
            .collect();
        for sender in senders {
            sender.join().unwrap();
        }
        let talkers: Vec<_> = talkers.into_iter().map(|talker| talker.join().unwrap()).collect();
        self.wait_for_those_that_leave(&server, &talkers);
        let handle = server.handle.clone();
        let seen = server.stop(PATIENCE);
        let heard: Vec<_> =
            talkers.into_iter().map(|talker| self.check_client(talker, &seen)).collect();
        self.check_events(&seen);
        assert!(!handle.is_running(), "{self}");
        let counters = handle.counters();
        assert_eq!(counters.connections, 0, "{self}");
        assert_eq!(counters.connections_total, u64::from(CLIENTS), "{self}");
        let messages = seen.iter().filter(|seen| matches!(seen, Seen::Text(..))).count();
        assert_eq!(counters.messages_received, messages as u64, "{self}");
        let heard = heard.iter().sum();
        assert!(counters.messages_sent >= heard, "{self}: {} of {heard}", counters.messages_sent);
    }

    /// A server whose handler does random things too.
    fn serve(&self) -> Server {
        let config = Config {
            send_queue_limit: self.queue_limit,
            close_timeout: Duration::from_secs(1),
            ..Config::default()
        };
        let connections = Arc::clone(&self.connections);
        let (said, seed) = (Arc::clone(&self.said), self.seed);
        let mut sender = None;
        Server::reacting(config, move |seen, connection, handle| {
            let sender = sender.get_or_insert_with(|| {
                Sender::new(HANDLER, seed, handle.clone(), Arc::clone(&said))
            });
            match seen {
                Seen::Established(client) => {
                    connections.lock().unwrap().push((*client, connection.clone()));
                    sender.act(*client, connection);
                }
                Seen::Text(client, _) => {
                    sender.act(*client, connection);
                    *said.lock().unwrap().come.entry(*client).or_default() += 1;
                }
                Seen::Binary(..) => panic!("clients send text only"),
                Seen::Answer(_) => panic!("nothing is deferred"),
                Seen::CloseMessage(client, ..) | Seen::Drained(client) => {
                    sender.send(*client, connection);
                }
                Seen::Closed(client, _) => {
                    assert!(!connection.is_open());
                    connections.lock().unwrap().retain(|(number, _)| number != client);
                    sender.broadcast(None);
                }
            }
        })
    }

    /// Waits until those are gone that do not wait for the stop, and the others are read.
    fn wait_for_those_that_leave(&self, server: &Server, talkers: &[Talker]) {
        let deadline = Instant::now() + PATIENCE;
        let is_left = |talker: &Talker| {
            let connections = self.connections.lock().unwrap();
            let is_there = connections.iter().any(|(number, _)| *number == talker.number);
            drop(connections);
            let said = self.said.lock().unwrap();
            match Kind::of(talker.number) {
                Kind::Stay => is_there && said.come.get(&talker.number) != Some(&talker.messages),
                Kind::Obey => false,
                Kind::Close | Kind::Reset | Kind::HalfClose | Kind::Break | Kind::Vanish => {
                    is_there
                }
            }
        };
        while talkers.iter().any(is_left) {
            assert!(server.handle.is_running() && Instant::now() < deadline, "{self}: not gone");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Checks what one client heard, and returns how many messages that were.
    fn check_client(&self, talker: Talker, seen: &[Seen]) -> u64 {
        let Talker { number, messages, pings, reader } = talker;
        let kind = Kind::of(number);
        let what = format!("{self}, client {number} ({kind:?})");
        let heard = reader.join().unwrap();
        let mut close = None;
        let mut pongs = 0;
        let mut numbers: HashMap<u32, Vec<u64>> = HashMap::new();
        let mut count = 0;
        for (first, payload) in &heard.frames {
            assert_eq!(close, None, "{what}: nothing comes behind the CLOSE");
            match first {
                0x88 => close = Some(u16::from_be_bytes([payload[0], payload[1]])),
                0x8A => {
                    pongs += 1;
                    assert_eq!(payload, pongs.to_string().as_bytes(), "{what}");
                }
                0x89 if payload.is_empty() => {}
                0x81 | 0x82 | 0x89 => {
                    let (sender, message) = parse(payload).expect(&what);
                    numbers.entry(sender).or_default().push(message);
                    count += u64::from(*first != 0x89); // PINGs are no messages
                }
                other => panic!("{what}: a frame that begins with {other:#x}"),
            }
        }
        for (sender, numbers) in &numbers {
            let in_order = numbers.windows(2).all(|pair| pair[0] < pair[1]);
            assert!(in_order, "{what}: the order of sender {sender}: {numbers:?}");
        }
        if self.is_roomy() {
            match kind {
                Kind::Stay => {
                    assert_eq!(close, Some(GOING_AWAY), "{what}");
                    assert!(heard.ended_well, "{what}");
                    assert_eq!(pongs, pings, "{what}");
                    let texts =
                        seen.iter().filter(|s| matches!(s, Seen::Text(n, _) if *n == number));
                    assert_eq!(texts.count() as u64, messages, "{what}");
                }
                Kind::Obey | Kind::Close | Kind::Break => assert!(close.is_some(), "{what}"),
                Kind::Reset | Kind::HalfClose | Kind::Vanish => {}
            }
        } else if self.said.lock().unwrap().dropped.contains(&number) && kind == Kind::Stay {
            assert_ne!(close, Some(GOING_AWAY), "{what}: a message was dropped");
        }
        if kind == Kind::Stay && close == Some(GOING_AWAY) {
            self.check_nothing_is_lost(&what, number, &numbers);
        }
        count
    }

    /// Every message to this client alone, and every broadcast since its first one, has come.
    fn check_nothing_is_lost(&self, what: &str, client: u32, heard: &HashMap<u32, Vec<u64>>) {
        let said = self.said.lock().unwrap();
        for sender in 0..=HANDLER {
            let heard = heard.get(&sender).map_or(&[][..], Vec::as_slice);
            let accepted = said.accepted.get(&(client, sender)).map_or(&[][..], Vec::as_slice);
            for number in accepted {
                let came = heard.binary_search(number).is_ok();
                assert!(came, "{what}: message {number} of sender {sender} is lost");
            }
            let broadcasts = said.broadcasts.get(&sender).map_or(&[][..], Vec::as_slice);
            let came = |number: &u64| heard.binary_search(number).is_ok();
            let first = broadcasts.iter().position(|(number, _)| came(number));
            // The last ones of the handler may be behind the stop.
            let last = match sender {
                HANDLER => broadcasts.iter().rposition(|(number, _)| came(number)).unwrap_or(0),
                _ => broadcasts.len().saturating_sub(1),
            };
            for (number, spared) in broadcasts.iter().take(last + 1).skip(first.unwrap_or(last + 1))
            {
                let wanted = *spared != Some(client);
                assert_eq!(came(number), wanted, "{what}: broadcast {number} of sender {sender}");
            }
        }
    }

    /// Each connection's events are in order.
    fn check_events(&self, seen: &[Seen]) {
        let mut by_client: HashMap<u32, Vec<&Seen>> = HashMap::new();
        for seen in seen {
            let (Seen::Established(client)
            | Seen::Text(client, _)
            | Seen::Binary(client, _)
            | Seen::CloseMessage(client, ..)
            | Seen::Answer(client)
            | Seen::Drained(client)
            | Seen::Closed(client, _)) = seen;
            let events: &mut Vec<&Seen> = by_client.entry(*client).or_default();
            if let Seen::Drained(_) = seen {
                let is_between =
                    events.last().is_some_and(|last| !matches!(last, Seen::Closed(..)));
                assert!(is_between, "{self}, client {client}: a drain out of place");
            } else {
                events.push(seen);
            }
        }
        assert_eq!(by_client.len(), CLIENTS as usize, "{self}");
        for (client, events) in by_client {
            let what = format!("{self}, client {client}");
            let (first, rest) = events.split_first().unwrap();
            let (last, between) = rest.split_last().expect(&what);
            assert!(matches!(first, Seen::Established(_)), "{what}: {first:?} is first");
            assert!(matches!(last, Seen::Closed(..)), "{what}: {last:?} is last");
            for (index, event) in between.iter().enumerate() {
                match event {
                    Seen::Text(_, text) => {
                        let number = text.split(' ').next().unwrap();
                        assert_eq!(number, (index + 1).to_string(), "{what}");
                    }
                    Seen::CloseMessage(..) => {
                        assert_eq!(index, between.len() - 1, "{what}: CLOSE is the last word");
                    }
                    Seen::Established(_)
                    | Seen::Binary(..)
                    | Seen::Answer(_)
                    | Seen::Drained(_)
                    | Seen::Closed(..) => {
                        panic!("{what}: {event:?} between the first and the last event")
                    }
                }
            }
        }
    }
}

impl std::fmt::Display for Round {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "seed {}", self.seed)
    }
}

/// Sender and number of a message that is whole.
fn parse(payload: &[u8]) -> Option<(u32, u64)> {
    let mut words = std::str::from_utf8(payload).ok()?.splitn(4, ' ');
    let sender = words.next()?.parse().ok()?;
    let number = words.next()?.parse().ok()?;
    let size: usize = words.next()?.parse().ok()?;
    let rest = words.next()?;
    (rest.len() == size && rest.bytes().all(|byte| byte == b'x')).then_some((sender, number))
}
