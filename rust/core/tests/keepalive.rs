//! Deadlines over real sockets: who is closed for keeping silent, and who is not.
//!
//! Peers take their own time here by sleeping; nothing is waited for that way.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failure is what a test is for")]

#[expect(dead_code, reason = "a part of it is for the other tests")]
mod support;

use std::io::{ErrorKind, Read};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use handy_ws_core::manager::{CloseCause, Compress, Config};
use handy_ws_core::proto::{CloseCode, CloseFrame, Limits, Opcode};

use support::{Client, PATIENCE, Seen, Server, end, masked, wait_until};

const fn millis(time: u64) -> Duration {
    Duration::from_millis(time)
}

/// PINGs in a quick succession, and a timeout that a test may take to be longer than any delay of
/// its own threads.
fn pinging(interval: u64) -> Config {
    Config {
        ping_interval: Some(millis(interval)),
        ping_timeout: Some(millis(1500)),
        ..Config::default()
    }
}

fn roomy(config: Config) -> Config {
    let limits = Limits { max_message_size: 64 << 20, ..Limits::default() };
    Config { limits, send_queue_limit: 256 << 20, ..config }
}

impl Client {
    /// The next frame, which is a PING: its payload.
    fn read_ping(&mut self) -> Vec<u8> {
        let (first, payload) = self.read_frame();
        assert_eq!(first, 0x89, "a PING");
        payload
    }

    /// Answers PINGs until something else comes.
    fn answer_pings(&mut self) -> (u8, Vec<u8>) {
        loop {
            match self.read_frame() {
                (0x89, token) => self.send(Opcode::Pong, &token),
                frame => return frame,
            }
        }
    }
}

// PINGs.

#[test]
fn a_ping_has_eight_bytes_and_no_two_are_alike() {
    let server = Server::new(pinging(40));
    let mut client = server.connect(1);
    let mut tokens: Vec<_> = (0..5)
        .map(|_| {
            let token = client.read_ping();
            client.send(Opcode::Pong, &token);
            token
        })
        .collect();
    assert!(tokens.iter().all(|token| token.len() == 8));
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), 5);
}

