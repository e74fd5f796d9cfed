//! Who is admitted, how long a connection counts, and how fast one may send; over real sockets.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failure is what a test is for")]

#[expect(dead_code, reason = "a part of it is for the other tests")]
mod support;

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::time::Duration;

use handy_ws_core::manager::{
    Adoption, CloseCause, Compress, Config, Handle, Manager, NotRunning, Permit, Refusals, Refused,
};
use handy_ws_core::proto::{CloseCode, CloseFrame, Opcode};

use support::{PATIENCE, Seen, Server, end, masked, wait_until};

const ADDRESS: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
const RESPONSE: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";

fn one_at_a_time() -> Config {
    Config { max_connections: Some(1), ..Config::default() }
}

fn adoption(stream: TcpStream, permit: Permit) -> Adoption<u32> {
    Adoption { permit: Some(permit), ..Adoption::new(stream, 1) }
}

/// Waits until the only place is free.
fn wait_until_given_back(handle: &Handle<u32>) {
    wait_until(|| handle.admit(None).is_ok());
}

// Admission.

#[test]
fn a_connection_counts_until_its_socket_is_closed_whatever_ends_it() {
    let server = Server::new(one_at_a_time());
    for number in 0..4 {
        let permit = server.handle.admit(ADDRESS).unwrap();
        let mut client = server.connect_permitted(number, permit, b"");
        assert_eq!(server.next(), Seen::Established(number));
        assert_eq!(server.handle.admit(ADDRESS).unwrap_err(), Refused::MaxConnections);
        match number {
            0 => client.reset(),
            1 => client.close(1000),
            2 => client.shutdown(),
            _ => {
                client.write(b"nonsense, and then it says nothing");
                client.expect_close(1002);
                client.expect_end();
                // The handler has heard of the end, but the socket is still there.
                server.closed(number);
                assert_eq!(server.handle.admit(ADDRESS).unwrap_err(), Refused::MaxConnections);
                drop(client);
            }
        }
        wait_until_given_back(&server.handle);
        if number < 3 {
            server.closed(number);
        }
    }
    // Counters are published at the end of a turn.
    wait_until(|| server.handle.counters().connections == 0);
}

#[test]
fn a_connection_that_its_deadline_ends_counts_until_then() {
    let config = Config { close_timeout: Duration::from_millis(100), ..one_at_a_time() };
    let server = Server::new(config);
    let permit = server.handle.admit(ADDRESS).unwrap();
    let mut client = server.connect_permitted(1, permit, b"");
    client.write(b"nonsense, and then it says nothing");
    client.expect_close(1002);
    wait_until_given_back(&server.handle);
}

#[test]
fn a_connection_that_was_never_adopted_gives_its_place_back() {
    let handle = Handle::new(one_at_a_time());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let connect = || {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    };
    // No loop runs.
    let (_client, stream) = connect();
    let permit = handle.admit(ADDRESS).unwrap();
    assert_eq!(handle.adopt(adoption(stream, permit)), Err(NotRunning));
    drop(handle.admit(ADDRESS).unwrap());
    // The loop ends before it takes the command.
    let manager = Manager::new(&handle).unwrap();
    let (_client, stream) = connect();
    let permit = handle.admit(ADDRESS).unwrap();
    handle.adopt(adoption(stream, permit)).unwrap();
    assert_eq!(handle.admit(ADDRESS).unwrap_err(), Refused::MaxConnections);
    drop(manager);
    drop(handle.admit(ADDRESS).unwrap());
}

#[test]
fn a_socket_that_the_system_refuses_to_watch_is_closed_and_the_loop_goes_on() {
    let server = Server::echo(one_at_a_time());
    for _ in 0..3 {
        // epoll takes no regular files: EPERM, where a lack of memory would be ENOMEM.
        let file = File::open(std::env::current_exe().unwrap()).unwrap();
        let stream = TcpStream::from(OwnedFd::from(file));
        let permit = server.handle.admit(ADDRESS).unwrap();
        server.handle.adopt(adoption(stream, permit)).unwrap();
        wait_until_given_back(&server.handle);
    }
    let permit = server.handle.admit(ADDRESS).unwrap();
    let mut client = server.connect_permitted(1, permit, b"");
    client.send(Opcode::Text, b"alive");
    client.expect_text("alive");
    assert_eq!(server.next(), Seen::Established(1));
    assert_eq!(server.handle.counters().connections_total, 1);
}

