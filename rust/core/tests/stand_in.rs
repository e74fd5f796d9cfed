//! What goes on while a handler blocks, and what waits for it.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failure is what a test is for")]

#[expect(dead_code, reason = "a part of it is for the other tests")]
mod support;

use std::io::{ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use handy_ws_core::manager::{CloseCause, Compress, Config, Connection, Handle, Sent};
use handy_ws_core::proto::{CloseCode, CloseFrame, Opcode};

use support::{Client, PATIENCE, Seen, Server, end, masked, wait_until};

/// A server whose handler blocks on the text "block" until the test lets it go on.
struct Blocking {
    /// Dropped first, and the handler goes on: a test that fails ends.
    go_on: Sender<()>,
    blocked: Receiver<()>,
    server: Server,
}

impl Blocking {
    fn new(config: Config) -> Self {
        Self::doing(config, |_, _, _| {})
    }

    /// One that also does something else, before it blocks.
    fn doing(
        config: Config,
        mut reaction: impl FnMut(&Seen, &Connection<u32>, &Handle<u32>) + Send + 'static,
    ) -> Self {
        let (blocks, blocked) = mpsc::channel();
        let (go_on, released) = mpsc::channel();
        let server = Server::reacting(config, move |seen, connection, handle| {
            reaction(seen, connection, handle);
            if matches!(seen, Seen::Text(_, text) if text == "block") {
                blocks.send(()).unwrap();
                let _ = released.recv();
            }
        });
        Self { go_on, blocked, server }
    }

    /// Has a client of its own block the handler. It is number 0, and stays connected.
    fn block(&self) -> Client {
        let (mut client, _) = self.server.established(0);
        client.send(Opcode::Text, b"block");
        self.blocked.recv_timeout(PATIENCE).unwrap();
        client
    }

    /// Lets the handler go on; it has seen "block" then, and whatever has waited.
    fn release(&self) {
        self.go_on.send(()).unwrap();
        assert_eq!(self.server.next(), Seen::Text(0, "block".into()));
    }
}

fn expect_pong(client: &mut Client, payload: &[u8]) {
    client.send(Opcode::Ping, payload);
    assert_eq!(client.read_frame(), (0x8A, payload.to_vec()));
}

#[test]
fn pings_sends_and_broadcasts_go_on_while_a_handler_blocks() {
    let blocking = Blocking::new(Config::default());
    let server = &blocking.server;
    let (mut one, connection) = server.established(1);
    let mut blocker = blocking.block();
    for round in 0..100_u8 {
        expect_pong(&mut one, &[round]);
        connection.send_text("to one", Compress::Never).unwrap();
        one.expect_text("to one");
        server.handle.broadcast_text("to all", None, Compress::Never);
        one.expect_text("to all");
        blocker.expect_text("to all");
    }
    expect_pong(&mut blocker, b"me too");
    wait_until(|| server.handle.counters().takeovers == 1);
    blocking.release();
}

#[test]
fn a_ping_is_answered_that_came_with_what_blocks_the_handler() {
    let blocking = Blocking::new(Config::default());
    let (mut one, _) = blocking.server.established(0);
    one.write(&[masked(Opcode::Ping, b"first"), masked(Opcode::Text, b"block")].concat());
    blocking.blocked.recv_timeout(PATIENCE).unwrap();
    assert_eq!(one.read_frame(), (0x8A, b"first".to_vec()));
    blocking.release();
}

#[test]
fn what_has_come_meanwhile_is_delivered_afterwards_once_and_in_order() {
    let blocking = Blocking::new(Config::default());
    let server = &blocking.server;
    let (mut one, _) = server.established(1);
    let _blocker = blocking.block();
    for number in 0..50 {
        one.send(Opcode::Text, format!("{number}").as_bytes());
        expect_pong(&mut one, b""); // so that each is read in a turn of its own
    }
    blocking.release();
    for number in 0..50 {
        assert_eq!(server.next(), Seen::Text(1, format!("{number}")));
    }
    one.close(1000);
    assert!(matches!(server.next(), Seen::CloseMessage(1, 1000, _)));
    assert!(matches!(server.next(), Seen::Closed(1, _)));
}

#[test]
fn a_handler_can_block_again_and_again() {
    let blocking = Blocking::new(Config::default());
    let (mut one, _) = blocking.server.established(1);
    let mut blocker = blocking.block();
    for round in 1..=20_u8 {
        expect_pong(&mut one, &[round]);
        blocking.release();
        blocker.send(Opcode::Text, b"block");
        blocking.blocked.recv_timeout(PATIENCE).unwrap();
    }
    blocking.release();
}

#[test]
fn what_the_handler_has_sent_goes_out_before_it_returns() {
    let blocking = Blocking::doing(Config::default(), |seen, connection, handle| {
        if let Seen::Text(0, _) = seen {
            connection.send_text("wait for me", Compress::Never).unwrap();
            handle.broadcast_text("all of you", None, Compress::Never);
        }
    });
    let (mut one, _) = blocking.server.established(1);
    let mut blocker = blocking.block();
    blocker.expect_text("wait for me");
    blocker.expect_text("all of you");
    one.expect_text("all of you");
    blocking.release();
}

#[test]
fn who_sends_too_much_meanwhile_is_not_read_any_more_and_loses_nothing() {
    const MESSAGES: usize = 10_000;
    let blocking = Blocking::new(Config { receive_queue_limit: 10_000, ..Config::default() });
    let server = &blocking.server;
    let (flood, _) = server.established(1);
    let (mut other, _) = server.established(2);
    let _blocker = blocking.block();
    let mut bytes = Vec::new();
    for number in 0..MESSAGES {
        bytes.extend(masked(Opcode::Binary, format!("{number:>1000}").as_bytes()));
    }
    let mut stream = flood.stream.try_clone().unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let (mut sent, mut stuck) = (0, false);
    while sent < bytes.len() && !stuck {
        match stream.write(&bytes[sent..]) {
            Ok(count) => sent += count,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                stuck = true;
            }
        }
    }
    assert!(stuck, "the server took {sent} bytes");
    // What is over the bound in one read counts, and what the kernel has taken does not.
    assert!(server.handle.counters().messages_received <= 200);
    expect_pong(&mut other, b"still here");
    blocking.release();
    stream.set_write_timeout(None).unwrap();
    let rest = bytes.split_off(sent);
    let writer = std::thread::spawn(move || stream.write_all(&rest).unwrap());
    for number in 0..MESSAGES {
        assert_eq!(server.next(), Seen::Binary(1, format!("{number:>1000}").into_bytes()));
    }
    writer.join().unwrap();
}

