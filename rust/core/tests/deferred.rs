//! Connections whose events are dealt with elsewhere, later than the handler returns. Here the test
//! is that elsewhere: it looks at an event when it likes, and then says what the loop waits for.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failure is what a test is for")]

#[expect(dead_code, reason = "a part of it is for the other tests")]
mod support;

use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use handy_ws_core::manager::{CloseCause, Closed, Compress, Config, Connection, Sent};
use handy_ws_core::proto::{CloseCode, CloseFrame, Opcode};

use support::{Client, PATIENCE, Seen, Server, end, masked, masked_with, wait_until};

const RESPONSE: &[u8] = b"101";

/// A server of which the handler only counts what waits.
struct Deferring {
    server: Server,
    connections: Receiver<Connection<u32>>,
}

impl Deferring {
    fn new(config: Config) -> Self {
        let (sender, connections) = mpsc::channel();
        let server = Server::reacting(config, move |seen, connection, _| match seen {
            Seen::Established(_) => sender.send(connection.clone()).unwrap(),
            Seen::Text(_, text) => connection.hold(text.len()),
            Seen::Binary(_, payload) => connection.hold(payload.len()),
            Seen::CloseMessage(..) | Seen::Answer(_) | Seen::Drained(_) | Seen::Closed(..) => {}
        });
        Self { server, connections }
    }

    /// A client that the handler knows, and that has not been greeted.
    fn connect(&self, number: u32, received: &[u8]) -> (Client, Connection<u32>) {
        let client = self.server.connect_deferred(number, RESPONSE, received);
        assert_eq!(self.server.next(), Seen::Established(number));
        (client, self.connections.recv_timeout(PATIENCE).unwrap())
    }

    /// One that has been greeted.
    fn greeted(&self, number: u32) -> (Client, Connection<u32>) {
        let (mut client, connection) = self.connect(number, b"");
        connection.greet();
        connection.greeted();
        expect_response(&mut client);
        (client, connection)
    }

    fn expect_text(&self, number: u32, connection: &Connection<u32>, text: &str) {
        assert_eq!(self.server.next(), Seen::Text(number, text.into()));
        connection.release(text.len());
    }

    /// Waits until the loop has dealt with all that was asked of it.
    fn settle(&self) {
        let (mut other, _) = self.server.established(99);
        self.connections.recv_timeout(PATIENCE).unwrap();
        other.send(Opcode::Close, &1000_u16.to_be_bytes());
        other.expect_close(1000);
        assert_eq!(self.server.closed(99).cause, CloseCause::Peer);
    }
}

fn expect_response(client: &mut Client) {
    let mut response = [0; RESPONSE.len()];
    client.stream.read_exact(&mut response).unwrap();
    assert_eq!(response, RESPONSE);
}

fn expect_nothing(client: &mut Client) {
    client.stream.set_nonblocking(true).unwrap();
    assert_eq!(client.try_read_frame().unwrap_err().kind(), ErrorKind::WouldBlock);
    client.stream.set_nonblocking(false).unwrap();
}

fn say(connection: &Connection<u32>, text: &str) {
    assert_eq!(connection.send_text(text, Compress::Never), Ok(Sent::Queued));
}

fn close_frame() -> CloseFrame {
    CloseFrame::new(CloseCode::NORMAL, "done").unwrap()
}

#[test]
fn the_greeting_comes_first_whenever_it_is_said() {
    let deferring = Deferring::new(Config::default());
    let (mut client, connection) = deferring.connect(1, &masked(Opcode::Text, b"early"));
    deferring.expect_text(1, &connection, "early");
    let broadcast =
        |text: &str| deferring.server.handle.broadcast_text(text, None, Compress::Never);
    broadcast("before");
    deferring.settle();
    expect_nothing(&mut client);
    connection.greet();
    say(&connection, "hello");
    broadcast("news");
    deferring.settle();
    expect_nothing(&mut client);
    connection.greeted();
    expect_response(&mut client);
    client.expect_text("hello");
    client.expect_text("news");
}