#[test]
fn a_stop_gives_all_places_back_also_of_those_that_it_cuts_off() {
    let config = Config { max_connections: Some(2), ..Config::default() };
    let server = Server::new(config);
    let handle = server.handle.clone();
    let [_silent, _also] = [1, 2].map(|number| {
        let permit = handle.admit(ADDRESS).unwrap();
        server.connect_permitted(number, permit, b"")
    });
    assert_eq!(handle.admit(ADDRESS).unwrap_err(), Refused::MaxConnections);
    server.stop(Duration::from_millis(50));
    let _both = [handle.admit(ADDRESS).unwrap(), handle.admit(ADDRESS).unwrap()];
    assert_eq!(handle.admit(ADDRESS).unwrap_err(), Refused::MaxConnections);
}

#[test]
fn a_handshake_is_pending_until_its_101_goes_out() {
    let (enter, entered) = mpsc::channel();
    let (release, blocked) = mpsc::channel::<()>();
    let config = Config { max_pending_handshakes: 1, ..Config::default() };
    let server = Server::reacting(config, move |seen, _, _| {
        if let Seen::Established(_) = seen {
            enter.send(()).unwrap();
            let _ = blocked.recv_timeout(PATIENCE);
        }
    });
    let permit = server.handle.admit(ADDRESS).unwrap();
    let mut first = server.connect_permitted(1, permit, RESPONSE);
    entered.recv_timeout(PATIENCE).unwrap();
    assert_eq!(server.handle.admit(ADDRESS).unwrap_err(), Refused::MaxPendingHandshakes);
    release.send(()).unwrap();
    let mut response = [0; RESPONSE.len()];
    std::io::Read::read_exact(&mut first.stream, &mut response).unwrap();
    assert_eq!(response, RESPONSE);
    let _second = server.handle.admit(ADDRESS).unwrap();
    let expected = Refusals { max_pending_handshakes: 1, ..Refusals::default() };
    assert_eq!(server.handle.refusals(), expected);
}

// The rate of messages.

fn rated(max_message_rate: f64) -> Config {
    Config { max_message_rate: Some(max_message_rate), ..Config::default() }
}

#[test]
fn a_client_that_sends_too_fast_is_closed_behind_what_it_may_send() {
    let server = Server::echo(rated(3.0));
    let mut client = server.connect(1);
    // PINGs, fragments and an unfinished message are none.
    let mut stream = masked(Opcode::Ping, b"").repeat(10);
    for text in [b"1", b"2", b"3", b"4", b"5"] {
        stream.extend(support::masked_with(Opcode::Text as u8, b""));
        stream.extend(support::masked_with(Opcode::Continuation as u8, b""));
        stream.extend(support::masked_with(0x80, text));
    }
    client.write(&stream);
    for _ in 0..10 {
        assert_eq!(client.read_frame(), (0x8A, Vec::new()));
    }
    for text in ["1", "2", "3"] {
        client.expect_text(text);
    }
    assert_eq!(client.expect_close(1008), "too many messages");
    client.expect_end();
    drop(client);
    let texts = ["1", "2", "3"].map(|text| Seen::Text(1, text.to_owned()));
    let closed = Seen::Closed(
        1,
        end(CloseCode::POLICY_VIOLATION, "too many messages", CloseCause::ProtocolError),
    );
    let seen: Vec<Seen> = (0..5).map(|_| server.next()).collect();
    assert_eq!(seen, [&[Seen::Established(1)], &texts[..], &[closed]].concat());
    assert_eq!(server.handle.counters().messages_received, 3);
    assert_eq!(server.stop(PATIENCE), []);
}

#[test]
fn the_limit_of_the_rate_is_each_clients_own_and_time_fills_it_again() {
    let server = Server::echo(rated(20.0));
    let mut clients = [1, 2].map(|number| server.connect(number));
    for round in 0..2 {
        for client in &mut clients {
            client.write(&masked(Opcode::Binary, b"x").repeat(20));
        }
        for client in &mut clients {
            for _ in 0..20 {
                assert_eq!(client.read_frame(), (0x82, b"x".to_vec()));
            }
        }
        if round == 0 {
            std::thread::sleep(Duration::from_secs(1)); // what the second burst needs
        }
    }
    for client in clients {
        client.close(1000);
    }
}