#[test]
fn a_handshake_is_answered_when_the_handler_can_greet() {
    let blocking = Blocking::doing(Config::default(), |seen, connection, _| {
        if let Seen::Established(1) = seen {
            connection.send_text("hello", Compress::Never).unwrap();
        }
    });
    let server = &blocking.server;
    let mut blocker = blocking.block();
    let mut one = server.connect_answering(1, b"101");
    server.handle.broadcast_text("before", None, Compress::Never);
    blocker.expect_text("before"); // it went to those who were there
    one.stream.set_nonblocking(true).unwrap();
    let error = one.try_read_frame().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    one.stream.set_nonblocking(false).unwrap();
    blocking.release();
    let mut response = [0; 3];
    std::io::Read::read_exact(&mut one.stream, &mut response).unwrap();
    assert_eq!(&response, b"101");
    one.expect_text("hello");
}

#[test]
fn a_handler_that_blocks_while_it_greets_still_speaks_first() {
    let (blocks, blocked) = mpsc::channel();
    let (go_on, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let server = Server::reacting(Config::default(), move |seen, connection, handle| {
        if let Seen::Established(1) = seen {
            connection.send_text("hello", Compress::Never).unwrap();
            handle.broadcast_text("somebody is new", None, Compress::Never);
            blocks.send(()).unwrap();
            let _ = released.lock().unwrap().recv();
        }
    });
    let (mut other, _) = server.established(0);
    let mut one = server.connect_answering(1, b"101");
    blocked.recv_timeout(PATIENCE).unwrap();
    other.expect_text("somebody is new");
    expect_pong(&mut other, b"");
    server.handle.broadcast_text("meanwhile", None, Compress::Never);
    other.expect_text("meanwhile");
    go_on.send(()).unwrap();
    let mut response = [0; 3];
    std::io::Read::read_exact(&mut one.stream, &mut response).unwrap();
    assert_eq!(&response, b"101");
    for text in ["hello", "somebody is new", "meanwhile"] {
        one.expect_text(text);
    }
}

#[test]
fn a_close_is_answered_behind_what_the_handler_still_says() {
    let blocking = Blocking::doing(Config::default(), |seen, connection, _| {
        if let Seen::CloseMessage(1, ..) = seen {
            connection.send_text("goodbye", Compress::Never).unwrap();
        }
    });
    let server = &blocking.server;
    let (mut one, _) = server.established(1);
    let _blocker = blocking.block();
    one.send(Opcode::Text, b"last");
    one.send(Opcode::Close, &1000_u16.to_be_bytes());
    wait_until(|| server.handle.counters().messages_received == 2);
    blocking.release();
    one.expect_text("goodbye");
    one.expect_close(1000);
    assert_eq!(server.next(), Seen::Text(1, "last".into()));
    assert!(matches!(server.next(), Seen::CloseMessage(1, 1000, _)));
    assert!(matches!(server.next(), Seen::Closed(1, _)));
}

#[test]
fn who_half_closes_meanwhile_still_gets_the_replies() {
    let blocking = Blocking::doing(Config::default(), |seen, connection, _| {
        if let Seen::Text(1, text) = seen {
            assert_eq!(connection.send_text(text, Compress::Never), Ok(Sent::Queued));
        }
    });
    let server = &blocking.server;
    let (mut one, _) = server.established(1);
    let _blocker = blocking.block();
    one.send(Opcode::Text, b"answer me");
    one.shutdown();
    wait_until(|| server.handle.counters().messages_received == 2);
    expect_no_end(&mut one);
    blocking.release();
    one.expect_text("answer me");
    one.expect_end();
    assert_eq!(server.closed(1).cause, CloseCause::NetworkError);
}

#[test]
fn who_has_half_closed_before_the_callback_blocks_still_gets_the_replies() {
    let (give, take) = mpsc::channel::<TcpStream>();
    let server = Server::reacting(Config::default(), move |seen, connection, _| match seen {
        // So that the message and the FIN are there together when the loop reads them.
        Seen::Text(0, _) => {
            let mut stream = take.recv().unwrap();
            stream.write_all(&masked(Opcode::Text, b"answer me")).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        }
        Seen::Text(1, text) => {
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!(connection.send_text(text, Compress::Never), Ok(Sent::Queued));
        }
        _ => {}
    });
    let (mut one, _) = server.established(1);
    let (mut other, _) = server.established(0);
    give.send(one.stream.try_clone().unwrap()).unwrap();
    other.send(Opcode::Text, b"begin");
    one.expect_text("answer me");
    one.expect_end();
    wait_until(|| server.handle.counters().takeovers == 1);
    assert_eq!(server.next(), Seen::Text(0, "begin".into()));
    assert_eq!(server.closed(1).cause, CloseCause::NetworkError);
}

/// The server has a little time, and does not use it to close the connection.
fn expect_no_end(client: &mut Client) {
    client.stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let error = client.try_read_frame().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    client.stream.set_read_timeout(Some(PATIENCE)).unwrap();
}

#[test]
fn who_leaves_meanwhile_is_closed_once_and_its_place_is_taken_in_order() {
    let blocking = Blocking::new(Config::default());
    let server = &blocking.server;
    let (one, connection) = server.established(1);
    let _blocker = blocking.block();
    one.reset();
    wait_until(|| !connection.is_open());
    let mut two = server.connect_with(2, &masked(Opcode::Text, b"me instead"));
    two.send(Opcode::Text, b"and more");
    wait_until(|| server.handle.counters().messages_received == 3);
    blocking.release();
    let lost = end(CloseCode::ABNORMAL, "", CloseCause::NetworkError);
    assert_eq!(server.next(), Seen::Closed(1, lost));
    assert_eq!(server.next(), Seen::Established(2));
    assert_eq!(server.next(), Seen::Text(2, "me instead".into()));
    assert_eq!(server.next(), Seen::Text(2, "and more".into()));
}

#[test]
fn close_and_stop_do_their_work_meanwhile() {
    let blocking = Blocking::new(Config::default());
    let server = &blocking.server;
    let (mut one, connection) = server.established(1);
    let (mut two, _) = server.established(2);
    let mut blocker = blocking.block();
    let frame = CloseFrame::new(CloseCode::NORMAL, "done").unwrap();
    connection.close(frame, CloseCause::Local);
    assert_eq!(one.expect_close(1000), "done");
    one.send(Opcode::Close, &1000_u16.to_be_bytes());
    one.expect_end();
    server.handle.shut_down(PATIENCE);
    for client in [&mut two, &mut blocker] {
        assert_eq!(client.expect_close(1001), "server stop");
        client.send(Opcode::Close, &1001_u16.to_be_bytes());
        client.expect_end();
    }
    server.handle.finish();
    blocking.release();
    assert_eq!(server.closed(1).cause, CloseCause::Local);
}

#[test]
fn a_stop_cuts_off_who_does_not_answer_while_the_handler_blocks() {
    let blocking = Blocking::new(Config::default());
    let server = &blocking.server;
    let (mut one, _) = server.established(1);
    let _blocker = blocking.block();
    server.handle.shut_down(Duration::from_millis(50));
    assert_eq!(one.expect_close(1001), "server stop");
    one.expect_end();
    blocking.release();
    assert_eq!(server.closed(1).cause, CloseCause::ServerStop);
}

#[test]
fn nothing_spins_between_the_end_of_a_stop_and_that_of_the_handler() {
    const PUSHES: u64 = 100;
    let blocking = Blocking::new(Config::default());
    let server = &blocking.server;
    let _blocker = blocking.block();
    server.handle.shut_down(Duration::ZERO);
    wait_until(|| server.handle.counters().connections == 0);
    let turns = || server.handle.counters().turns;
    let before = turns();
    for _ in 0..PUSHES {
        let last = turns();
        server.handle.broadcast_text("", None, Compress::Never);
        wait_until(|| turns() > last);
    }
    assert!(turns() <= before + 2 * PUSHES);
    blocking.release();
}

#[test]
fn a_handler_that_is_quick_is_left_alone() {
    let server = Server::echo(Config::default());
    let (mut client, _) = server.established(1);
    for _ in 0..2000 {
        client.send(Opcode::Text, b"quick");
        client.expect_text("quick");
    }
    // A machine that stands still now and then makes any handler slow.
    let counters = server.handle.counters();
    assert!(counters.takeovers * 100 < counters.messages_received);
}