#[test]
fn what_is_sent_before_the_greeting_is_not_lost() {
    let deferring = Deferring::new(Config::default());
    let (mut client, connection) = deferring.connect(1, b"");
    say(&connection, "from somebody who knows it already");
    connection.greet();
    say(&connection, "hello");
    connection.greeted();
    expect_response(&mut client);
    client.expect_text("from somebody who knows it already");
    client.expect_text("hello");
}

#[test]
fn the_answering_close_waits_for_the_replies() {
    let deferring = Deferring::new(Config::default());
    let (mut client, connection) = deferring.greeted(1);
    let close = masked(Opcode::Close, b"\x0f\xa1bye");
    client.write(&[masked(Opcode::Text, b"question"), close].concat());
    deferring.expect_text(1, &connection, "question");
    assert_eq!(deferring.server.next(), Seen::CloseMessage(1, 4001, "bye".into()));
    assert_eq!(deferring.server.next(), Seen::Answer(1));
    deferring.settle();
    assert!(connection.is_open());
    say(&connection, "answer");
    connection.answer();
    assert_eq!(connection.send_text("late", Compress::Never), Err(Closed));
    client.expect_text("answer");
    assert_eq!(client.expect_close(4001), "bye");
    client.expect_end();
    let code = CloseCode::new(4001).unwrap();
    assert_eq!(deferring.server.next(), Seen::Closed(1, end(code, "bye", CloseCause::Peer)));
    assert!(connection.delivers(), "only this side's close ends that");
}

#[test]
fn a_protocol_errors_close_waits_for_the_replies() {
    let deferring = Deferring::new(Config::default());
    let (mut client, connection) = deferring.greeted(1);
    let error = masked_with(0x83, b""); // an opcode that there is not
    client.write(&[masked(Opcode::Text, b"question"), error].concat());
    deferring.expect_text(1, &connection, "question");
    assert_eq!(deferring.server.next(), Seen::Answer(1));
    deferring.settle();
    say(&connection, "answer");
    connection.answer();
    client.expect_text("answer");
    client.expect_close(1002);
    drop(client);
    assert_eq!(deferring.server.closed(1).cause, CloseCause::ProtocolError);
}

#[test]
fn the_close_of_who_sends_too_fast_waits_for_the_replies() {
    let deferring = Deferring::new(Config { max_message_rate: Some(1.0), ..Config::default() });
    let (mut client, connection) = deferring.greeted(1);
    client.write(&[masked(Opcode::Text, b"one"), masked(Opcode::Text, b"two")].concat());
    deferring.expect_text(1, &connection, "one");
    assert_eq!(deferring.server.next(), Seen::Answer(1));
    say(&connection, "answer");
    connection.answer();
    client.expect_text("answer");
    client.expect_close(1008);
    drop(client);
    assert_eq!(deferring.server.closed(1).cause, CloseCause::ProtocolError);
}

#[test]
fn a_close_from_this_side_needs_no_answer_and_delivers_nothing_more() {
    let deferring = Deferring::new(Config::default());
    let (mut client, connection) = deferring.greeted(1);
    assert!(connection.delivers());
    connection.close(close_frame(), CloseCause::Local);
    assert!(!connection.delivers());
    client.expect_close(1000);
    client.send(Opcode::Close, &1000_u16.to_be_bytes());
    client.expect_end();
    assert!(matches!(deferring.server.next(), Seen::CloseMessage(1, 1000, _)));
    assert!(matches!(deferring.server.next(), Seen::Closed(1, _)), "no Answer before it");
}

#[test]
fn a_close_behind_the_peers_still_gets_the_answer() {
    let deferring = Deferring::new(Config::default());
    let (mut client, connection) = deferring.greeted(1);
    client.send(Opcode::Close, b"\x0f\xa1bye");
    assert!(matches!(deferring.server.next(), Seen::CloseMessage(..)));
    assert_eq!(deferring.server.next(), Seen::Answer(1));
    connection.close(close_frame(), CloseCause::Local);
    assert!(!connection.delivers());
    connection.answer();
    assert_eq!(client.expect_close(4001), "bye");
    assert_eq!(deferring.server.closed(1).cause, CloseCause::Peer);
}