#[test]
fn what_a_client_sends_while_a_callback_blocks_is_judged_by_when_it_came() {
    const RATE: u32 = 200;
    const AT_ONCE: u32 = 100;
    const LATER: u32 = 250;
    let (release, blocked) = mpsc::channel::<()>();
    // Of one message that waits, and the socket is not read.
    let config = Config { receive_queue_limit: 1, ..rated(RATE.into()) };
    let server = Server::reacting(config, move |seen, connection, _| match seen {
        Seen::Text(..) => {
            let _ = blocked.recv_timeout(PATIENCE);
        }
        Seen::Binary(_, bytes) => {
            connection.send_binary(bytes, Compress::Never).unwrap();
        }
        Seen::Established(_)
        | Seen::CloseMessage(..)
        | Seen::Answer(_)
        | Seen::Drained(_)
        | Seen::Closed(..) => {}
    });
    let mut client = server.connect(1);
    client.send(Opcode::Text, b"block");
    client.write(&masked(Opcode::Binary, b"x").repeat(AT_ONCE as usize));
    // More than a second's worth altogether, but no faster than is allowed.
    for _ in 0..LATER {
        std::thread::sleep(Duration::from_secs(1) / RATE);
        client.send(Opcode::Binary, b"x");
    }
    release.send(()).unwrap();
    for _ in 0..AT_ONCE + LATER {
        assert_eq!(client.read_frame(), (0x82, b"x".to_vec()));
    }
    client.close(1000);
}

#[test]
fn a_rate_that_is_exceeded_while_we_close_changes_nothing() {
    let server = Server::new(rated(1.0));
    let (mut client, connection) = server.established(1);
    let goodbye = CloseFrame::new(CloseCode::NORMAL, "").unwrap();
    connection.close(goodbye, CloseCause::Local);
    client.expect_close(1000);
    client.write(&masked(Opcode::Text, b"late").repeat(10));
    client.send(Opcode::Close, &1000_u16.to_be_bytes());
    client.expect_end();
    assert_eq!(server.next(), Seen::CloseMessage(1, 1000, String::new()));
    assert_eq!(server.next(), Seen::Closed(1, end(CloseCode::NORMAL, "", CloseCause::Local)));
}

// Many at a time.

#[test]
fn many_are_adopted_with_one_wake() {
    let server = Server::new(Config::default());
    let pairs: Vec<_> = (0..10)
        .map(|_| {
            let client = TcpStream::connect(server.address()).unwrap();
            (client, server.accept())
        })
        .collect();
    let turns = || server.turns.load(std::sync::atomic::Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(20)); // the loop goes to sleep
    let mut clients = Vec::new();
    server.handle.adopting_many(|| {
        let before = turns();
        for (client, stream) in pairs {
            let permit = server.handle.admit(ADDRESS).unwrap();
            server.handle.adopt(adoption(stream, permit)).unwrap();
            clients.push(client);
        }
        std::thread::sleep(Duration::from_millis(50)); // nothing is waited for: nothing may happen
        assert_eq!(turns(), before);
    });
    for _ in 0..10 {
        assert_eq!(server.next(), Seen::Established(1));
    }
}

#[test]
fn adoptions_wake_the_loop_again_after_a_panic_between_them() {
    let server = Server::new(Config::default());
    let connect = || {
        let client = TcpStream::connect(server.address()).unwrap();
        (client, server.accept())
    };
    let (_client, stream) = connect();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        server.handle.adopting_many(|| {
            let permit = server.handle.admit(ADDRESS).unwrap();
            server.handle.adopt(adoption(stream, permit)).unwrap();
            panic!("in the middle");
        });
    }));
    assert!(result.is_err());
    assert_eq!(server.next(), Seen::Established(1));
    let (_another, stream) = connect();
    let permit = server.handle.admit(ADDRESS).unwrap();
    server.handle.adopt(adoption(stream, permit)).unwrap();
    assert_eq!(server.next(), Seen::Established(1));
}