#[test]
fn without_an_interval_there_are_no_pings() {
    let server = Server::new(Config { ping_interval: None, ..pinging(40) });
    let (client, _) = server.established(1);
    client.stream.set_read_timeout(Some(millis(300))).unwrap();
    let read = (&client.stream).read(&mut [0; 100]);
    let kind = read.expect_err("nothing may come in that time").kind();
    assert!(matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{kind:?}");
}

#[test]
fn the_first_pings_of_a_thousand_connections_do_not_come_in_one_bunch() {
    let server = Server::new(pinging(3000));
    let clients: Vec<Client> = (0..1000).map(|number| server.connect(number)).collect();
    let mut times = Vec::new();
    let mut waiting: Vec<&Client> = clients.iter().collect();
    for client in &waiting {
        client.stream.set_nonblocking(true).unwrap();
    }
    let deadline = Instant::now() + PATIENCE;
    while !waiting.is_empty() {
        assert!(Instant::now() < deadline, "{} have got no PING", waiting.len());
        waiting.retain(|client| {
            let silent = (&client.stream).read(&mut [0; 100]).is_err();
            if !silent {
                times.push(Instant::now());
            }
            silent
        });
        thread::sleep(millis(5)); // between two rounds, to leave the processor to others
    }
    let tenth = |tenth: usize| times[tenth * 100].duration_since(times[0]);
    let spread: Vec<Duration> = (1..10).map(tenth).collect();
    assert!(spread[8] > millis(500), "{spread:?}");
}

#[test]
fn between_pings_nothing_happens() {
    let server = Server::new(pinging(100));
    let (mut client, connection) = server.established(1);
    let before = server.turns.load(Ordering::Relaxed);
    for _ in 0..10 {
        let token = client.read_ping();
        client.send(Opcode::Pong, &token);
    }
    wait_until(|| connection.latency().is_some());
    let turns = server.turns.load(Ordering::Relaxed) - before;
    assert!(turns <= 40, "{turns} turns for ten PINGs and ten PONGs");
}

// Latency.

#[test]
fn the_latency_is_the_time_that_a_pong_takes() {
    let server = Server::new(pinging(600));
    let (mut client, connection) = server.established(1);
    let start = Instant::now();
    assert_eq!(connection.latency(), None);
    let token = client.read_ping();
    thread::sleep(millis(50));
    client.send(Opcode::Pong, &token);
    wait_until(|| connection.latency().is_some());
    let latency = connection.latency().unwrap();
    assert!(latency >= millis(50) && latency < start.elapsed(), "{latency:?}");
    // A prompt answer brings it down again.
    for _ in 0..10 {
        let token = client.read_ping();
        client.send(Opcode::Pong, &token);
        if connection.latency().unwrap() < millis(50) {
            return;
        }
    }
    panic!("it stays at {:?}", connection.latency());
}

#[test]
fn pongs_that_answer_no_keepalive_ping_measure_nothing() {
    let server = Server::new(pinging(100));
    let (mut client, connection) = server.established(1);
    client.send(Opcode::Pong, b"unasked.");
    connection.ping(b"12345678").unwrap();
    assert_eq!(client.read_ping(), b"12345678");
    client.send(Opcode::Pong, b"12345678");
    let first = client.read_ping();
    let second = client.read_ping();
    assert_ne!(first, second);
    client.send(Opcode::Pong, &first); // too late
    client.send(Opcode::Text, b"over");
    assert_eq!(server.next(), Seen::Text(1, "over".into()));
    assert_eq!(connection.latency(), None);
    assert!(connection.is_open());
}

// Life.

#[test]
fn a_peer_that_ignores_pings_is_closed_in_time() {
    let (interval, timeout) = (millis(200), millis(300));
    let ping_timeout = Some(timeout);
    let server = Server::new(Config { ping_timeout, ..pinging(200) });
    let start = Instant::now();
    let (mut client, _) = server.established(1);
    assert_eq!(server.closed(1), end(CloseCode::ABNORMAL, "", CloseCause::PingTimeout));
    let time = start.elapsed();
    assert!(time >= interval / 2 + timeout, "{time:?}");
    assert!(time < interval + timeout + millis(2000), "{time:?}");
    for _ in 0..10 {
        if client.try_read_frame().is_err() {
            return; // it was let go, without a CLOSE
        }
    }
    panic!("the socket is still there");
}

#[test]
fn a_peer_that_answers_lives_even_if_every_answer_is_late() {
    // Longer than the interval: several PINGs are on their way at once.
    let ping_timeout = Some(millis(1200));
    let server = Server::new(Config { ping_timeout, ..pinging(100) });
    let (mut client, connection) = server.established(1);
    let start = Instant::now();
    while start.elapsed() < millis(2000) {
        let tokens: Vec<_> = (0..4).map(|_| client.read_ping()).collect();
        client.send(Opcode::Pong, &tokens[0]);
    }
    assert!(connection.is_open());
}

#[test]
fn any_byte_is_a_sign_of_life() {
    let server = Server::new(pinging(100));
    let (mut client, connection) = server.established(1);
    let frame = masked(Opcode::Text, &[b'x'; 100]);
    let start = Instant::now();
    for byte in frame {
        if start.elapsed() > millis(2200) {
            break;
        }
        client.read_ping();
        client.write(&[byte]); // never a whole frame
    }
    assert!(start.elapsed() > millis(2200), "longer than the timeout");
    assert!(connection.is_open());
}

#[test]
fn without_a_timeout_a_silent_peer_stays() {
    let server = Server::new(Config { ping_timeout: None, ..pinging(20) });
    let (mut client, connection) = server.established(1);
    for _ in 0..20 {
        client.read_ping();
    }
    assert!(connection.is_open());
}

#[test]
fn a_slow_reader_that_gets_on_is_not_closed() {
    let config = Config { write_timeout: Some(millis(1200)), ..pinging(300) };
    let server = Server::new(roomy(Config { ping_timeout: Some(millis(1200)), ..config }));
    let (client, connection) = server.established(1);
    connection.send_binary(&vec![1; 32 << 20], Compress::Never).unwrap();
    let start = Instant::now();
    let mut room = vec![0; 64 << 10];
    while start.elapsed() < millis(3500) {
        (&client.stream).read_exact(&mut room).unwrap();
        thread::sleep(millis(50));
    }
    assert!(connection.buffered_bytes() > 0, "the socket was full all the time");
    assert!(connection.is_open());
}

#[test]
fn a_peer_that_takes_nothing_is_closed_after_the_write_timeout() {
    let write_timeout = millis(400);
    let config = Config { write_timeout: Some(write_timeout), ..Config::default() };
    let server = Server::new(roomy(config));
    let (_client, connection) = server.established(1);
    let start = Instant::now();
    connection.send_binary(&vec![1; 32 << 20], Compress::Never).unwrap();
    assert_eq!(server.closed(1), end(CloseCode::ABNORMAL, "", CloseCause::SlowConsumer));
    assert!(start.elapsed() >= write_timeout);
    assert!(!connection.is_open());
}

#[test]
fn a_peer_with_nothing_to_take_does_not_stall() {
    let config = Config { write_timeout: Some(millis(200)), ..Config::default() };
    let server = Server::new(roomy(config));
    let (mut client, connection) = server.established(1);
    connection.send_binary(&vec![1; 8 << 20], Compress::Never).unwrap();
    assert_eq!(client.read_frame().1.len(), 8 << 20);
    wait_until(|| connection.buffered_bytes() == 0);
    thread::sleep(millis(500)); // it waits for nothing: nothing may happen
    assert!(connection.is_open());
}

// Closing.

#[test]
fn a_callback_that_blocks_takes_no_time_off_the_closing_handshake() {
    let config = Config { close_timeout: millis(800), ..Config::default() };
    let server = Server::reacting(config, |seen, connection, _| {
        if let Seen::CloseMessage(..) = seen {
            thread::sleep(millis(1500));
            connection.send_text("bye", Compress::Never).unwrap();
        }
    });
    let mut client = server.connect(1);
    client.send(Opcode::Close, &1000_u16.to_be_bytes());
    client.expect_text("bye");
    client.expect_close(1000);
    client.expect_end();
    assert_eq!(server.closed(1), end(CloseCode::NORMAL, "", CloseCause::Peer));
}

#[test]
fn a_closing_connection_gets_no_ping() {
    let server = Server::new(pinging(100));
    let (mut client, connection) = server.established(1);
    connection.close(CloseFrame::default(), CloseCause::Local);
    while client.read_frame().0 != 0x88 {}
    client.stream.set_read_timeout(Some(millis(400))).unwrap();
    assert!(client.try_read_frame().is_err(), "nothing may come in that time");
}

#[test]
fn a_peer_without_messages_is_closed_after_the_idle_timeout() {
    let idle_timeout = Some(millis(500));
    let server = Server::new(Config { idle_timeout, ..pinging(100) });
    let start = Instant::now();
    let (mut client, _) = server.established(1);
    let (first, payload) = client.answer_pings();
    assert!(start.elapsed() >= millis(500));
    assert_eq!((first, &payload[..]), (0x88, &b"\x03\xe8idle"[..]));
    client.send(Opcode::Close, &1000_u16.to_be_bytes());
    client.expect_end();
    assert_eq!(server.closed(1), end(CloseCode::NORMAL, "idle", CloseCause::IdleTimeout));
}

#[test]
fn every_message_puts_the_idle_timeout_off() {
    let idle_timeout = Some(millis(1500));
    let server = Server::new(Config { idle_timeout, ..pinging(100) });
    let (mut client, connection) = server.established(1);
    let start = Instant::now();
    while start.elapsed() < millis(2200) {
        client.read_ping();
        client.send(Opcode::Binary, b"busy");
    }
    assert!(connection.is_open());
}

// Blocked handlers.

#[test]
fn while_a_handler_blocks_pings_go_on_and_nobody_is_closed() {
    let config = Config { ping_timeout: Some(millis(1200)), ..pinging(200) };
    let server = Server::reacting(config, |seen, _, _| {
        if let Seen::Text(..) = seen {
            thread::sleep(millis(2500));
        }
    });
    let (mut blocker, _) = server.established(1);
    let (mut other, connection) = server.established(2);
    blocker.send(Opcode::Text, b"block");
    let start = Instant::now();
    let mut pings = 0;
    while start.elapsed() < millis(2200) {
        for client in [&mut blocker, &mut other] {
            let token = client.read_ping();
            client.send(Opcode::Pong, &token);
            pings += 1;
        }
    }
    assert!(pings > 10, "{pings} PINGs");
    assert!(connection.latency().unwrap() < millis(2500));
    blocker.send(Opcode::Text, b"again");
    assert_eq!(server.next(), Seen::Text(1, "block".into()));
    assert_eq!(server.next(), Seen::Text(1, "again".into()));
}

#[test]
fn a_peer_that_we_do_not_read_is_not_blamed() {
    let timeout = Some(millis(800));
    let config = Config { ping_timeout: timeout, idle_timeout: timeout, ..pinging(100) };
    let server = Server::reacting(config, |seen, _, _| {
        if let Seen::Text(..) = seen {
            thread::sleep(millis(1800));
        }
    });
    let (mut client, connection) = server.established(1);
    client.send(Opcode::Text, b"block");
    // More than may wait: the socket is left alone until the handler returns.
    client.write(&masked(Opcode::Binary, &[7; 10_000]).repeat(100));
    assert_eq!(server.next(), Seen::Text(1, "block".into()));
    for _ in 0..100 {
        assert_eq!(server.next(), Seen::Binary(1, vec![7; 10_000]));
    }
    assert!(connection.is_open());
}