#[test]
fn who_leaves_before_the_greeting_still_hears_the_answer() {
    let deferring = Deferring::new(Config::default());
    let received = [masked(Opcode::Text, b"question"), masked(Opcode::Close, b"\x03\xe8")].concat();
    let (mut client, connection) = deferring.connect(1, &received);
    client.shutdown();
    deferring.expect_text(1, &connection, "question");
    assert!(matches!(deferring.server.next(), Seen::CloseMessage(1, 1000, _)));
    assert_eq!(deferring.server.next(), Seen::Answer(1));
    deferring.settle(); // by now the FIN has been read
    connection.greet();
    connection.greeted();
    say(&connection, "answer");
    connection.answer();
    expect_response(&mut client);
    client.expect_text("answer");
    client.expect_close(1000);
    client.expect_end();
    assert!(matches!(deferring.server.next(), Seen::Closed(1, _)));
}

#[test]
fn who_is_reset_before_the_greeting_is_closed_and_its_messages_count() {
    let deferring = Deferring::new(Config::default());
    let (client, connection) = deferring.connect(1, &masked(Opcode::Text, b"last words"));
    client.reset();
    deferring.expect_text(1, &connection, "last words");
    assert_eq!(deferring.server.closed(1).cause, CloseCause::NetworkError);
    assert!(!connection.is_open());
    assert!(connection.delivers());
    for late in [Connection::greet, Connection::greeted, Connection::answer] {
        late(&connection);
    }
    deferring.settle();
}

#[test]
fn a_stop_does_not_wait_for_who_says_nothing_and_later_words_do_no_harm() {
    let deferring = Deferring::new(Config::default());
    let (mut ungreeted, first) = deferring.connect(1, b"");
    let (mut unanswered, second) = deferring.greeted(2);
    unanswered.send(Opcode::Close, &1000_u16.to_be_bytes());
    assert!(matches!(deferring.server.next(), Seen::CloseMessage(2, ..)));
    assert_eq!(deferring.server.next(), Seen::Answer(2));
    let seen = deferring.server.stop(Duration::from_millis(50));
    assert_eq!(seen.len(), 2, "two are closed: {seen:?}");
    ungreeted.expect_end();
    unanswered.expect_end();
    for connection in [first, second] {
        assert!(!connection.delivers());
        connection.hold(10);
        for late in [Connection::greet, Connection::greeted, Connection::answer, Connection::wake] {
            late(&connection);
        }
        connection.release(10);
    }
}

/// Writes until the server takes no more; returns how many bytes it has taken.
fn write_until_stuck(client: &Client, bytes: &[u8]) -> usize {
    let mut stream = &client.stream;
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut sent = 0;
    while sent < bytes.len() {
        match stream.write(&bytes[sent..]) {
            Ok(count) => sent += count,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                break;
            }
        }
    }
    stream.set_write_timeout(None).unwrap();
    sent
}

#[test]
fn what_is_kept_is_bounded_and_nothing_is_lost() {
    const MESSAGES: usize = 10_000;
    let deferring = Deferring::new(Config { receive_queue_limit: 10_000, ..Config::default() });
    let server = &deferring.server;
    let (mut other, _) = deferring.greeted(2);
    let (flood, connection) = deferring.greeted(1);
    let texts: Vec<String> = (0..MESSAGES).map(|number| format!("{number:>1000}")).collect();
    let frames: Vec<_> = texts.iter().map(|text| masked(Opcode::Text, text.as_bytes())).collect();
    let mut bytes = frames.concat();
    let sent = write_until_stuck(&flood, &bytes);
    assert!(sent < bytes.len(), "the server has taken everything");
    // What is over the bound in one read counts, and what the kernel has taken does not.
    let received = server.handle.counters().messages_received;
    assert!(received <= 200, "{received} messages");
    other.send(Opcode::Ping, b"still here");
    assert_eq!(other.read_frame(), (0x8A, b"still here".to_vec()));
    let turns = server.turns.load(Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(50));
    assert!(server.turns.load(Ordering::Relaxed) - turns < 10, "it does not spin");

    let rest = bytes.split_off(sent);
    let mut stream = flood.stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || stream.write_all(&rest).unwrap());
    for text in &texts {
        deferring.expect_text(1, &connection, text);
    }
    writer.join().unwrap();
    wait_until(|| server.handle.counters().messages_received == MESSAGES as u64);
}
